"""What a job of a search does for it: reports its validations, and stops where the search sees no hope in it."""

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from manyheads.sweep.storage import TRIAL, opened

if TYPE_CHECKING:
    import optuna


class Pruned(Exception):
    """The search stopped this run: no failure, and no result."""


class Report(Callback):
    """Reports `metric` at each validation to the study that MANYHEADS_TRIAL names; all ranks stop together.

    Training ends as it does by early stopping, so that every rank leaves it at the same step; `verify` then raises.
    """

    def __init__(self, storage: str, study: str, number: int, metric: str | None) -> None:
        self.storage, self.study, self.number, self.metric = storage, study, number, metric
        self.reported, self.stopped = 0, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.metric is None or trainer.sanity_checking:
            return
        self.reported += 1
        hopeless = trainer.is_global_zero and self._report(trainer.callback_metrics)
        if trainer.strategy.broadcast(hopeless):
            self.stopped = trainer.should_stop = True

    def verify(self) -> None:
        """Raises Pruned where the training was stopped, also in a process that forked those that trained."""
        steps = self._asked().user_attrs.get("pruned")
        if self.stopped or steps is not None:
            raise Pruned(f"stopped after {steps} validations, at which others were better by {self.metric}")

    def state_dict(self) -> dict[str, Any]:
        return {"reported": self.reported}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reported = state_dict["reported"]

    def _report(self, found: dict[str, Any]) -> bool:
        if self.metric not in found:
            return False
        trial = self._trial
        trial.report(float(found[self.metric]), self.reported - 1)  # pruners count from 0
        if not trial.should_prune():
            return False
        trial.set_user_attr("pruned", self.reported)
        return True

    @cached_property
    def _trial(self) -> "optuna.Trial":
        return self._asked()

    def _asked(self) -> "optuna.Trial":
        """As the journal has it now: a Trial does not see what another process has written since it was made."""
        import optuna

        study = opened(self.storage, self.study)
        known = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == self.number)
        return optuna.Trial(study, known._trial_id)


def reporting(metrics: list[str]) -> list[Report]:
    """The callback of a job that a search started, or none; Optuna prunes by a single metric that validations have."""
    told = os.environ.get(TRIAL)
    single = metrics[0] if len(metrics) == 1 and metrics[0].startswith("val/") else None
    return [] if told is None else [Report(**json.loads(told), metric=single)]
