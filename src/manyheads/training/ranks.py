"""The processes of one run live and end together."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from subprocess import Popen

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from manyheads import atomic
from manyheads.config.parent import PARENT

LOST = re.compile(r"gloo|nccl|connection|closed by peer|broken pipe|timed out|timeout|TCPStore", re.IGNORECASE)
"""What torch says when a collective operation fails, of whichever backend."""

SILENT = "Another process of this run has ended, or does not answer any more (callbacks.ranks.timeout)"

PAUSE = 0.5  # seconds between two looks at the processes
GRACE = 10.0  # seconds in which the main thread may end by itself: gloo tells it of a lost peer at once, NCCL does not
LINGER = 5.0  # seconds until a process whose connections are closed has ended, too


class Ranks(Callback):
    """Ends the run, with the reason, when a process that this one started has died.

    Lightning does so by SIGKILL, which leaves no word of why; its observer is relieved here. Where processes are
    forked, the one that forked them sees them die; where something else started them (torchrun, SLURM), that ends the
    others.

    timeout: seconds after which a process that does not answer counts as lost.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.watch: Watch | None = None
        self.folder = Path()
        self.die: Callable[[str], None] = lambda reason: None

    def prepare(self, trainer: Trainer, die: Callable[[str], None]) -> None:
        """Before the processes are started. die: ends this process at once, with a reason."""
        self.die, self.folder = die, Path(trainer.default_root_dir)
        if hasattr(trainer.strategy, "_timeout"):  # an argument of all strategies that have several processes
            trainer.strategy._timeout = timedelta(seconds=self.timeout)
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) and trainer.global_rank == 0:
            # Those that Lightning starts end with this one (manyheads.config.parent).
            os.environ[PARENT] = str(os.getpid())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        started = children(trainer)
        if not started or self.watch is not None:
            return
        for thread in threading.enumerate():
            if isinstance(thread, _ChildProcessObserver):
                thread._child_processes = []
        self.watch = Watch(started, self._end)
        self.watch.start()

    def stop(self) -> None:
        """This process is about to end, by itself."""
        os.environ.pop(PARENT, None)
        if self.watch is not None:
            self.watch.over.set()

    def _end(self, rank: int, code: int) -> None:
        for process in self.watch.processes:
            process.kill()
        self.die(died(rank, code, _words(self.folder).get(rank)))


class Watch(threading.Thread):
    """Waits for the first process that ends badly; `end` is called with its rank and exit code.

    over: set by the main thread as soon as it knows by itself that the run ends.
    """

    def __init__(self, processes: list[Popen], end: Callable[[int, int], None]) -> None:
        super().__init__(daemon=True, name="ranks")
        self.processes, self._end = processes, end
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(PAUSE):
            found = dead(self.processes)
            if found is not None and not self.over.wait(GRACE):
                self._end(*found)
                return


def children(trainer: Trainer | None) -> list[Popen]:
    """The processes that Lightning started by a second command line, in the order of their ranks, from 1 on."""
    launcher = None if trainer is None else trainer.strategy.launcher
    return launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []


def dead(processes: list[Popen]) -> tuple[int, int] | None:
    """Rank and exit code of the first that ended badly."""
    return next(((rank, code) for rank, p in enumerate(processes, 1) if (code := p.poll())), None)


def is_loss(problem: BaseException) -> bool:
    """Whether this is what a process sees when another is gone."""
    return isinstance(problem, RuntimeError) and LOST.search(str(problem)) is not None


def lost(trainer: Trainer, folder: Path) -> str:
    """Who is gone and why, as far as can be known."""
    until = time.monotonic() + LINGER
    while time.monotonic() < until:
        found = dead(children(trainer))
        words = _words(folder)
        if found is not None:
            return died(*found, words.get(found[0]))
        if words and not children(trainer):
            return died(min(words), 1, words[min(words)])
        time.sleep(0.05)
    return SILENT


def lost_fork(trainer: Trainer | None, said: str) -> str:
    """The same of processes that were forked, after they have ended; said: what one of them saw of it."""
    if "timed out" not in said.lower():
        for rank, process in enumerate(trainer.strategy.launcher.procs if trainer else []):
            if process.exitcode == -signal.SIGKILL:
                return died(rank, process.exitcode, None)
    return SILENT


def died(rank: int, code: int, word: str | None) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"Rank {rank} was killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return f"Rank {rank}: {word}" if word else f"Rank {rank} ended with exit code {code}"


def leave_word(folder: Path, rank: int, reason: str) -> None:
    """For rank 0, which writes the record of the run."""
    atomic.write_text(folder / f".rank_{rank}.json", json.dumps(reason))


def forget_words(folder: Path) -> None:
    for path in folder.glob(".rank_*.json"):
        path.unlink()


def _words(folder: Path) -> dict[int, str]:
    found = folder.glob(".rank_*.json")
    return {int(path.stem.removeprefix(".rank_")): json.loads(path.read_text("utf-8")) for path in found}


def end_now(sentence: str) -> None:
    """From a thread, while the main one waits for a process that will never answer."""
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    os._exit(1)
