"""hydra/sweeper=optuna: a search in the place of a grid."""

import logging
from typing import Any, Literal

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.manyheads.launchers import ProcessLauncher
from manyheads import atomic
from manyheads.config.launch import Failed
from manyheads.config.refusals import objectives
from manyheads.errors import UserError
from manyheads.sweep.search import Search, combinations, directions, is_grid
from manyheads.sweep.space import Axis, read_space
from manyheads.sweep.storage import mend, optuna_module
from manyheads.sweep.sweep import conclude, described

log = logging.getLogger(__name__)

Direction = Literal["minimize", "maximize"]


class OptunaSweeper(Sweeper):
    """n_trials: how many there shall be in the end; params: axes beside those of the command line, which wins;
    sampler, pruner: configs of Optuna's classes."""

    def __init__(
        self,
        n_trials: int,
        direction: Direction | list[Direction | None] | None,
        sampler: DictConfig,
        pruner: DictConfig,
        params: dict[str, Any],
    ) -> None:
        self.n_trials, self.direction, self.params = n_trials, direction, params
        self.sampler, self.pruner = sampler, pruner

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        optuna_module()
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        if not isinstance(self.launcher, ProcessLauncher):
            raise UserError("A search runs its trials by hydra/launcher=processes, ray, slurm or submitit_local.")
        if self.launcher.jobs is None and not self.launcher.bounded:
            raise UserError(
                "A search draws each trial by what the ones before it found, so that not all may be queued at once: "
                "say by sweep.jobs=N how many run side by side."
            )
        self.metrics = objectives(config)
        if not self.metrics:
            raise UserError("A search needs to know what is best: give optimized_metric=val/loss, or another metric.")

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until there are `n_trials`. Raises Failed where one of this start failed."""
        axes, fixed = read_space(self.params, arguments, self.hydra_context.config_loader)
        self._refuse(axes, fixed)
        trials = min(self.n_trials, combinations(axes)) if is_grid(self.sampler) else self.n_trials
        wanted = directions(self.metrics, _plain(self.direction), self.config.task.monitor, self.config.task.mode)
        sweep = self.launcher.sweep
        sweep.begin()
        atomic.write_text(sweep.folder / "multirun.yaml", OmegaConf.to_yaml(self.config))
        mend(sweep.folder)
        search = Search(sweep.folder, axes, wanted, self.sampler, self.pruner, trials)
        failed = []
        for outcome in self.launcher.run(search.jobs(sweep.job, fixed)):
            search.tell(outcome)
            log.info("%s", described(outcome))
            failed += [outcome] if outcome.status == "failed" else []
        search.write(self.metrics)
        self._show(search)
        conclude(sweep.folder, "trials", search.states(), failed)
        if failed:
            raise Failed

    def _refuse(self, axes: dict[str, Axis], fixed: list[str]) -> None:
        """Every choice and both ends of every range are composed before the first trial starts."""
        if not axes:
            raise UserError(
                "There is nothing to search: name values as in 'optimizer.lr=tag(log,interval(1e-4,1e-2))' or "
                "attention=choice(dense,linear)."
            )
        first = {key: axis.ends()[0] for key, axis in axes.items()}
        tried = [first] + [{**first, key: value} for key, axis in axes.items() for value in axis.ends()[1:]]
        self.validate_batch_is_legal([[*fixed, *(f"{k}={v}" for k, v in values.items())] for values in tried])

    def _show(self, search: Search) -> None:
        for trial in search.best():
            values = ", ".join(f"{name} {value:.6g}" for name, value in zip(self.metrics, trial.values, strict=True))
            chosen = " ".join(f"{key}={value}" for key, value in trial.params.items())
            log.info("Best: job %d: %s with %s", trial.number, values, chosen)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
