"""hydra/launcher=processes|ray|slurm|submitit_local: each job is a process of its own; they differ in where."""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from manyheads.config.launch import Failed
from manyheads.sweep.here import Here, gpus_here, gpus_wanted
from manyheads.sweep.job import Job, Outcome
from manyheads.sweep.on_ray import OnRay
from manyheads.sweep.on_slurm import OnSlurm
from manyheads.sweep.runner import Place
from manyheads.sweep.sweep import Sweep, conclude, described

log = logging.getLogger(__name__)


class ProcessLauncher(Launcher):
    """On this machine. grace: seconds in which a job that is told to stop may save itself."""

    bounded = True
    """Whether jobs that are too many wait here, where `sweep.jobs` says no number, and not in someone else's queue."""

    def __init__(self, jobs: int | None, grace: float) -> None:
        self.jobs, self.grace = jobs, grace

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.sweep = Sweep(hydra_context, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs a sweep's jobs and says how they ended; what it returns raises Failed for one that failed."""
        common = [o for o in job_overrides[0] if all(o in overrides for overrides in job_overrides)]
        jobs = [
            self.sweep.job(initial_job_idx + i, common, [o for o in overrides if o not in common])
            for i, overrides in enumerate(job_overrides)
        ]
        outcomes = []
        for outcome in self.run(jobs):
            log.info("%s", described(outcome))
            outcomes.append(outcome)
        outcomes.sort(key=lambda outcome: outcome.job.number)
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        conclude(self.sweep.folder, "jobs", (outcome.status for outcome in outcomes), failed)
        if failed:
            print(f"Try again what failed: python train.py resume={self.sweep.folder}", file=sys.stderr)
        return [Returned.of(outcome) for outcome in outcomes]

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """How each job ended, as soon as it has; `jobs` are drawn as there is room for them."""
        self.sweep.begin()
        return self.sweep.run(jobs, self.place(), self.grace)

    def place(self) -> Place:
        gpus = gpus_here()
        return Here(self.jobs, gpus, self._gpus_of, gpus_wanted(self.sweep.config.trainer) if gpus else 0)

    def _gpus_of(self, job: Job) -> int | None:
        return gpus_wanted(self.sweep.composed(job).trainer)


class RayLauncher(ProcessLauncher):
    """On Ray (manyheads.sweep.on_ray)."""

    bounded = False

    def __init__(self, jobs: int | None, grace: float, num_cpus: float, num_gpus: float, init: dict[str, Any]) -> None:
        super().__init__(jobs, grace)
        self.num_cpus, self.num_gpus, self.init = num_cpus, num_gpus, init

    def place(self) -> Place:
        return OnRay(self.jobs, self.num_cpus, self.num_gpus, dict(self.init))


class SlurmLauncher(ProcessLauncher):
    """On SLURM, or in submitit's local mode (manyheads.sweep.on_slurm)."""

    bounded = False

    def __init__(self, jobs: int | None, grace: float, cluster: str, parameters: dict[str, Any]) -> None:
        super().__init__(jobs, grace)
        self.cluster, self.parameters = cluster, parameters

    def place(self) -> Place:
        return OnSlurm(self.jobs, self.cluster, self.sweep.folder / ".submitit", dict(self.parameters))


class Returned(JobReturn):
    """Hydra's account of a job; one that failed has said why already, so nothing more is printed."""

    @classmethod
    def of(cls, outcome: Outcome) -> "Returned":
        told = cls(overrides=list(outcome.job.overrides), working_dir=str(outcome.job.folder))
        told.status = JobStatus.FAILED if outcome.status == "failed" else JobStatus.COMPLETED
        told._return_value = outcome.objective
        return told

    @property
    def return_value(self) -> Any:
        if self.status == JobStatus.FAILED:
            raise Failed
        return self._return_value
