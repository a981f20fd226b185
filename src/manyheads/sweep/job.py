"""One job of a sweep: the command that runs it as a single run in a folder of its own, and how it ended.

What ended is read from the folder, never from the process that ran it: a sweep that was killed then knows as much as
one that was not.
"""

import fcntl
import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.config.quoting import quoted

OUTPUT = "output.log"
STOP = ".stop"
DONE = ("finished", "pruned")

# Set by what starts the processes of one run: a job that took them over would think itself a part of another run.
DISTRIBUTED = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


@dataclass(frozen=True)
class Job:
    """number: also the name of its folder; own: those of its overrides that tell it from the others.

    program: python and the script with the flags that name the conf folder; hydra: settings of Hydra's own, the same
    for every job; environment: what this job alone is told.
    """

    number: int
    overrides: tuple[str, ...]
    own: tuple[str, ...]
    folder: Path
    program: tuple[str, ...]
    hydra: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def command(self) -> list[str]:
        """A run that has begun goes on; any other starts."""
        here = quoted(self.folder)
        asked = [f"resume={here}"] if begun(self.folder) else [*self.overrides, f"hydra.run.dir={here}"]
        return [*self.program, *asked, *self.hydra, "hydra.mode=RUN"]

    def variables(self, around: dict[str, str]) -> dict[str, str]:
        """The job's environment, made of the one `around` it."""
        gone = (*DISTRIBUTED, "MANYHEADS_RESUME", "HYDRA_FULL_ERROR", *_alone(around))
        kept = {name: value for name, value in around.items() if name not in gone}
        return {**kept, **dict(self.environment)}

    @property
    def title(self) -> str:
        return f"job {self.number}" + (f" ({' '.join(self.own)})" if self.own else "")


@dataclass(frozen=True)
class Outcome:
    """status: finished, pruned, failed or interrupted; objective: what `optimized_metric` names, if anything."""

    job: Job
    status: str
    reason: str | None = None
    objective: float | list[float] | None = None


def begun(folder: Path) -> bool:
    """Whether there is a run to go on with."""
    return (folder / "config.yaml").is_file() and ((folder / "metrics.json").is_file() or _saved(folder))


def finished(job: Job) -> Outcome | None:
    """How the job ended if it needs to run no more."""
    found = metrics(job.folder)
    return _told(job, found) if found.get("status") in DONE else None


def ended(job: Job, code: int, stopped: bool) -> Outcome:
    """How the job ended, after its process did with this exit `code`; `stopped`: the sweep told it to.

    A run that died without a word is closed here, so that its folder does not say `running` for ever.
    """
    found = metrics(job.folder)
    if code == 0:
        return _told(job, {"status": "finished", **found})
    silent = found.get("status") not in ("failed", "interrupted")
    reason = _last_words(job.folder, code) if silent else found.get("reason")
    status = "interrupted" if stopped else "failed"
    if found and silent:
        text = json.dumps({**found, "status": status, "reason": reason}, indent=2, ensure_ascii=False)
        atomic.write_text(job.folder / "metrics.json", text + "\n")
    return Outcome(job, status, reason)


def metrics(folder: Path) -> dict[str, Any]:
    """metrics.json, or nothing where there is none that can be read."""
    try:
        found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def held(folder: Path) -> bool:
    """Whether a process still works in the folder, such as a job of a sweep that was killed a moment ago."""
    try:
        with (folder / ".lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _told(job: Job, found: dict[str, Any]) -> Outcome:
    return Outcome(job, found["status"], found.get("reason"), found.get("objective"))


def _saved(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir()


def _last_words(folder: Path, code: int) -> str:
    """The sentence or the exception that the process ended with, or the signal that ended it."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = [line.strip() for line in tail(folder / OUTPUT).splitlines() if line.strip()]
    sentences = [line for line in lines if line.startswith("error: ")]
    said = (sentences or [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)])[-1:]
    return said[0].removeprefix("error: ") if said else f"exit code {code}; see {folder / OUTPUT}"


def tail(path: Path, size: int = 10_000) -> str:
    """The end of a file, in bytes that are read as UTF-8."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _alone(around: dict[str, str]) -> tuple[str, ...]:
    """Under SLURM with one task Lightning would wait for tasks that are not there instead of starting its own."""
    return ("SLURM_NTASKS",) if around.get("SLURM_NTASKS") == "1" else ()
