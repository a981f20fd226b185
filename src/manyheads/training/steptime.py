"""What a training step spends its time on: data, forward, backward, optimizer.

| phase | from | to |
|---|---|---|
| data | the end of the step before | the batch is on the device |
| forward | there | the loss |
| backward | there | the gradients, summed over all processes |
| optimizer | there | the end of the step: clipping, update, schedule, logs |

On a GPU the marks are events in its own queue, read when they have long passed, so that no step waits for them: a phase
is what the device took or waited for. Elsewhere they are times of the clock.
"""

import time
from collections import deque
from typing import Any

import torch

PHASES = ("data", "forward", "backward", "optimizer")


class StepTime:
    """Call `mark` at the end of each phase in order; `begin` where a step follows nothing."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.steps = 0
        self.use(torch.device("cpu"))

    def use(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []
        self._passed: deque[list[Any]] = deque()

    def begin(self) -> None:
        """The next step's data phase starts now."""
        self._marks = [self._now()]

    def mark(self, phase: str) -> None:
        """The phase ends here. One that is out of turn spoils its step, which is then left out."""
        if self._marks and PHASES[len(self._marks) - 1] == phase:
            self._marks.append(self._now())
        else:
            self._marks = []
        if phase == PHASES[-1]:
            self._close()

    def leave_out(self) -> None:
        """This step is not like the others."""
        self._marks = []

    def means(self) -> dict[str, float | None]:
        """Seconds a step."""
        self._read(wait=True)
        return {phase: self.seconds[phase] / self.steps if self.steps else None for phase in PHASES}

    def state_dict(self) -> dict[str, Any]:
        self._read(wait=True)
        return {"seconds": dict(self.seconds), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.steps = dict(state["seconds"]), state["steps"]

    def _close(self) -> None:
        if len(self._marks) == len(PHASES) + 1:
            self._passed.append(self._marks)
        self._read(wait=False)
        self.begin()

    def _read(self, wait: bool) -> None:
        """Adds up the steps that are over; those that are still in a queue stay for later, unless `wait`."""
        while self._passed and (wait or self._over(self._passed[0][-1])):
            marks = self._passed.popleft()
            if self._cuda:
                marks[-1].synchronize()
            for phase, one, other in zip(PHASES, marks, marks[1:], strict=False):
                self.seconds[phase] += one.elapsed_time(other) / 1000 if self._cuda else other - one
            self.steps += 1

    def _over(self, mark: Any) -> bool:
        return mark.query() if self._cuda else True

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
