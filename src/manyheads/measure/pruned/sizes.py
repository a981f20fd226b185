"""How large a model is, recounted on the model itself: parameters, bytes of a file, arithmetic, and what is left."""

import io
from typing import Any

import torch
from torch import nn

from manyheads.data.batch import Batch
from manyheads.measure.pruned.sides import Side
from manyheads.model.embed import Embedding
from manyheads.model.layers import Residual
from manyheads.pruning.architecture import Architecture
from manyheads.pruning.sites import residuals
from manyheads.training.flops import Counter

PARTS = ("whole", "prunable", "embedding")


def parameters(model: nn.Module) -> dict[str, int]:
    """Of the whole model; of sublayers that pruning may cut, with the norm in front of each; of tables of words.

    What two parts share counts once.
    """
    tables = [module for module in model.modules() if isinstance(module, Embedding)]
    cut = [part for residual in residuals(model).values() for part in _prunable(residual)]
    return dict(zip(PARTS, (_count(modules) for modules in ([model], cut, tables)), strict=True))


def _prunable(residual: Residual) -> list[nn.Module]:
    parts = [residual.inner, residual.norm if residual.pre_norm else None]
    return [part for part in parts if part is not None]


def _count(modules: list[nn.Module]) -> int:
    return sum(p.numel() for p in {id(p): p for module in modules for p in module.parameters()}.values())


def file_bytes(model: nn.Module) -> int:
    """Of its weights as torch writes them, without an optimizer's state."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.getbuffer().nbytes


def flops(side: Side, batch: Batch) -> float:
    """Of one forward pass with its loss."""
    with Counter(side.task).counting() as counter:
        side.forward(batch)
    return counter.total


def left(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Of each sublayer: the kind of its units, how many there were, how many are left, and which heads; None: gone."""
    found = {}
    for name, entry in Architecture.of(model).sublayers.items():
        kept, kind = entry["kept"], entry["kind"]
        heads = {"heads": kept} if kind == "heads" else {}
        found[name] = {"kind": kind, "of": entry["of"], "left": None if kept is None else len(kept), **heads}
    return found
