"""The last screen of a run: how good, against what, at what cost, and where to look next."""

import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from manyheads.training.lines import duration

COLUMNS = {
    "bleu": "BLEU",
    "bleu_lowercase": "BLEU lc",
    "chrf": "chrF",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
    "auroc": "AUROC",
    "average_precision": "AP",
    "mse": "MSE",
    "mae": "MAE",
    "mase": "MASE",
    "smape": "sMAPE",
    "crps": "CRPS",
    "bits_per_byte": "bits/byte",
    "recognised": "recognised",
    "accuracy": "accuracy",
    "calibration_error": "ECE",
    "perplexity": "ppl",
}
"""Metrics by which runs are compared, of all families, and their headings."""


def show_end(content: dict[str, Any], folder: Path) -> None:
    """Prints metrics.json as one screen."""
    console = Console()
    console.print(scores(content))
    if (lengths := by_length(content)) is not None:
        console.print(lengths)
    console.print(cost(content))
    console.print(f"Weights: {content['weights']}. Everything is in [bold]{folder}[/bold]", soft_wrap=True)
    if (folder / "tensorboard").exists():
        console.print(f"  curves        tensorboard --logdir {folder / 'tensorboard'}", soft_wrap=True)
    console.print(f"  score again   python scripts/evaluate.py run={folder}", soft_wrap=True)
    console.print(f"  use it        python scripts/predict.py run={folder} input=FILE", soft_wrap=True)


def scores(content: dict[str, Any]) -> Table:
    """A row for each set that was scored, and one for each baseline beside it."""
    title = f"{content['data']} · {content['model']} · {content['attention']} ({content['attention_used']})"
    rows = {"val": content["val"], **_by_set(content["test"]), **_baselines(content)}
    rows = {name: row for name, row in rows.items() if row}
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in (COLUMNS[name] for name in columns):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_score(row.get(column)) for column in columns))
    return table


def by_length(content: dict[str, Any]) -> Table | None:
    """What is recognised of words of each length, where a test has such parts; beside it what is no model."""
    rows = {**_by_set(content["test"]), **_baselines(content)}
    parts = [part for name in rows.get("test", {}) for part in re.findall(r"^recognised_([\d.]+x)$", name)]
    if not parts:
        return None
    table = Table("", *parts, title="Recognised, by length / longest trained word", title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(_figure(row.get(f"recognised_{part}")) for part in parts))
    return table


def _score(value: float | None) -> str:
    """Shares and errors are small numbers, of which a third digit counts."""
    return _figure(value, 3 if value is not None and abs(value) < 10 else 2)


def _baselines(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Rows of what is no model: a key is set/name/metric."""
    rows: dict[str, dict[str, float]] = {}
    for key, value in content["baseline"].items():
        name, _, metric = key.rpartition("/")
        rows.setdefault(name, {})[metric] = value
    return rows


def cost(content: dict[str, Any]) -> Table:
    found, train = content["cost"], content["train"]
    flops, mfu = found["flops_per_token"], found["mfu"]
    length = f"{train.get('steps', 0):,} steps, {train.get('epochs')} epochs"
    table = Table(title="Cost", title_justify="left", show_header=False)
    rows = {
        "parameters": _parameters(found),
        "training": f"{duration(found['train_seconds'])}, {length}",
        "tokens per second": _figure(found["tokens_per_second"], 0),
        "arithmetic per token": f"{flops / 1e6:,.1f} MFLOP" if flops else "—",
        "of what a matrix product reaches here": f"{mfu:.0%}" if mfu else "—",
        "a step": _phases(found.get("step_seconds") or {}),
        "peak memory": f"{found['peak_memory_bytes'] / 2**30:.2f} GiB{_foretold(found)}",
        "device": found["device"],
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _parameters(found: dict[str, Any]) -> str:
    now, before = found["parameters"], found.get("parameters_before_pruning") or found["parameters"]
    return f"{now:,}" if now == before else f"{now:,} of {before:,} before pruning ({now / before:.0%})"


def _phases(seconds: dict[str, float | None]) -> str:
    """Shares of a step."""
    if not seconds or None in seconds.values():
        return "—"
    total = sum(seconds.values())
    shares = ", ".join(f"{phase} {taken / total:.0%}" for phase, taken in seconds.items())
    return f"{total * 1e3:,.1f} ms: {shares}"


def _foretold(found: dict[str, Any]) -> str:
    predicted = found.get("predicted")
    return f" ({predicted['peak_memory_bytes'] / 2**30:.2f} foretold)" if predicted else ""


def _by_set(test: dict[str, float]) -> dict[str, dict[str, float]]:
    """Scores of each test set; those without a name of their own repeat the first set where there are several."""
    named: dict[str, dict[str, float]] = {}
    for name, value in test.items():
        where, _, metric = name.rpartition("/")
        named.setdefault(where or "test", {})[metric] = value
    return {name: row for name, row in named.items() if name != "test" or row not in _others(named)}


def _others(named: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    return [row for name, row in named.items() if name != "test"]


def _figure(value: float | None, digits: int = 2) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"
