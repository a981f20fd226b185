"""A model back from an exported folder, with torch and safetensors alone: no configs, no Lightning, no data."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from manyheads.attention.layers import Layers
from manyheads.config.older import completed
from manyheads.data.base import SPECS, DataSpec
from manyheads.errors import UserError
from manyheads.export import quantised, weights
from manyheads.export.content import CONFIG, FORMAT, readable
from manyheads.export.plain import make
from manyheads.model.pairing import pair
from manyheads.pruning.architecture import load_strictly, narrow, parse

DAMAGED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, AssertionError)
"""What values raise that fit together in no model: sizes of 0, lists for names, places beyond an end."""


def load(folder: str | Path, int8: bool = False) -> nn.Module:
    """The model of an export with format=safetensors, ready for evaluation on the CPU.

    int8: with the linear layers in 8 bits, where it was exported with int8=true.

    Raises UserError where the folder is none, or was written of another model.
    """
    folder = Path(folder)
    said = read(folder)
    if said.get("files") != "safetensors":
        raise UserError(f"{folder} holds no weights for load(); export the run with format=safetensors.")
    if int8 and "int8" not in said:
        raise UserError(f"{folder} was exported without int8=true.")
    model = build(said, str(folder / CONFIG)).eval()
    try:
        shared = said["int8" if int8 else "weights"].get("shared", {})
        found = weights.read(folder / (weights.INT8 if int8 else weights.FILE), shared)
        load_strictly(model, quantised.whole(found) if int8 else found)
        quantised.put(model, found)
    except DAMAGED as problem:
        raise UserError(f"{folder} holds weights of another model than its {CONFIG} tells of.") from problem
    return model


def read(folder: Path) -> dict[str, Any]:
    """config.json of an export; a UserError where there is none."""
    said = readable(folder / CONFIG)
    if said is None:
        raise UserError(f"{folder} is no exported model: it has no {CONFIG} of the format '{FORMAT}'.")
    return said


def build(said: dict[str, Any], where: str) -> nn.Module:
    """The model that config.json tells of, as small as pruning has left it; its weights mean nothing yet."""
    try:
        spec, shape = _spec(said["spec"]), make(completed(said["model"]))
        model = pair(shape.func, partial(shape, **_attentions(said)), spec)
        narrow(model, parse(said["architecture"], where), where)
    except DAMAGED as problem:
        raise UserError(f"{where} is damaged ({problem}); export the model again.") from problem
    return model


def _attentions(said: dict[str, Any]) -> dict[str, Any]:
    if said["attentions"] is None:
        return {}
    across = said["across"]
    return {"attention": Layers(make(said["attentions"]), None if across is None else make(across))}


def _spec(content: dict[str, Any]) -> DataSpec:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return SPECS[content["kind"]](**values)
