"""The estimate of memory against what a training step really takes: many combinations, each in a process of its own.

On a CPU what the process holds is compared, with all that malloc keeps. Some cases (`bare`) are measured again with
malloc told to hand everything back at once, so that the process holds what its tensors need and no more: that tests
what was imagined, and the first what was made of it. On a GPU the allocator's own counter is both.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

from manyheads.errors import UserError

RETURNS = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}
"""With these glibc keeps nothing that was freed (mallopt(3))."""

STEPS = 4
"""Of each measurement: the first has no gradients of a step before, and the heap takes a few to find its size."""

RETURNED = 2
"""Of those where nothing is kept: the second is like all that follow."""

VOCABULARY = 2000


@dataclass(frozen=True)
class Case:
    """data: the family; the model is the one that it names. rows of `length` tokens; more: further overrides; bare:
    measured a second time, without what malloc keeps.
    """

    data: str
    attention: str
    length: int
    rows: int
    more: tuple[str, ...] = ()
    bare: bool = False

    @property
    def overrides(self) -> list[str]:
        return [f"data={self.data}", f"attention={self.attention}", "model.dim=128", "model.heads=4", *self.more]

    @property
    def name(self) -> str:
        return f"{self.data} {self.attention} {self.rows} × {self.length} {' '.join(self.more)}".strip()


LAYERS = ("model.layers=2",)
PAIRS = ("model.encoder_layers=1", "model.decoder_layers=1")
CASES = (
    Case("language_model", "dense", 512, 8, LAYERS, bare=True),
    *(Case("language_model", name, 512, 8, LAYERS) for name in ("gqa", "flash", "sigmoid", "linear")),
    *(Case("language_model", name, 512, 8, LAYERS) for name in ("performer", "sliding_window", "bigbird", "rope")),
    *(Case("language_model", name, 2048, 2, LAYERS) for name in ("dense", "sliding_window", "bigbird", "linear")),
    Case("language_model", "dense", 1024, 4, ("attention.kernel=reference", *LAYERS)),
    Case("language_model", "dense", 256, 16, ("attention.kernel=reference", *LAYERS)),
    Case("language_model", "dense", 1024, 4, ("attention.kernel=blocked", *LAYERS)),
    Case("language_model", "dense", 512, 8, ("position=alibi", *LAYERS)),
    Case("language_model", "dense", 512, 8, ("trainer.precision=bf16-mixed", *LAYERS)),
    Case("language_model", "dense", 128, 64, ("model.dim=64", "model.layers=4")),
    Case("language_model", "dense", 256, 8, ("model.dim=512", "model.hidden=1024", *LAYERS)),
    *(Case("clinical_long", name, 1024, 4, LAYERS) for name in ("dense", "sliding_window", "linear", "bigbird")),
    *(Case("clinical_long", name, 4096, 1, LAYERS) for name in ("dense", "sliding_window", "linear", "performer")),
    Case("clinical_long", "dense", 1024, 4, ("attention.kernel=reference", *LAYERS)),
    Case("clinical_long", "sigmoid", 1024, 4, LAYERS),
    Case("translation", "dense", 32, 96, PAIRS, bare=True),
    *(Case("translation", name, 32, 96, PAIRS) for name in ("gqa", "linear", "sliding_window")),
    Case("translation", "dense", 256, 12, PAIRS, bare=True),
    *(Case("translation", name, 256, 12, PAIRS) for name in ("sigmoid", "performer", "bigbird")),
    Case("translation", "dense", 128, 24, ("model/block=vaswani2017", *PAIRS), bare=True),
    Case("translation", "dense", 128, 24, ("attention.kernel=reference", *PAIRS), bare=True),
)


def estimate(only: str | None, overrides: list[str]) -> dict[str, Any]:
    """Every case whose name holds `only`: MiB predicted and measured, and their errors."""
    cases = [case for case in CASES if only is None or only in case.name]
    if not cases:
        raise UserError(f"only={only} is in no case's name; there are: {'; '.join(case.name for case in CASES)}.")
    cases = [Case(**{**asdict(case), "more": (*case.more, *overrides)}) for case in cases]
    bare = [case for case in cases if case.bare]
    held, tensors = _measured(cases, STEPS, {}), _measured(bare, RETURNED, RETURNS) if bare else []
    rows = {
        "held": [_compared(case, found, "held") for case, found in zip(cases, held, strict=True)],
        "tensors": [_compared(case, found, "tensors") for case, found in zip(bare, tensors, strict=True)],
    }
    errors = {f"errors_{kind}": _errors(found) for kind, found in rows.items() if found}
    return {"steps": {"held": STEPS, "tensors": RETURNED}, **errors, **rows}


def _compared(case: Case, found: dict[str, Any], kind: str) -> dict[str, Any]:
    """MiB that were predicted and measured."""
    predicted, measured = found[kind], found["measured"]
    figures = {"predicted": predicted, "measured": measured, "error": predicted / measured - 1}
    return {"case": case.name, "used": found["used"], **figures}


def _errors(rows: list[dict[str, Any]]) -> dict[str, float]:
    errors = [abs(row["error"]) for row in rows]
    within = sum(error <= 0.15 for error in errors)
    return {"median": statistics.median(errors), "worst": max(errors), "within_15_percent": within, "of": len(errors)}


def _measured(cases: list[Case], steps: int, environment: dict[str, str]) -> list[dict[str, Any]]:
    """In an interpreter with this environment, which has imported all and forks for each case."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import serve; serve({steps})"],
        input=json.dumps([asdict(case) for case in cases]),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise UserError("A measurement failed; what it said stands above.")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def serve(steps: int) -> None:
    """Reads cases from the standard input and writes a line for each."""
    from manyheads.config.check import check
    from manyheads.config.compose import compose
    from manyheads.estimate import estimate  # noqa: F401  imported once, before the forks

    cases = [Case(**{**case, "more": tuple(case["more"])}) for case in json.load(sys.stdin)]
    configs = [compose(case.overrides) for case in cases]
    for config in configs:
        check(config)
    context = get_context("fork")
    for case, config in zip(cases, configs, strict=True):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_case, args=(case, config, steps, theirs))
        process.start()
        theirs.close()
        print(json.dumps(ours.recv()), flush=True)
        process.join()


