"""An imagined step against the same step with real tensors, whose memory is counted as it comes and goes."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.base import TokenSpec
from manyheads.data.batch import PairBatch
from manyheads.data.stream.batch import TextBatch
from manyheads.estimate.batches import resized
from manyheads.estimate.ledger import Ledger
from manyheads.estimate.step import Imagination
from manyheads.task.base import groups

CPU = torch.device("cpu")
ATTENTIONS = sorted(file.stem for file in (Path(__file__).parents[2] / "conf" / "attention").glob("*.yaml"))
SPEC = TokenSpec(
    kind="language_model",
    longest=96,
    source_vocabulary=50,
    target_vocabulary=50,
    joint=True,
    pad=0,
    bos=1,
    eos=2,
    sep=4,
)
TINY = ("data=language_model", "model.dim=32", "model.heads=2", "model.hidden=32", "model.layers=1")


def text(rows: int, length: int, several: bool = False) -> TextBatch:
    one = torch.ones(1, 1, dtype=torch.int64)
    return resized(TextBatch(one[0], 1, one, one, one * 0, one.bool(), several, 1), rows, length)


@cache
def maker(*overrides: str):
    cfg = compose([*TINY, *overrides])
    return cfg, lambda: build.task(cfg, build.model(cfg, SPEC), SPEC)


class Real(TorchDispatchMode):
    """Everything happens, and the ledger looks on."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.ledger.note(func, args, kwargs or {}, out)
        return out


def really(make, batch, autocast: torch.dtype | None) -> int:
    """The peak of a training's second step."""
    ledger = Ledger("cpu")
    with Real(ledger):
        task = make()
        task.train()
        optimizer = task._optimizer(groups(task.model))
        for _ in range(2):
            ledger.restart()
            given = batch._each(torch.Tensor.clone)
            with torch.autocast("cpu", autocast, enabled=autocast is not None, cache_enabled=False):
                loss = task.step(given).loss
            optimizer.zero_grad()
            loss.backward()
            del loss
            optimizer.step()
    return ledger.peak


# `auto` times kernels in its first step, on tensors of its own.
CASES = [(name, ()) for name in ATTENTIONS if name != "auto"] + [
    ("dense", ("attention.kernel=reference",)),
    ("dense", ("attention.kernel=blocked",)),
    ("dense", ("position=alibi",)),
    ("dense", ("model/block=vaswani2017",)),
    ("dense", ("trainer.precision=bf16-mixed",)),
]


@pytest.mark.parametrize(("name", "more"), CASES, ids=lambda x: x if isinstance(x, str) else " ".join(x) or "-")
def test_an_imagined_step_holds_what_a_real_one_holds(name, more):
    cfg, make = maker(f"attention={name}", *more)
    batch = text(2, 96)
    low = torch.bfloat16 if str(cfg.trainer.precision) == "bf16-mixed" else None
    found = Imagination(make, CPU, str(cfg.trainer.precision)).training(batch)
    assert found.tensors == pytest.approx(really(make, batch, low), rel=0.02)


def test_kinds_are_what_the_model_and_its_optimizer_have():
    _, make = maker()
    found, task = Imagination(make, CPU, "32").training(text(2, 96)), make()
    weights = sum(-(-4 * p.numel() // 64) * 64 for p in task.parameters())
    count = len(list(task.parameters()))
    assert found.kinds["gradients"] == weights
    # AdamW: two moments, and a count of steps for each tensor.
    assert found.kinds["optimizer"] == 2 * weights + 64 * count
    assert found.tensors == sum(found.kinds.values())


def test_scores_are_kept_by_the_reference_and_not_by_kernels_in_strips():
    def growth(kernel: str) -> float:
        _, make = maker("attention=dense", f"attention.kernel={kernel}", "model.dropout=0.0")
        imagination = Imagination(make, CPU, "32")
        short, long = (imagination.training(text(1, n)).kinds["attention"] for n in (256, 512))
        return long / short

    assert growth("reference") > 3.5
    assert growth("blocked") < 2.5


def test_evaluation_keeps_no_activations():
    imagination = Imagination(maker("model.layers=4")[1], CPU, "32")
    batch = text(4, 96)
    assert imagination.evaluation(batch).tensors < imagination.training(batch).tensors / 2


def test_weights_in_half_precision_are_half():
    whole, half = (Imagination(maker()[1], CPU, p).training(text(1, 32)) for p in ("32", "bf16-true"))
    assert half.kinds["gradients"] == pytest.approx(whole.kinds["gradients"] / 2, rel=0.05)


def test_nothing_is_allocated_and_nothing_is_drawn():
    cfg, make = maker("model.dim=4096", "model.hidden=16384", "model.layers=8")
    before = torch.random.get_rng_state()
    found = Imagination(make, CPU, str(cfg.trainer.precision)).training(text(64, 2048))
    assert found.tensors > 2**36
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pairs_are_resized_to_full_rows():
    one = torch.ones(1, 1, dtype=torch.int64)
    batch = resized(PairBatch(one[0], 2, one, one[0], one, one[0]), 3, 7)
    assert batch.source.shape == batch.target.shape == (3, 7)
    assert batch.cells == batch.tokens == 42
