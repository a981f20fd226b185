"""Jobs on this machine: so many at once, each with the GPUs that it asks for."""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from manyheads.sweep.job import Job
from manyheads.sweep.process import Process


class Here:
    """Starts a job's process on this machine.

    `jobs` at once, or where that is null one per GPU, else one. `asked` says how many GPUs a job wants (None: all).
    Several jobs on one GPU are put where the fewest are.
    """

    def __init__(self, jobs: int | None, gpus: list[str], asked: Callable[[Job], int | None], usual: int | None):
        self.gpus, self._asked = gpus, asked
        self.limit = jobs or max(1, len(gpus) // (usual or len(gpus) or 1) if usual != 0 else 1)
        self._taken: dict[str, list[Process]] = {gpu: [] for gpu in gpus}

    def start(self, job: Job) -> Process:
        mine = self._choose(self._asked(job)) if len(self.gpus) > 1 else []
        extra = {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
        process = Process(job, {**self._threads(), **extra})
        for gpu in mine:
            self._taken[gpu].append(process)
        return process

    def _choose(self, wanted: int | None) -> list[str]:
        """The least busy GPUs; all of them, untouched, for a job that names some itself."""
        if wanted is None or wanted == 0:
            return []
        for processes in self._taken.values():
            processes[:] = [process for process in processes if process.poll() is None]
        free = sorted(self.gpus, key=lambda gpu: len(self._taken[gpu]))
        return sorted(free[:wanted], key=self.gpus.index)

    def _threads(self) -> dict[str, str]:
        """Jobs side by side share the cores: more threads than cores are many times slower than fewer."""
        if self.limit == 1 or "OMP_NUM_THREADS" in os.environ:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // self.limit))}


def gpus_here() -> list[str]:
    """The GPUs that may be used, by the names that CUDA_VISIBLE_DEVICES takes; found without importing torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []


def gpus_wanted(trainer: Any) -> int | None:
    """How many GPUs a composed `trainer` takes; None: all, or those that it names."""
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return 0
    devices = str(trainer.devices)
    return int(devices) if devices.isdigit() else None
