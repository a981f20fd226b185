"""Jobs as Ray tasks: Ray chooses the machine and the GPUs, the task starts the job's process there.

Every machine sees the sweep's folder under the same path and has manyheads installed.
"""

import os
from typing import Any

from manyheads.errors import UserError
from manyheads.sweep.job import Job
from manyheads.sweep.process import STOPPED, ask_to_stop, run_here


class OnRay:
    """jobs: so many in flight at once, null for all, of which Ray runs as many as there is room for.

    num_cpus, num_gpus: what Ray sets aside for a job. init: the arguments of ray.init; `address: null` starts a cluster
    on this machine, which ends with the sweep.
    """

    def __init__(self, jobs: int | None, num_cpus: float, num_gpus: float, init: dict[str, Any]) -> None:
        self.limit, ray = jobs, imported()
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(**init)
        # Never again by itself: a job that failed is told, and one that was cut off is resumed by the sweep.
        self._task = ray.remote(run_here).options(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=0)

    def start(self, job: Job) -> "Task":
        return Task(job, self._task.remote(job))


class Task:
    def __init__(self, job: Job, reference: Any) -> None:
        self._job, self._reference = job, reference

    def poll(self) -> int | None:
        ray = imported()
        done, _ = ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return ray.get(self._reference)
        except ray.exceptions.RayError as problem:  # such as a machine that was lost
            return refused(self._job, problem)

    def stop(self, number: int) -> None:
        ask_to_stop(self._job.folder, number)


def refused(job: Job, problem: Exception) -> int:
    """The exit code of a job that could not be run to its end; what was said about it goes to its own log."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "output.log").open("a", encoding="utf-8") as log:
        print(f"error: {str(problem).strip().splitlines()[-1]}", file=log)
    return STOPPED


def imported() -> Any:
    try:
        import ray
    except ModuleNotFoundError as problem:
        raise UserError(
            "hydra/launcher=ray needs Ray, which is not installed: pip install 'manyheads[ray]'."
        ) from problem
    return ray
