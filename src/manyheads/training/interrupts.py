"""SIGINT and SIGTERM: where a run is when they come decides what it still does before it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """The user or the system asked the run to stop. No Exception, so that nobody swallows it; as a SystemExit it ends
    a forked process without a traceback, by the exit code that a shell gives to the signal.

    step: the optimizer step at which all ranks saved their state and left; None where nothing was saved.
    """

    def __init__(self, number: int, step: int | None = None) -> None:
        super().__init__(128 + number)
        self.number, self.step = number, step

    def __str__(self) -> str:
        return signal.Signals(self.number).name + (f" at step {self.step}" if self.step is not None else "")


def number_of(code: int) -> int | None:
    """The signal at which a process of this exit code has stopped, if it is one of ours."""
    return next((number for number in NUMBERS if code == 128 + number), None)


class AtOnce(Callback):
    """An evaluation saves nothing, so it ends at once; Lightning's own handler would wait for other ranks first."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _raise)

    on_test_start = on_validation_start


@contextmanager
def raising() -> Iterator[None]:
    """Outside of training there is nothing to save: SIGTERM ends the run at once, as SIGINT does by itself."""
    with _handling({signal.SIGTERM: _raise}):
        yield


@contextmanager
def forwarding() -> Iterator[None]:
    """In a process that only waits for the processes that it forks: they are told, agree on a step, and save.

    A terminal sends Ctrl-C to all of them by itself; what is sent on is a SIGTERM, so that it is no second Ctrl-C.
    """
    owner = os.getpid()

    def forward(number: int, frame: Any) -> None:
        children = multiprocessing.active_children()
        if os.getpid() != owner or not children:
            _raise(number, frame)
        for child in children:
            child.terminate()

    with _handling(dict.fromkeys(NUMBERS, forward)):
        yield


def _raise(number: int, frame: Any) -> None:
    raise Interrupted(number)


@contextmanager
def _handling(handlers: dict[int, Callable[[int, Any], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
