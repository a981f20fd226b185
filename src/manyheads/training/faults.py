"""How a run ended that did not finish: what its record says, and what the user reads."""

import gc
import re
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.training import ranks
from manyheads.training.interrupts import Interrupted, number_of

MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|Unable to allocate", re.IGNORECASE
)
"""CPU allocators of torch, numpy and C++ say so; only CUDA has an exception of its own."""

DISTRIBUTED = ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError")
"""What torch raises when processes lose each other, by the names that stand in a traceback."""


@dataclass(frozen=True)
class Ending:
    """reason: for the record. number: the signal that stopped the run. sentence: for the user, where a traceback would
    say no more.
    """

    reason: str
    number: int | None = None
    sentence: str | None = None

    @property
    def status(self) -> str:
        return "failed" if self.number is None else "interrupted"


def ending(problem: BaseException, folder: Path, trainer: Trainer | None, roomier: Callable[[], str]) -> Ending:
    """roomier: says which setting would need less memory."""
    stopped = _number(problem)
    if stopped is not None:
        told = problem if isinstance(problem, Interrupted) else Interrupted(stopped)
        return Ending(str(told), number=stopped)
    if isinstance(problem, ProcessExitedException):
        return _resumable(ranks.died(problem.error_index, problem.exit_code, None), folder)
    if isinstance(problem, ProcessRaisedException):
        return _forked(problem, folder, trainer, roomier)
    if is_memory(problem):
        return _memory(_said(problem), problem, folder, roomier)
    if trainer is not None and trainer.world_size > 1 and ranks.is_loss(problem):
        return _resumable(ranks.lost(trainer, folder), folder)
    if isinstance(problem, OSError) and problem.errno in atomic.FULL:
        if isinstance(problem.__context__, UserError):  # a log could not be closed on the disk that was full before
            return _resumable(str(problem.__context__), folder)
        what = problem.filename or f"A file of {folder} (such as a log)"
        return _resumable(f"{what} could not be written: the disk is full. Make room", folder)
    return Ending(_said(problem))


def is_memory(problem: BaseException) -> bool:
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(problem, RuntimeError) and MEMORY.search(str(problem)) is not None


def _number(problem: BaseException) -> int | None:
    """The signal that ended the run, if one did."""
    if isinstance(problem, Interrupted):
        return problem.number
    if isinstance(problem, ProcessExitedException):
        return number_of(problem.exit_code)
    # Lightning makes one of the other.
    return signal.SIGINT if isinstance(problem, KeyboardInterrupt | SystemExit) else None


def _forked(
    problem: ProcessRaisedException, folder: Path, trainer: Trainer | None, roomier: Callable[[], str]
) -> Ending:
    """A forked process hands on nothing but the text of its traceback."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    kind, _, said = lines[-1].partition(": ")
    if kind.endswith("UserError"):
        return Ending(said, sentence=said)
    if kind.endswith(("OutOfMemoryError", "MemoryError")) or MEMORY.search(said):
        return _memory(said or kind, problem, folder, roomier)
    if kind.endswith(DISTRIBUTED) and ranks.LOST.search(said):
        return _resumable(ranks.lost_fork(trainer, said), folder)
    return Ending(f"rank {problem.error_index}: {lines[-1]}")


def _memory(said: str, problem: BaseException, folder: Path, roomier: Callable[[], str]) -> Ending:
    wanted = re.search(r"tried to allocate ([\d.]+ ?\w+)", said, re.I)
    out = "Out of memory" + (f": {wanted[1]} more were wanted" if wanted else "")
    # What failed is still held by the frames that it failed in.
    traceback.clear_frames(problem.__traceback__)
    gc.collect()
    try:
        instead = roomier()
    except Exception:  # there may not even be room to look
        instead = "a smaller data.batch_tokens or data.batch"
    reason = f"{out}; {instead} would fit"
    more = f"or go on where more is free: python train.py resume={folder}"
    return Ending(reason, sentence=f"{out}. In a new run, set {instead}; {more}")


def _resumable(reason: str, folder: Path) -> Ending:
    reason = reason.rstrip(".")
    return Ending(reason, sentence=f"{reason}. Go on with: python train.py resume={folder}")


def _said(problem: BaseException) -> str:
    return str(problem).strip() or type(problem).__name__
