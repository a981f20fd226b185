"""Runs jobs, so many at once, and tells how each ended as soon as it has."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from manyheads.sweep.job import OUTPUT, STOP, Job, Outcome, ended, finished, held
from manyheads.sweep.process import PAUSE, end_orphan

log = logging.getLogger(__name__)


class Handle(Protocol):
    """A job under way."""

    def poll(self) -> int | None: ...
    def stop(self, number: int) -> None: ...


class Place(Protocol):
    """Where processes of jobs are started; `limit`: so many at once, None for as many as there are."""

    limit: int | None

    def start(self, job: Job) -> Handle: ...


class Elsewhere:
    """A job that a process of an earlier start of this sweep still works at; an orphan has `grace` seconds to end."""

    def __init__(self, job: Job, grace: float) -> None:
        self.job, self._end = job, time.monotonic() + grace

    def poll(self) -> int | None:
        if not held(self.job.folder):
            return 0
        if time.monotonic() > self._end:
            end_orphan(self.job.folder)
        return None

    def stop(self, number: int) -> None:
        """It is not ours to stop."""


class Runner:
    """The loop over a sweep's jobs. `told` is the signal that stopped it, if one did.

    `grace`: seconds in which a job that is told to stop may save itself, before it is killed.
    """

    def __init__(self, place: Place, grace: float) -> None:
        self.place, self.grace = place, grace
        self.told: int | None = None
        self._since = 0.0
        self._running: list[tuple[Job, Handle]] = []

    def run(self, jobs: Iterator[Job], say: Callable[[str], None] = log.info) -> Iterator[Outcome]:
        """Pulls a job whenever there is room for one, so that a search can choose it by what it knows by then.

        A job that finished at an earlier start is handed on as it ended, and not run again.
        """
        self._say, follow = say, Follower(enabled=self.place.limit == 1)
        with self._signals():
            try:
                while True:
                    yield from self._fill(jobs, follow)
                    if not self._running:
                        return
                    follow.on()
                    yield from self._collect(follow)
                    self._insist()
                    time.sleep(PAUSE)
            finally:
                for _, handle in self._running:
                    handle.stop(signal.SIGKILL)

    def _fill(self, jobs: Iterator[Job], follow: "Follower") -> Iterator[Outcome]:
        while self.told is None and (self.place.limit is None or len(self._running) < self.place.limit):
            job = next(jobs, None)
            if job is None:
                return
            known = finished(job)
            if known is not None:
                yield known
            else:
                self._start(job, follow)

    def _start(self, job: Job, follow: "Follower") -> None:
        if held(job.folder):
            self._say(f"{job.title}: waiting for the process that still works in {job.folder}")
            self._running.append((job, Elsewhere(job, self.grace)))
            return
        (job.folder / STOP).unlink(missing_ok=True)
        self._say(f"{job.title}: {job.folder}")
        follow.begin(job)
        handle = self.place.start(job)
        self._running.append((job, handle))
        if self.told is not None:  # just now
            handle.stop(self.told)

    def _collect(self, follow: "Follower") -> Iterator[Outcome]:
        for job, handle in list(self._running):
            code = handle.poll()
            if code is None:
                continue
            self._running.remove((job, handle))
            if isinstance(handle, Elsewhere) and finished(job) is None and self.told is None:
                self._start(job, follow)
            else:
                follow.on(last=True)
                yield finished(job) or ended(job, code, self.told is not None)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        """The first signal lets jobs save themselves; another one ends them."""
        if self.told is not None:
            self._since = -self.grace
            return
        self.told, self._since = number, time.monotonic()
        for _, handle in list(self._running):
            handle.stop(number)

    def _insist(self) -> None:
        if self.told is not None and time.monotonic() - self._since > self.grace:
            for _, handle in self._running:
                handle.stop(signal.SIGKILL)


class Follower:
    """Shows what a job says while it runs, where only one does at a time."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._path, self._at = enabled, None, 0

    def begin(self, job: Job) -> None:
        self._path = job.folder / OUTPUT
        self._at = self._path.stat().st_size if self._path.exists() else 0

    def on(self, last: bool = False) -> None:
        """Shows the lines that came since the last time; at the `last` one what is left without an end, too."""
        if not self._enabled or self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new if last else new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        sys.stdout.write(whole.decode("utf-8", errors="replace"))
        sys.stdout.flush()
