"""A search by Optuna: each trial is a job of the sweep, its number the name of its folder.

What is known lies in the study's journal and in the jobs' folders alone, so that the same command goes on with a search
that was cut off: a trial under way is resumed, one that ended unheard is told, and no number is given twice.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from manyheads import atomic
from manyheads.config.objects import instantiate
from manyheads.errors import UserError
from manyheads.sweep.job import Job, Outcome
from manyheads.sweep.space import Axis, fingerprint
from manyheads.sweep.storage import JOURNAL, PRUNER, optuna_module, storage, told_to_a_job

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

STUDY = "search"
SPACE = "space"


class Search:
    """The trials of one study, asked for and told.

    axes: what is searched; directions: minimize or maximize, one for each objective; sampler, pruner: configs of
    Optuna's classes; trials: how many there shall be in the end, failed and pruned ones counted.
    """

    def __init__(
        self,
        folder: Path,
        axes: Mapping[str, Axis],
        directions: list[str],
        sampler: DictConfig,
        pruner: DictConfig,
        trials: int,
    ) -> None:
        self.folder, self.axes, self._sampler, self.trials = folder, axes, sampler, trials
        self.study = optuna_module().create_study(
            storage=storage(folder / JOURNAL), study_name=STUDY, directions=directions, load_if_exists=True
        )
        self._note(SPACE, fingerprint(axes))
        self._note(PRUNER, OmegaConf.to_container(pruner, resolve=True) if len(directions) == 1 else None)

    def jobs(self, make: Callable[..., Job], fixed: list[str]) -> Iterator[Job]:
        """First those that were under way when the search was cut off, then new ones, each chosen when it is drawn."""
        running = optuna_module().trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            self.study.sampler = self._sampler_for(trial.number)  # for what it was cut off before drawing
            yield self._job(optuna_module().Trial(self.study, trial._trial_id), make, fixed)
        while (number := len(self.study.get_trials(deepcopy=False))) < self.trials:
            self.study.sampler = self._sampler_for(number)
            yield self._job(self.study.ask(), make, fixed)

    def tell(self, outcome: Outcome) -> None:
        """Notes how a trial ended; one that was interrupted stays under way."""
        states = optuna_module().trial.TrialState
        values = outcome.objective if isinstance(outcome.objective, list) else [outcome.objective]
        measured = all(value is not None and math.isfinite(value) for value in values)
        if outcome.status == "finished" and measured:
            self.study.tell(outcome.job.number, values, skip_if_finished=True)
        elif outcome.status == "pruned":
            self.study.tell(outcome.job.number, state=states.PRUNED, skip_if_finished=True)
        elif outcome.status != "interrupted":
            self.study.tell(outcome.job.number, state=states.FAIL, skip_if_finished=True)

    def best(self) -> list["optuna.trial.FrozenTrial"]:
        """The best trial, or with several objectives those that none is better than in everything."""
        return self.study.best_trials

    def states(self) -> list[str]:
        """The state of each trial, by Optuna's names in small letters."""
        return [trial.state.name.lower() for trial in self.study.get_trials(deepcopy=False)]

    def write(self, metrics: list[str]) -> None:
        """optimization_results.yaml: the best trials with their settings and values."""
        found = [
            {"number": t.number, "params": dict(t.params), "values": dict(zip(metrics, t.values, strict=True))}
            for t in self.best()
        ]
        text = OmegaConf.to_yaml(
            OmegaConf.create({"name": "optuna", "trials": dict(Counter(self.states())), "best": found})
        )
        atomic.write_text(self.folder / "optimization_results.yaml", text)

    def _job(self, trial: "optuna.Trial", make: Callable[..., Job], fixed: list[str]) -> Job:
        chosen = [f"{key}={axis.suggest(trial, key)}" for key, axis in self.axes.items()]
        told = told_to_a_job(self.folder / JOURNAL, STUDY, trial.number)
        return make(trial.number, fixed, chosen, **told)

    def _sampler_for(self, number: int) -> "optuna.samplers.BaseSampler":
        """A new one for each trial: a search that was cut off then draws what it would have drawn.

        One seed for all would draw a restarted search's first trials a second time.
        """
        node = self._sampler.copy()
        if node.get("seed") is not None:
            node.seed = node.seed + number
        made = instantiate(node)
        return made(search_space={k: axis.values(k) for k, axis in self.axes.items()}) if is_grid(node) else made

    def _note(self, name: str, value: Any) -> None:
        """Written at the first start; UserError where a later one says otherwise."""
        before = self.study.user_attrs
        if before.get(name, value) != value:
            raise UserError(
                f"The {name} of the search in {self.folder} was another one: name a new folder by hydra.sweep.dir=..."
            )
        if name not in before:
            self.study.set_user_attr(name, value)


def directions(names: list[str], given: str | list[str | None] | None, monitor: str, mode: str) -> list[str]:
    """minimize or maximize for each name; where none is given, as the task has it for the metric that it monitors.

    Raises UserError where a direction would have to be guessed.
    """
    each = list(given) if isinstance(given, list) else [given] * len(names) if len(names) == 1 or not given else [given]
    if len(each) != len(names):
        raise UserError(f"hydra.sweeper.direction names {len(each)}, optimized_metric {len(names)}: give one for each.")
    for name, direction in zip(names, each, strict=True):
        if direction is None and name != monitor:
            raise UserError(
                f"Is a small {name} better, or a large one? Give hydra.sweeper.direction={_example(names)}."
            )
    return [direction or f"{mode}imize" for direction in each]


def _example(names: list[str]) -> str:
    return "minimize or =maximize" if len(names) == 1 else "[minimize,maximize], one for each"


def is_grid(sampler: DictConfig) -> bool:
    """A sampler that needs the values of every axis before it is made."""
    return bool(sampler.get("_partial_"))


def combinations(axes: Mapping[str, Axis]) -> int:
    """How many there are. Raises UserError where an axis has no end of values."""
    return math.prod(len(axis.values(key)) for key, axis in axes.items())
