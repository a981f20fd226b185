"""The files of each format, written into a folder and read back from it; each says what config.json has to know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyheads.export import graph, kernels, loader, onnx_file, quantised, weights
from manyheads.export.entries import Entry, entry
from manyheads.export.quiet import quiet

Said = dict[str, Any]
Answer = Callable[..., Tensor]


def write_weights(model: nn.Module, said: Said, folder: Path) -> Said:
    shared = weights.save(model.state_dict(), folder / weights.FILE)
    return {"files": "safetensors", "weights": {"shared": shared}}


def write_int8(model: nn.Module, folder: Path) -> Said:
    shared = weights.save(quantised.state(quantised.quantise(model)), folder / weights.INT8)
    return {"int8": {"shared": shared}}


def write_graph(said: Said, model: nn.Module, sample: tuple[Tensor, ...], folder: Path) -> tuple[Said, Answer]:
    """With the graph, read back, as what answers."""
    plain, used = _plain(said, model)
    with quiet():
        program = graph.traced(plain, sample)
        graph.save(program, folder / graph.FILE)
        found = graph.load(folder / graph.FILE)
    return {"files": "torch_export", **_about(program, plain, used)}, found


def write_onnx(said: Said, model: nn.Module, sample: tuple[Tensor, ...], folder: Path) -> tuple[Said, Answer]:
    """The same by ONNX Runtime."""
    plain, used = _plain(said, model)
    with quiet():
        program = graph.traced(plain, sample)
    onnx_file.save(program, plain, folder / onnx_file.FILE)
    return {"files": "onnx", **_about(program, plain, used)}, onnx_file.load(folder / onnx_file.FILE, plain)


def _plain(said: Said, model: nn.Module) -> tuple[Entry, dict[str, str]]:
    """The same model built anew, since what modules remember of earlier inputs must not get into a graph."""
    copy = loader.build(said, "The run")
    copy.load_state_dict(model.state_dict())
    return entry(copy.eval()), kernels.make_plain(copy)


def _about(program: torch.export.ExportedProgram, plain: Entry, used: dict[str, str]) -> Said:
    about = {"inputs": graph.free(program, plain), "output": plain.output}
    return {"graph": {**about, "kernels": used, "torch": torch.__version__}}
