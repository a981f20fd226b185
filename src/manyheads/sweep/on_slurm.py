"""Jobs on SLURM through submitit, or in its local mode, which does the same without a cluster.

Every machine sees the sweep's folder under the same path and has manyheads installed.
"""

import signal
import time
from pathlib import Path
from typing import Any

from manyheads.errors import UserError
from manyheads.sweep.job import Job
from manyheads.sweep.on_ray import refused
from manyheads.sweep.process import PAUSE, Process, ask_to_stop, run_here


class OnSlurm:
    """jobs: so many submitted at once, null for all. parameters: submitit's, by its names; null leaves one out."""

    def __init__(self, jobs: int | None, cluster: str, folder: Path, parameters: dict[str, Any]) -> None:
        self.limit = jobs
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            self._executor = imported().AutoExecutor(folder=str(folder), cluster=cluster)
            self._executor.update_parameters(**given)
        except (NameError, RuntimeError, ValueError) as problem:
            raise UserError(f"hydra.launcher.parameters: {str(problem).strip().splitlines()[0]}") from problem

    def start(self, job: Job) -> "Submitted":
        self._executor.update_parameters(name=f"manyheads-{job.number}")
        return Submitted(job, self._executor.submit(Work(job)))


class Work:
    """What submitit runs on the machine that SLURM gives.

    Shortly before its time is up, or when it is preempted, the job saves itself and is queued again, to go on.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self) -> int:
        return run_here(self.job, self._remember)

    def checkpoint(self) -> Any:
        self.process.stop(signal.SIGTERM)
        while self.process.poll() is None:
            time.sleep(PAUSE)
        return imported().helpers.DelayedSubmission(Work(self.job))

    def _remember(self, process: Process) -> None:
        self.process = process


class Submitted:
    def __init__(self, job: Job, submitted: Any) -> None:
        self._job, self._submitted = job, submitted

    def poll(self) -> int | None:
        if not self._submitted.done():
            return None
        try:
            return max(self._submitted.results())
        except Exception as problem:  # what submitit says where a job ended without a result
            return refused(self._job, problem)

    def stop(self, number: int) -> None:
        ask_to_stop(self._job.folder, number)
        if self._submitted.state == "PENDING":
            self._submitted.cancel()


def imported() -> Any:
    try:
        import submitit
    except ModuleNotFoundError as problem:
        raise UserError(
            "hydra/launcher=slurm needs submitit, which is not installed: pip install 'manyheads[slurm]'."
        ) from problem
    return submitit
