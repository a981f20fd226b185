"""Phases of a step, with clocks that the test turns."""

import pytest
import torch

from manyheads.training import steptime
from manyheads.training.steptime import PHASES, StepTime


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(steptime.time, "perf_counter", lambda: Clock.now)
    return Clock


def step(times: StepTime, clock, seconds: tuple[float, ...]) -> None:
    for phase, taken in zip(PHASES, seconds, strict=True):
        clock.now += taken
        times.mark(phase)


def test_each_phase_is_the_mean_over_steps(clock):
    times = StepTime()
    times.begin()
    step(times, clock, (1.0, 2.0, 4.0, 8.0))
    step(times, clock, (3.0, 2.0, 0.0, 8.0))
    assert times.means() == {"data": 2.0, "forward": 2.0, "backward": 2.0, "optimizer": 8.0}


def test_a_validation_between_two_steps_is_no_data(clock):
    times = StepTime()
    times.begin()
    step(times, clock, (1.0, 1.0, 1.0, 1.0))
    clock.now += 100.0
    times.begin()
    step(times, clock, (1.0, 1.0, 1.0, 1.0))
    assert times.means() == dict.fromkeys(PHASES, 1.0)


def test_steps_left_out_or_out_of_turn_count_nothing(clock):
    times = StepTime()
    times.begin()
    times.mark("data")
    times.leave_out()
    for phase in PHASES[1:]:
        times.mark(phase)
    times.mark("data")
    times.mark("backward")
    times.mark("optimizer")
    assert times.means() == dict.fromkeys(PHASES)
    step(times, clock, (1.0, 1.0, 1.0, 1.0))
    assert times.steps == 1


def test_what_was_saved_goes_on(clock):
    times, after = StepTime(), StepTime()
    times.begin()
    step(times, clock, (1.0, 2.0, 3.0, 4.0))
    after.load_state_dict(times.state_dict())
    after.begin()
    step(after, clock, (3.0, 2.0, 1.0, 0.0))
    assert after.means() == dict.fromkeys(PHASES, 2.0)


class Event:
    """A mark in a queue that the device reaches at `until`."""

    reached = 0.0

    def __init__(self, at: float) -> None:
        self.at = at

    def query(self) -> bool:
        return Event.reached >= self.at

    def elapsed_time(self, other: "Event") -> float:
        return 1000 * (other.at - self.at)

    def synchronize(self) -> None:
        Event.reached = max(Event.reached, self.at)


def test_no_step_waits_for_a_device(clock, monkeypatch):
    times = StepTime()
    times.use(torch.device("cuda"))
    monkeypatch.setattr(StepTime, "_now", lambda self: Event(clock.now))
    times.begin()
    for _ in range(3):
        step(times, clock, (1.0, 1.0, 1.0, 1.0))
    assert (Event.reached, times.steps) == (0.0, 0)
    Event.reached = 5.0
    step(times, clock, (1.0, 1.0, 1.0, 1.0))
    assert (Event.reached, times.steps) == (5.0, 1)
    assert times.means() == dict.fromkeys(PHASES, 1.0)
    assert times.steps == 4
