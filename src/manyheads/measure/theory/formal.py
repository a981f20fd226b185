"""`benchmark.py formal`: models trained on short words of formal languages, tested on longer ones."""

from functools import cache
from typing import Any

import torch

from manyheads.measure.theory.asked import Formal
from manyheads.measure.theory.lesson import said, taught
from manyheads.measure.theory.store import Cell, Figures, filled, names, options

SMALL = (
    "data.longest=20", "data.times=[0.5,1,1.5,2,3,4]", "data.depth=4", "data.tests=200", "data.batch_tokens=1024",
    "model.dim=32", "model.heads=2", "model.hidden=64", "model.dropout=0", "schedule=cosine", "schedule.warmup=50",
    "optimizer.lr=5e-3",
)  # fmt: skip
"""Words of METHODS' size (trained up to 20, tested up to 80), and models that a core trains in seconds."""

OWN = {"sliding_window": ("attention.pattern.width=4",)}
"""The default window sees all of a short word."""

LANGUAGES = ["parity", "anbn", "dyck"]


def formal(asked: Formal, overrides: list[str]) -> None:
    torch.set_num_threads(1)  # matrices of 32 columns are no work to share out
    settings = {"steps": asked.steps, "own": overrides}
    cells = grid(asked, overrides)
    found = filled(asked.folder, cells, settings, (lambda cell: measured(cell, asked.steps)) if asked.train else None)
    from manyheads.measure.theory.formal_report import publish

    publish(found, asked, overrides, asked.output or asked.folder / "formal.json")


def grid(asked: Formal, overrides: list[str]) -> list[Cell]:
    """All positions at all depths with the first attention; the other attentions at the last depth, first position.

    With `full`, every one with every other.
    """
    attentions = names("attentions", asked.attentions, options("attention"))
    positions = names("positions", asked.positions, options("position"))
    layers, seeds = (_numbers(key, getattr(asked, key)) for key in ("layers", "seeds"))
    first, place, last = attentions[0], positions[0], layers[-1]
    made = []
    for seed in seeds:
        for language in names("languages", asked.languages, LANGUAGES):
            pairs = [(first, p, n) for n in reversed(layers) for p in positions]
            pairs += [(a, place, last) for a in attentions[1:]]
            if asked.full:
                pairs = [(a, p, n) for n in reversed(layers) for a in attentions for p in positions]
            made += [_cell(language, *pair, seed, overrides) for pair in pairs]
    return made


def _cell(language: str, attention: str, position: str, layers: int, seed: int, overrides: list[str]) -> Cell:
    traits = {"language": language, "attention": attention, "position": position, "layers": layers, "seed": seed}
    asked = ["data=formal_language", *SMALL, *OWN.get(attention, ()), *overrides, f"data.language={language}"]
    asked += [f"attention={attention}", f"position={position}", f"model.layers={layers}", f"seed={seed}"]
    return Cell("-".join(map(str, traits.values())), traits, tuple(asked))


def measured(cell: Cell, steps: int) -> Figures:
    """Accuracy of prefixes and recognition of words, for each part of the test."""
    from manyheads.config.compose import compose

    cfg = compose(list(cell.overrides))
    data = _data(cfg)
    task, figures = taught(cfg, data, steps)
    words, verdicts = data.words("test"), _verdicts(task, data)
    from manyheads.task.formal_language import by_length

    figures |= {"scores": by_length(data, words, verdicts), "baseline": _baselines(cfg)}
    shown = "  ".join(f"{part} {figures['scores'][f'recognised_{part}']:.2f}" for part in data.bins)
    said(f"{cell.name}: recognised {shown}; {figures['cpu_seconds']} s")
    return figures


@torch.inference_mode()
def _verdicts(task: Any, data: Any) -> list[list[int]]:
    """The labels that the model gives each prefix of each test word, in the order of the words."""
    found = {}
    (loader,) = data.test_dataloader()
    for batch in loader:
        answer = task.answer(task.model, batch)
        each = answer.head(answer.states).argmax(1).split(batch.lengths.tolist())
        found |= {row: labels.tolist() for row, labels in zip(batch.index.tolist(), each, strict=True)}
    return [found[row] for row in range(len(found))]


_MADE: dict[str, Any] = {}


def _data(cfg: Any) -> Any:
    """A language's words, drawn once for all models."""
    from manyheads import build

    key = str(cfg.data)
    if key not in _MADE:
        _MADE[key] = build.data(cfg)
        _MADE[key].setup()
    return _MADE[key]


def _baselines(cfg: Any) -> dict[str, dict[str, float]]:
    return _scored(str(cfg.data))


@cache
def _scored(key: str) -> dict[str, dict[str, float]]:
    from manyheads.task.formal_language import baselines

    return baselines(_MADE[key], _MADE[key].words("test"))


def _numbers(key: str, text: str) -> list[int]:
    from manyheads.measure.pruned.asked import numbers

    return numbers(key, text)
