"""The graph in ONNX, and ONNX Runtime as what computes it."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from manyheads.errors import UserError
from manyheads.export.entries import Entry
from manyheads.export.graph import reason
from manyheads.export.quiet import quiet

FILE = "model.onnx"

ONE_FILE = 1 << 30
"""Bytes of weights up to which all is one file; beyond 2 GiB protobuf takes none."""


def save(program: ExportedProgram, entry: Entry, path: Path) -> None:
    """Raises UserError where ONNX has no operators for it."""
    beside = sum(x.numel() * x.element_size() for x in entry.state_dict().values()) > ONE_FILE
    names = {"input_names": list(entry.names), "output_names": [entry.output]}
    try:
        with quiet():
            torch.onnx.export(program, (), path, dynamo=True, verbose=False, external_data=beside, **names)
    except Exception as problem:  # torch's reasons have no common class
        raise UserError(
            f"ONNX has no operators for this model ({reason(problem)}): take format=torch_export or safetensors."
        ) from problem


def load(path: Path, entry: Entry) -> Callable[..., Tensor]:
    """What ONNX Runtime answers on the CPU."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as problem:
        raise UserError(f"ONNX Runtime cannot read what was made of this model ({reason(problem)}).") from problem
    wanted = {given.name for given in session.get_inputs()}

    def answer(*sample: Tensor) -> Tensor:
        given = {name: x.numpy() for name, x in zip(entry.names, sample, strict=True) if name in wanted}
        return torch.from_numpy(session.run(None, given)[0])

    return answer
