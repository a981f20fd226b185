"""One name for all attentions of a model."""

from collections.abc import Sequence


def joined(layers: Sequence[str] | None, across: str | None, chosen: str) -> str:
    """sliding_window+dense-across-gqa; also for the name of the run's folder."""
    within = "+".join(layers or [chosen])
    return within if across is None else f"{within}-across-{across}"
