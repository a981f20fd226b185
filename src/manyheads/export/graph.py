"""A model as a graph of torch operators, by torch.export: it runs without this package."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from manyheads.errors import UserError
from manyheads.export.entries import Entry

FILE = "model.pt2"


def traced(entry: Entry, sample: tuple[Tensor, ...]) -> ExportedProgram:
    """Axes that an entry calls free are left free where its operators allow. Raises UserError where it has no graph."""
    shapes = {name: {axis: Dim.AUTO for axis in entry.free.get(name, {})} for name in entry.names}
    try:
        with torch.no_grad():
            return torch.export.export(entry, sample, dynamic_shapes=shapes, strict=False)
    except UserError:
        raise
    except Exception as problem:  # torch's reasons have no common class
        raise UserError(
            f"torch.export cannot make a graph of this model ({reason(problem)}): take format=safetensors."
        ) from problem


def save(program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def load(path: Path) -> torch.nn.Module:
    return torch.export.load(path).module()


def free(program: ExportedProgram, entry: Entry) -> dict[str, list[Any]]:
    """The shape of each input: numbers, and names of the axes that are free."""
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"][-len(entry.names) :]
    shapes = [node.meta["val"].shape for node in nodes]
    return {name: _named(entry, name, shape) for name, shape in zip(entry.names, shapes, strict=True)}


def _named(entry: Entry, name: str, shape: torch.Size) -> list[Any]:
    axes = entry.free.get(name, {})
    return [size if isinstance(size, int) else axes.get(axis, str(size)) for axis, size in enumerate(shape)]


def reason(problem: Exception) -> str:
    """The first line of what torch says."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines or [type(problem).__name__])[0][:200].rstrip(".")
