"""What is asked of a finished run, and what of it cannot be."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from manyheads.errors import UserError

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages that format=onnx takes; `pip install manyheads[onnx]` brings them."""


@dataclass(frozen=True)
class Export:
    """Writes a run's model for use elsewhere: plain weights, a torch graph or ONNX; checked before it is there."""

    run: Path = field(metadata={"help": "a run's folder, pruned or not"})
    format: Literal["safetensors", "torch_export", "onnx"] = field(
        metadata={
            "help": "safetensors: weights for manyheads.export.load; torch_export: a graph for torch alone; onnx: a "
            "graph for ONNX Runtime and others"
        }
    )
    int8: bool = field(default=False, metadata={"help": "safetensors: linear layers in 8 bits beside the others"})
    checkpoint: Literal["best", "last"] = field(default="best", metadata={"help": "which weights"})
    output: Path | None = field(default=None, metadata={"help": "the folder; null: exports/FORMAT in the run's folder"})

    @property
    def folder(self) -> Path:
        return self.run / "exports" / self.format if self.output is None else self.output


def refuse_vain(asked: Export) -> None:
    """Raises UserError for what cannot come out well, before anything is loaded."""
    if asked.int8 and asked.format != "safetensors":
        raise UserError(f"int8=true goes with format=safetensors alone; {asked.format} takes the weights as they are.")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if asked.format == "onnx" and missing:
        raise UserError(f"format=onnx needs {', '.join(missing)}: pip install 'manyheads[onnx]', or take torch_export.")
