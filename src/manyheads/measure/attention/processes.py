"""A process of its own for each order, so that a peak is a peak and a crash is a row.

All are forked from one server that has imported torch and this package and computed nothing: a start costs no seconds,
and there are no threads and no device yet that a fork would break.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from manyheads.measure.attention.worker import work

OUT_OF_TIME = "out of time"


def process(order: dict[str, Any], seconds: float, log: Path, tell: Callable[[dict[str, Any]], object]) -> str:
    """Hands on each row that the worker tells within `seconds`; the answer is how it ended, in words."""
    if seconds <= 0:
        return OUT_OF_TIME
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    rows, ends = context.Pipe(duplex=False)
    worker = context.Process(target=work, args=(order, ends, str(log)))
    worker.start()
    ends.close()
    try:
        return _heard(rows, worker, time.monotonic() + seconds, log, tell)
    finally:
        _end(worker)


def _heard(rows: Any, worker: BaseProcess, end: float, log: Path, tell: Callable[[dict[str, Any]], object]) -> str:
    with suppress(EOFError):
        while rows.poll(max(0.0, end - time.monotonic())):
            tell(rows.recv())
        return OUT_OF_TIME
    worker.join()
    if worker.exitcode < 0:
        number = -worker.exitcode
        return f"killed by signal {number}" + (", probably for want of memory." if number == signal.SIGKILL else ".")
    last = log.read_text("utf-8", errors="replace").strip().rpartition("\n")[2] if log.exists() else ""
    return f"ended with code {worker.exitcode}: {last[:300]}"


def _end(worker: BaseProcess) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.kill()
    worker.join()
