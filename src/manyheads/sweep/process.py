"""A job's process: started, asked to stop, and waited for, on whichever machine this runs."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from manyheads import atomic
from manyheads.sweep.job import OUTPUT, STOP, Job

PAUSE = 0.1  # seconds between two looks at a process: nothing beside the seconds that a job takes
PROCESS = ".process"
STOPPED = 128 + signal.SIGTERM


class Process:
    """What it says goes to output.log: a file outlives the sweep, where writing to a closed pipe would kill the job.

    It leads a process group of its own, so that Ctrl-C reaches it through the sweep alone, and a stop reaches all of
    its ranks.
    """

    def __init__(self, job: Job, extra: dict[str, str] | None = None) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        # The process ends when this one is gone (manyheads.config.parent).
        parent = {"MANYHEADS_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        around = {**os.environ, **(extra or {})}
        with (job.folder / _name(around)).open("ab") as log:
            self._process = subprocess.Popen(
                job.command(),
                env={**job.variables(around), **parent},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        known = {"host": socket.gethostname(), "pid": self._process.pid, "parent": os.getpid()}
        atomic.write_text(job.folder / PROCESS, json.dumps(known))

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self, number: int) -> None:
        """Sends the signal to all processes of the job."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def run_here(job: Job, started: Callable[["Process"], None] = lambda process: None) -> int:
    """Runs the job's process to its end; the exit code. Stopped by `ask_to_stop`, from any machine.

    `started` is handed the process as soon as it runs.
    """
    if _asked(job.folder) is not None:
        return STOPPED
    process = Process(job)
    started(process)
    try:
        while (code := process.poll()) is None:
            number = _asked(job.folder)
            if number is not None:
                process.stop(number)
                (job.folder / STOP).unlink()
            time.sleep(PAUSE)
        return code
    finally:
        process.stop(signal.SIGTERM)


def end_orphan(folder: Path) -> None:
    """Kills the job's processes, if they are on this machine and what started them is gone.

    They were told to stop by that; ranks that wait for each other do not hear it.
    """
    try:
        known = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if known["host"] == socket.gethostname() and _parent(known["pid"]) not in (None, known["parent"]):
        with suppress(ProcessLookupError):
            os.killpg(known["pid"], signal.SIGKILL)


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return None


def ask_to_stop(folder: Path, number: int) -> None:
    """A file and not a signal: the folder is the one thing that every machine of a sweep can reach."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{STOP}.partial"
    partial.write_text(str(number))
    partial.replace(folder / STOP)


def _asked(folder: Path) -> int | None:
    try:
        return int((folder / STOP).read_text())
    except FileNotFoundError:
        return None


def _name(around: dict[str, str]) -> str:
    """One file per task where SLURM starts several for one job."""
    rank = around.get("SLURM_PROCID", "0")
    return OUTPUT if rank == "0" else OUTPUT.replace(".log", f".{rank}.log")
