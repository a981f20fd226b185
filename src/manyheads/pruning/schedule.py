"""When units go: a warm-up without any, a ramp, a hold, and then a recovery in which nothing changes any more."""

from dataclasses import dataclass
from typing import Literal

from manyheads.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """warmup, ramp, hold: shares of a training's optimizer steps; recovery is what they leave.

    shape: how the ramp grows from nothing to all: cubic, 1 − (1 − τ)³, most of it early (Zhu and Gupta 2018, eq. 1);
        linear, τ; one_shot, all of it where the warm-up ends.
    every: optimizer steps between two choices of which units go.
    """

    warmup: float
    ramp: float
    hold: float
    shape: Literal["cubic", "linear", "one_shot"]
    every: int

    def __post_init__(self) -> None:
        for key in ("warmup", "ramp", "hold"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"pruning.schedule.{key}={getattr(self, key)} is no share of the training: set 0 to 1.")
        if self.warmup + self.ramp + self.hold > 1:
            raise UserError(
                f"pruning.schedule.warmup + ramp + hold is {self.warmup + self.ramp + self.hold:g} of the training: "
                "at most 1, and what is left is recovery."
            )
        if self.every < 1:
            raise UserError(f"pruning.schedule.every={self.every} must be 1 step or more.")
        if self.shape not in ("cubic", "linear", "one_shot"):
            raise UserError(f"pruning.schedule.shape={self.shape} is not known; choose cubic, linear or one_shot.")

    def begins(self, total: int) -> int:
        """The first step that may close anything."""
        return round(self.warmup * total)

    def settles(self, total: int) -> int:
        """The step before which the last choice is made."""
        return round((self.warmup + self.ramp + self.hold) * total)

    def progress(self, step: int, total: int) -> float:
        """Which share of the target is asked for before this step, 0 to 1."""
        begin, end = self.begins(total), round((self.warmup + self.ramp) * total)
        if step < begin:
            return 0.0
        if step >= end or self.shape == "one_shot":
            return 1.0
        passed = (step - begin) / (end - begin)
        return passed if self.shape == "linear" else 1 - (1 - passed) ** 3
