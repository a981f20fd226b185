"""`benchmark.py extrapolation`: language models trained on rows of one length, which then read up to four times it.

What is scored are the first tokens of test documents, each read from its beginning, so that a token at place p has p
tokens before it. Beside each model stands the same model that forgets all at every multiple of the trained length:
whoever does worse than that had better not read on.
"""

import copy
import math
from typing import Any

import torch
from jaxtyping import Float, Int
from omegaconf import DictConfig
from torch import Tensor

from manyheads.errors import UserError
from manyheads.measure.theory.asked import Extrapolation
from manyheads.measure.theory.lesson import said, taught
from manyheads.measure.theory.store import Cell, Figures, filled, names, options

SMALL = (
    "data=language_model", "data.context=null", "data.vocabulary=500", "data.batch_tokens=1024", "model.dim=64",
    "model.heads=4", "model.hidden=128", "model.layers=2", "model.dropout=0", "schedule=cosine", "schedule.warmup=50",
)  # fmt: skip
"""The stories of the embedded corpus, few words of them, and models that a core trains in seconds."""

TIMES = (1, 2, 4)
PARTS = 4
"""Points of a curve for each trained length."""

DOCUMENTS = 48
"""Of the test set, as many as are long enough: 12,000 tokens at four times 64."""


def extrapolation(asked: Extrapolation, overrides: list[str]) -> None:
    torch.set_num_threads(1)
    scalings = names("scalings", asked.scalings, ["none", "linear", "ntk", "dynamic", "yarn"])
    settings = {"steps": asked.steps, "length": asked.length, "scalings": scalings, "own": overrides}
    cells = [cell for seed in _seeds(asked) for cell in _cells(asked, seed, overrides)]
    measure = (lambda cell: measured(cell, asked.steps, asked.length, scalings)) if asked.train else None
    found = filled(asked.folder, cells, settings, measure)
    from manyheads.measure.theory.extrapolation_report import publish

    publish(found, asked, overrides, asked.output or asked.folder / "extrapolation.json")


def _seeds(asked: Extrapolation) -> list[int]:
    from manyheads.measure.pruned.asked import numbers

    if asked.length % PARTS or asked.length < PARTS:
        raise UserError(f"length={asked.length} must be a multiple of {PARTS}.")
    return numbers("seeds", asked.seeds)


def _cells(asked: Extrapolation, seed: int, overrides: list[str]) -> list[Cell]:
    made = []
    for position in names("positions", asked.positions, options("position")):
        own = [f"position.limit={asked.length}"] if position == "learned" else []
        rows = [f"data.length={asked.length}", f"position={position}", *own, f"seed={seed}"]
        made.append(Cell(f"{position}-{seed}", {"position": position, "seed": seed}, (*SMALL, *overrides, *rows)))
    return made


def measured(cell: Cell, steps: int, length: int, scalings: list[str]) -> Figures:
    """Perplexities of a trained model by place, at each multiple of the length, read with each scaling."""
    from manyheads import build
    from manyheads.config.compose import compose

    cfg = compose(list(cell.overrides))
    data = build.data(cfg)
    data.setup()
    task, figures = taught(cfg, data, steps)
    documents = first_tokens(data, max(TIMES) * length + 1)
    ways = scalings if cell.traits["position"] == "rope" else ["none"]
    figures |= {"documents": len(documents), "read": {}}
    for way in ways:
        figures["read"][way] = {
            f"{m}x": _read(cfg, task, data.spec, way, m, documents[:, : m * length + 1]) for m in TIMES
        }
    forgetting = documents[:, :-1].unflatten(1, (-1, length)).flatten(0, 1)
    next_ones = documents[:, 1:].unflatten(1, (-1, length)).flatten(0, 1)
    apart = losses(task.model, forgetting, next_ones).unflatten(0, (len(documents), -1)).flatten(1)
    figures["forgetting"] = perplexities(apart, length)
    told = {way: [_last(found) for found in read.values()] for way, read in figures["read"].items()}
    said(f"{cell.name}: {told}, forgetting {_last({'curve': figures['forgetting']})}; {figures['cpu_seconds']} s")
    return figures


def _last(found: Figures) -> float | None:
    """Perplexity of the last points of a curve: as many as the trained length has."""
    curve = found.get("curve")
    return curve and round(math.exp(sum(map(math.log, curve[-PARTS:])) / PARTS), 2)


def _read(cfg: DictConfig, task: Any, spec: Any, way: str, times: int, tokens: Int[Tensor, "b n"]) -> Figures:
    """The curve at one multiple; where the position knows no such place, its sentence."""
    length = (tokens.size(1) - 1) // times
    model = task.model if way == "none" else scaled(cfg, task.model, spec, way, times, length)
    try:
        return {"curve": perplexities(losses(model, tokens[:, :-1], tokens[:, 1:]), length)}
    except UserError as problem:
        return {"refused": str(problem)}


def scaled(cfg: DictConfig, trained: Any, spec: Any, way: str, factor: int, length: int) -> Any:
    """The same weights with another scaling of rope."""
    from manyheads import build

    cfg = copy.deepcopy(cfg)
    cfg.position.scaling, cfg.position.factor, cfg.position.original = way, float(factor), length
    model = build.model(cfg, spec)
    model.load_state_dict(trained.state_dict())
    return model.eval()


def first_tokens(data: Any, count: int) -> Int[Tensor, "b n"]:
    """The first `count` tokens of the test documents that have so many."""
    store = data.store(data.test_names[0])
    long = [number for number in range(len(store)) if len(store.document(number)) >= count][:DOCUMENTS]
    if not long:
        raise UserError(f"No test document has {count} tokens: lower length, or bring longer documents.")
    return torch.stack([torch.tensor(store.document(number)[:count].tolist()) for number in long])


@torch.inference_mode()
def losses(model: Any, ids: Int[Tensor, "b n"], targets: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Of each token, in nats."""
    scores = model.head(model(ids)).log_softmax(-1)
    return -scores.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def perplexities(nats: Float[Tensor, "b n"], length: int) -> list[float]:
    """Over pieces of length / PARTS places."""
    pieces = nats.double().mean(0).unflatten(0, (-1, length // PARTS)).mean(1)
    return [round(value, 3) for value in pieces.exp().tolist()]
