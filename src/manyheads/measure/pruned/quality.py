"""What is good, and how much worse: metrics whose direction is known, and relative losses of them."""

from typing import Any

from manyheads.errors import UserError

BEST = {
    "max": ("bleu", "bleu_lowercase", "chrf", "f1_micro", "f1_macro", "auroc", "average_precision", "accuracy"),
    "min": ("mse", "mae", "mase", "smape", "crps", "bits_per_byte", "perplexity", "calibration_error", "nll", "loss"),
}
MODES = {**{name: mode for mode, names in BEST.items() for name in names}, "f1_micro_tuned": "max"}
"""By metric, whether a greater or a smaller value is better; those by which runs are compared first, first."""


def mode_of(metric: str) -> str:
    """`max` or `min`, of a metric such as test/bleu or test/test_2016/bleu."""
    name = metric.rpartition("/")[2]
    if name not in MODES:
        raise UserError(
            f"{metric}: nobody knows whether more of it is better or less; choose one of {', '.join(MODES)}."
        )
    return MODES[name]


def value(metrics: dict[str, Any], metric: str) -> float | None:
    """Of a run's metrics.json; None where it was not measured, or is no number."""
    split, _, name = metric.partition("/")
    if split not in ("test", "val") or not name:
        raise UserError(f"metric={metric} names no split: write test/{metric} or val/{metric}.")
    found = metrics.get(split, {}).get(name)
    return None if found is None else float(found)


def loss(metric: str, base: float, now: float) -> float | None:
    """Relative to `base`, above 0 where `now` is worse; None where `base` is 0."""
    if base == 0:
        return None
    return (base - now if mode_of(metric) == "max" else now - base) / abs(base)


def compared(base: dict[str, Any], pruned: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each known metric that both runs have: of their tests, or else of their validations."""
    for split in ("test", "val"):
        names = [name for name in MODES if all(found.get(split, {}).get(name) is not None for found in (base, pruned))]
        if names:
            return [_row(f"{split}/{name}", base[split][name], pruned[split][name]) for name in names]
    return []


def _row(metric: str, base: float, pruned: float) -> dict[str, Any]:
    change = (pruned - base) / abs(base) if base else None
    values = {"base": base, "pruned": pruned, "change": change, "loss": loss(metric, base, pruned)}
    return {"metric": metric, "best": mode_of(metric), **values}
