"""What a run costs, in the units that people pay in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from manyheads.report.runs import Run

Cost = Literal[
    "tokens_per_second", "train_seconds", "flops_per_token", "parameters", "peak_memory_bytes", "energy_joules"
]


@dataclass(frozen=True)
class Axis:
    """heading: of the measured figure, in `unit` after division by `scale`; paid: what the cost is called that grows.

    rate: whether more is cheaper, so that the cost is one over it.
    """

    heading: str
    unit: str
    scale: float
    digits: int
    paid: str
    rate: bool = False

    def shown(self, value: float | None) -> str:
        """The measured figure."""
        return "—" if value is None else f"{value / self.scale:,.{self.digits}f}"

    def cost(self, value: float | None) -> float | None:
        """What grows as it gets dearer."""
        if value is None or (self.rate and value <= 0):
            return None
        return 1e6 / value if self.rate else value / self.scale


AXES: dict[str, Axis] = {
    "tokens_per_second": Axis("tokens a second", "", 1, 0, "µs a token", rate=True),
    "train_seconds": Axis("training", "s", 1, 1, "seconds of training"),
    "flops_per_token": Axis("arithmetic a token", "MFLOP", 1e6, 2, "MFLOP a token"),
    "parameters": Axis("parameters", "", 1, 0, "parameters"),
    "peak_memory_bytes": Axis("peak memory", "GiB", 2**30, 2, "GiB at the peak"),
    "energy_joules": Axis("energy", "J", 1, 0, "joules"),
}


def chosen(runs: Sequence[Run], wanted: Cost | None) -> tuple[Cost, str | None]:
    """The cost by which runs are weighed, and why it is not seconds where it is not.

    Seconds of different machines say nothing about attentions; what is computed does.
    """
    if wanted is not None:
        return wanted, None
    devices = sorted({str(found) for run in runs if (found := (run.found.get("cost") or {}).get("device"))})
    if len(devices) > 1:
        return (
            "flops_per_token",
            f"The runs come from different machines ({', '.join(devices)}), so arithmetic is compared and not time.",
        )
    return "tokens_per_second", None
