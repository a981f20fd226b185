"""Which number says how good a run is, and which way is better."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from manyheads.report.runs import Run

NAMES = {
    "accuracy": "accuracy",
    "recognised": "words recognised",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "bleu": "BLEU",
    "bleu_lowercase": "BLEU, lower case",
    "chrf": "chrF",
    "loss": "loss",
    "nll": "negative log-likelihood",
    "perplexity": "perplexity",
    "bits_per_byte": "bits per byte",
    "mse": "MSE",
    "mae": "MAE",
    "mase": "MASE",
    "smape": "sMAPE",
    "crps": "CRPS",
    "calibration_error": "calibration error",
}
"""How people write them, in the order in which a table shows them."""

LESS_IS_BETTER = {
    "loss",
    "nll",
    "perplexity",
    "bits_per_byte",
    "mse",
    "mae",
    "mase",
    "smape",
    "crps",
    "calibration_error",
}


def less_is_better(metric: str, runs: Sequence[Run] = ()) -> bool:
    """By what the metric is; one that nobody has named is as the runs' own task says of what it watches."""
    name = metric.rpartition("/")[2]
    if name in NAMES:
        return name in LESS_IS_BETTER
    modes = [run.config.get("task", {}).get("mode") for run in runs if run.monitor and _name(run.monitor) == name]
    return "min" in modes or name.endswith(("loss", "error", "seconds"))


def chosen(runs: Sequence[Run], wanted: str | None) -> str | None:
    """The metric by which these finished runs are compared: `wanted`, else what their sweep makes best, else what their
    task watches, on the test set where it was measured; None where no run has any."""
    if wanted is not None:
        return wanted
    asked = Counter(run.config.get("optimized_metric") for run in runs if _quality(run.config.get("optimized_metric")))
    watched = Counter(run.monitor for run in runs if run.monitor)
    names = [name for counts in (asked, watched) for name, _ in counts.most_common()]
    candidates = [split_name for name in names for split_name in _on_test(name)]
    return next((name for name in candidates if any(run.value(name) is not None for run in runs)), None)


def title(metric: str) -> str:
    split, _, name = metric.partition("/")
    return f"{NAMES.get(name, name)} ({split})"


def figure(value: float | None, digits: int = 4) -> str:
    """As many digits as say something."""
    if value is None:
        return "—"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{3 if size < 10 else digits - len(str(int(size)))}f}"


def baselines(run: Run, metric: str) -> dict[str, float]:
    """What is known without a model, by name: `test/tfidf/accuracy` is `tfidf` of `test/accuracy`."""
    split, _, name = metric.partition("/")
    found: dict[str, float] = {}
    for key, value in (run.found.get("baseline") or {}).items():
        place, _, known = str(key).rpartition("/")
        if known == name and place.startswith(f"{split}/") and isinstance(value, int | float):
            found[place.removeprefix(f"{split}/")] = float(value)
    return found


def _on_test(name: str) -> list[str]:
    split, _, rest = name.partition("/")
    return [f"test/{rest}", name] if split == "val" else [name]


def _quality(metric: Any) -> bool:
    return isinstance(metric, str) and metric.startswith(("val/", "test/"))


def _name(metric: str) -> str:
    return metric.rpartition("/")[2]