def _case(case: Case, cfg: Any, steps: int, tell: Any) -> None:
    import torch

    from manyheads import build
    from manyheads.estimate.batches import resized
    from manyheads.estimate.estimate import device_of
    from manyheads.estimate.step import Imagination

    torch.manual_seed(cfg.seed)
    spec, device = _spec(case), device_of(cfg)
    batch = resized(_sample(case.data), case.rows, case.length)

    def make():
        return build.task(cfg, build.model(cfg, spec), spec)

    measured, used = _growth(make, batch, device, str(cfg.trainer.precision), steps)
    found = Imagination(make, device, str(cfg.trainer.precision)).training(batch)
    mib = 1 << 20
    print(f"{case.name}: {found.held / mib:.0f} held, {measured / mib:.0f} measured", file=sys.stderr, flush=True)
    figures = {"held": found.held, "tensors": found.tensors, "measured": measured}
    tell.send({**{name: figure / mib for name, figure in figures.items()}, "used": used})


def _growth(make: Any, batch: Any, device: Any, precision: str, steps: int) -> tuple[int, str]:
    """Bytes that the process grows by, at the most, from before its model is made; and which kernels computed."""
    import torch

    from manyheads.estimate.step import AUTOCAST
    from manyheads.task.base import groups
    from manyheads.training.memory import Growth

    gc.collect()
    growth = Growth(device)
    task = make().to(device)
    optimizer = task._optimizer(groups(task.model))
    task.train()
    for _ in range(steps):
        given, low = batch.to(device), AUTOCAST.get(precision)
        with torch.autocast(device.type, low, enabled=low is not None, cache_enabled=False):
            loss = task.step(given).loss
        optimizer.zero_grad()
        loss.backward()
        del loss
        optimizer.step()
    used = {module.used for module in task.modules() if hasattr(module, "why_not")}
    return growth.peak(), "+".join(sorted(used))


def _spec(case: Case) -> Any:
    from manyheads.data.base import DocumentSpec, TokenSpec

    ids = {"source_vocabulary": VOCABULARY, "target_vocabulary": VOCABULARY, "joint": True}
    specials = {"pad": 0, "bos": 1, "eos": 2, "sep": 4}
    shared = {"kind": case.data, "longest": case.length, **ids, **specials}
    if case.data != "clinical_long":
        return TokenSpec(**shared)
    reads = {"pool": "attention", "aggregate": "mean", "layers": 1, "most": 1}
    return DocumentSpec(**shared, **reads, labels=("no", "yes"), multilabel=False)


def _sample(data: str) -> Any:
    """A batch of the family's kind, of which others are made."""
    import torch

    from manyheads.data.batch import PairBatch
    from manyheads.data.documents.batch import DocumentBatch
    from manyheads.data.stream.batch import TextBatch

    one = torch.ones(1, 1, dtype=torch.int64)
    index, none = torch.zeros(1, dtype=torch.int64), one * 0
    if data == "translation":
        return PairBatch(index, 2, one, index + 1, one, index + 1)
    if data == "language_model":
        return TextBatch(index, 1, one, one, none, one.bool(), False, 1)
    labels = torch.zeros(64, dtype=torch.int64)
    every = torch.arange(64)
    return DocumentBatch(every, 64, one.expand(64, 1), every * 0 + 1, every, every * 0, labels)


TITLES = {
    "held": "What the process holds, as it is, with all that malloc keeps",
    "tensors": "The same with malloc told to keep nothing: tensors alone",
}


def markdown(content: dict[str, Any]) -> str:
    """The figures as a page."""
    environment = content["environment"]
    lines = [
        "# The estimate of memory against measured peaks",
        "",
        f"{content['date']}, {environment['device']}, torch {environment['versions']['torch']}, Python "
        f"{environment['python']}, {environment['threads']} thread. Command: `python scripts/benchmark.py "
        f"{' '.join(content['arguments'])}`",
        "",
        "Each row is a training of a few steps in a process of its own; MiB that it grew by at the most, from before "
        "its model was made, without the pages of files. `ledger.KEPT`, what malloc keeps for each byte of a tensor, "
        "was chosen by the first table: its errors are those of a fit, not of a forecast.",
    ]
    for kind, title in TITLES.items():
        if content[kind]:
            lines += ["", f"## {title}", "", *_table(content[kind], content[f"errors_{kind}"])]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]], errors: dict[str, float]) -> list[str]:
    lines = [
        f"Median error {errors['median']:.1%}, worst {errors['worst']:.1%}; {errors['within_15_percent']} of "
        f"{errors['of']} within 15 %.",
        "",
        "| case | kernel | predicted | measured | error |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row['predicted']:,.0f} | {row['measured']:,.0f} | {row['error']:+.1%}"
        lines.append(f"| {row['case']} | {row['used']} | {figures} |")
    return lines
