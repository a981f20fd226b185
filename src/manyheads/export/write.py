"""From a run's folder to an exported one; nothing counts as written before it has answered as the model does."""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from manyheads.export import formats, inputs, loader
from manyheads.export.asked import Export
from manyheads.export.content import CONFIG, beside, content
from manyheads.export.entries import entry
from manyheads.export.folder import refuse_taken, whole
from manyheads.export.parity import compare, refuse_bad
from manyheads.export.speed import milliseconds
from manyheads.load import Loaded, load_run
from manyheads.training import checkpoints

LEARNED = "threshold"
"""What a task has found beside the model's weights, and who labels needs."""

Samples = list[tuple[Tensor, ...]]


def write(asked: Export) -> dict[str, Any]:
    """What config.json says. Raises UserError, and leaves nothing, where the model cannot be exported so."""
    refuse_taken(asked.folder)
    run = load_run(asked.run, asked.checkpoint)
    state = checkpoints.load(asked.run / "checkpoints" / f"{asked.checkpoint}.ckpt")["state_dict"]
    learned = {LEARNED: state[LEARNED]} if LEARNED in state else {}
    with whole(asked.folder) as folder:
        for file in beside(asked.run):
            shutil.copyfile(file, folder / file.name)
        said = content(run, learned) | {"checkpoint": asked.checkpoint}
        found = (
            _weights(asked, run, said, folder) if asked.format == "safetensors" else _graph(asked, run, said, folder)
        )
        sizes = {file.name: file.stat().st_size for file in sorted(folder.glob("model*"))}
        return _say(folder, found | {"bytes": sizes})


def _weights(asked: Export, run: Loaded, said: dict[str, Any], folder: Path) -> dict[str, Any]:
    said = _say(folder, said | formats.write_weights(run.model, said, folder))
    samples, model = _samples(run), loader.load(folder)
    said["parity"] = _checked(run.model, entry(model), samples, "What load() gives")
    if asked.int8:
        said = _say(folder, said | formats.write_int8(model, folder))
        said["int8"] |= _beside(model, loader.load(folder, int8=True), samples, run)
    return said


def _graph(asked: Export, run: Loaded, said: dict[str, Any], folder: Path) -> dict[str, Any]:
    samples = _samples(run)
    make = formats.write_graph if asked.format == "torch_export" else formats.write_onnx
    more, answer = make(said, run.model, samples[0], folder)
    return said | more | {"parity": _checked(run.model, answer, samples, f"The graph of format={asked.format}")}


def _checked(model: nn.Module, answer: Any, samples: Samples, what: str) -> dict[str, float]:
    parity = compare(entry(model), answer, samples)
    refuse_bad(parity, what)
    return {"max_abs_error": parity.error, "max_abs_answer": parity.largest}


def _beside(model: nn.Module, int8: nn.Module, samples: Samples, run: Loaded) -> dict[str, Any]:
    """int8 beside fp32: how far its answers are off, and how long both take for one larger batch."""
    both = {"fp32": entry(model), "int8": entry(int8)}
    parity = compare(both["fp32"], both["int8"], samples)
    large = inputs.draw(both["fp32"], run.spec, inputs.large(both["fp32"], run.spec), seed=9)
    errors = {"max_abs_error": parity.error, "max_abs_answer": parity.largest}
    return {**errors, "milliseconds": milliseconds(both, large)}


def _samples(run: Loaded) -> Samples:
    made = entry(run.model)
    return [inputs.draw(made, run.spec, size, seed) for seed, size in enumerate(inputs.sizes(made, run.spec))]


def _say(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    (folder / CONFIG).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return said
