"""What it costs to read a document whole: one training step of one document, by attention and length.

Each case has a process of its own, so that memory which another left behind does not hide what this one needs.
"""

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from manyheads.errors import UserError

VOCABULARY = 8000


def reading(attentions: list[str], lengths: list[int], rounds: int, overrides: list[str]) -> dict[str, Any]:
    """Tokens a second (median of `rounds` steps after a first one) and the extra memory of a step, in MiB."""
    if not attentions or not lengths or min(lengths) < 2 or rounds < 1:
        raise UserError("attentions and lengths must name something, lengths from 2 on, and rounds be 1 or more.")
    cases = [_told(_apart(name, length, rounds, overrides)) for name in attentions for length in lengths]
    return {"overrides": overrides, "cases": cases}


def _told(case: dict[str, Any]) -> dict[str, Any]:
    """Said at once: long documents take minutes, and the file is written at the end."""
    rate, memory = case["tokens_per_second"], case["memory_mib"]
    print(f"{case['attention']} at {case['length']:,}: {rate:,.0f} tokens/s, {memory:,.0f} MiB", file=sys.stderr)
    return case


def _apart(attention: str, length: int, rounds: int, overrides: list[str]) -> dict[str, Any]:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_measure, attention, length, rounds, overrides).result()


def _measure(attention: str, length: int, rounds: int, overrides: list[str]) -> dict[str, Any]:
    import torch

    from manyheads import build
    from manyheads.config.check import check
    from manyheads.config.compose import compose
    from manyheads.measure.attention import memory

    cfg = compose(["data=clinical_long", "data.read=whole", f"attention={attention}", *overrides])
    check(cfg)
    torch.manual_seed(cfg.seed)
    spec, device = _spec(length), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = build.task(cfg, build.model(cfg, spec), spec).to(device)
    batch = _document(length).to(device)

    def step() -> None:
        task.step(batch).loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    mib, seconds = memory.extra(step, device), []
    for _ in range(rounds):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    rate = length / statistics.median(seconds)
    return {"attention": attention, "length": length, "tokens_per_second": rate, "memory_mib": mib}


def _spec(length: int) -> Any:
    from manyheads.data.base import DocumentSpec

    ids = {"source_vocabulary": VOCABULARY, "target_vocabulary": VOCABULARY, "joint": True}
    specials = {"pad": 0, "bos": 1, "eos": 2, "sep": 4}
    reads = {"pool": "attention", "aggregate": "mean", "layers": 1, "most": 1}
    beside = {"bag_of_words": False, "word_dropout": 0.0}
    labels = {"labels": ("no", "yes"), "multilabel": False}
    return DocumentSpec(kind="clinical_long", longest=length, **ids, **specials, **labels, **reads, **beside)


def _document(length: int) -> Any:
    import torch

    from manyheads.data.documents.batch import DocumentBatch

    one, none = torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    ids = torch.randint(5, VOCABULARY, (1, length))
    return DocumentBatch(
        index=none, tokens=length, ids=ids, lengths=one * length, document=none, place=none, labels=one
    )


def draw(found: dict[str, Any], path: Path) -> None:
    """Two panels over length, a line for each attention: tokens a second and memory."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("tokens_per_second", "memory_mib"),
        ("tokens per second", "memory of a step (MiB)"),
        strict=True,
    ):
        for name in dict.fromkeys(case["attention"] for case in found["cases"]):
            mine = [case for case in found["cases"] if case["attention"] == name]
            axes.plot([case["length"] for case in mine], [case[key] for case in mine], marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="tokens of the document", ylabel=label)
        axes.set_xticks(sorted({case["length"] for case in found["cases"]}), minor=False)
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
