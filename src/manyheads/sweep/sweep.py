"""A composed multirun: which jobs it has, where they run, and what is said about them at the end."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from manyheads.config.check import refuse, wrong_within
from manyheads.config.places import conf_folder
from manyheads.config.sweeps import key_of
from manyheads.errors import UserError
from manyheads.sweep import book
from manyheads.sweep.job import Job, Outcome
from manyheads.sweep.runner import Place, Runner

log = logging.getLogger(__name__)

OURS = (
    "hydra.mode",
    "hydra.run.",
    "hydra.sweep.",
    "hydra.launcher.",
    "hydra/launcher",
    "hydra.sweeper.",
    "hydra/sweeper",
)
"""Hydra's settings that speak of the sweep and not of its jobs."""


class Sweep:
    """folder: absolute. Raises UserError where the settings, or what is in the folder already, forbid the sweep."""

    def __init__(self, context: HydraContext, config: DictConfig) -> None:
        _refuse(config)
        self.context, self.config = context, config
        self.folder = Path(str(config.hydra.sweep.dir)).expanduser().absolute()
        self._command = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
        self._hydra = tuple(o for o in config.hydra.overrides.hydra if not key_of(o).startswith(OURS))
        self._program = program(config)
        self._lock: Any = None
        book.refuse_another(self.folder, self._command)

    def job(self, number: int, common: Sequence[str], own: Sequence[str], **environment: str) -> Job:
        """common: the overrides of every job; own: those that tell this one from the others."""
        # How many run at once is no business of a job's.
        overrides = tuple(o for o in (*common, *own) if not key_of(o).startswith("sweep."))
        folder, told = self.folder / str(number), tuple(environment.items())
        return Job(number, overrides, tuple(own), folder, self._program, self._hydra, told)

    def composed(self, job: Job) -> DictConfig:
        """The config that the job will have."""
        return self.context.config_loader.load_sweep_config(self.config, list(job.overrides))

    def begin(self) -> None:
        """Claims the folder and notes the command. Raises UserError where another process has it."""
        if self._lock is None:
            self._lock = book.lock(self.folder)
            book.write(self.folder, self._command)

    def run(self, jobs: Iterable[Job], place: Place, grace: float) -> Iterator[Outcome]:
        """How each job ended. Raises SystemExit where a signal stopped it, after its jobs have saved themselves."""
        self.begin()
        runner = Runner(place, grace)
        yield from runner.run(iter(jobs))
        if runner.told is not None:
            print(f"Interrupted. Go on with: python train.py resume={self.folder}", file=sys.stderr)
            raise SystemExit(128 + runner.told)


def conclude(folder: Path, what: str, statuses: Iterable[str], failed: Iterable[Outcome]) -> None:
    """Says how many ended how, what they tell together, and of each job that failed why."""
    counts = Counter(statuses)
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    log.info("%d %s: %s. Everything is in %s", counts.total(), what, words, folder)
    tell(folder)
    for outcome in failed:
        print(f"error: {outcome.job.title} failed: {outcome.reason}", file=sys.stderr)


def tell(folder: Path) -> None:
    """Writes the report of the sweep's runs; where that goes wrong they are as good as before, and it says so."""
    try:
        from manyheads.report import report

        page, content = report([folder])
    except Exception as problem:
        said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        log.warning("No report was made (%s); try python scripts/report.py %s", said, folder)
        return
    for part in content.parts:
        log.info("%s\n%s", part.words.take, part.words.sure)
    log.info("The report is %s", page)


def described(outcome: Outcome) -> str:
    """A line about a job that has ended."""
    found = outcome.objective if isinstance(outcome.objective, list) else [outcome.objective]
    values = ", ".join(f"{value:.6g}" for value in found if value is not None)
    return f"{outcome.job.title} {outcome.status}" + (
        f": {values or outcome.reason}" if values or outcome.reason else ""
    )


def program(config: DictConfig) -> tuple[str, ...]:
    """Python and the script that is running, with the flags that say which conf folder it reads."""
    main = sys.modules["__main__"].__spec__
    script = [os.path.abspath(sys.argv[0])] if main is None else ["-m", main.name]
    sources = {source.provider: source.path for source in config.hydra.runtime.config_sources}
    flags = [] if Path(sources["main"]) == conf_folder() else ["--config-path", sources["main"]]
    more = ["--config-dir", sources["command-line"]] if "command-line" in sources else []
    name = config.hydra.job.config_name
    named = [] if name == "train" else ["--config-name", name]
    return (sys.executable, *script, *flags, *more, *named)


def _refuse(config: DictConfig) -> None:
    refuse([s for key in ("launcher", "sweeper") for s in wrong_within(config.hydra[key], f"hydra.{key}")])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "Each process that torchrun starts would run the whole sweep: start it without torchrun, and say by "
            "trainer.devices what each job takes."
        )
    if config.sweep is not None and config.sweep.jobs is not None and config.sweep.jobs < 1:
        raise UserError(f"sweep.jobs must be 1 or more, or null, not {config.sweep.jobs}.")
    subdir = config.hydra.sweep._get_node("subdir")._value()
    if subdir != "${hydra.job.num}":
        raise UserError("Jobs have folders by their number, by which a sweep goes on: leave out hydra.sweep.subdir.")
