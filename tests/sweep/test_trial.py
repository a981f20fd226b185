"""A job's report to its search: what Optuna hears, and that all ranks stop together."""

import json
from types import SimpleNamespace

import optuna
import pytest

from manyheads.sweep.storage import PRUNER, TRIAL, storage
from manyheads.sweep.trial import Pruned, reporting


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with a finished trial whose values fell from 3 to 1, and a second one, which is this process's."""
    path = tmp_path / "optuna.journal"
    study = optuna.create_study(storage=storage(path), study_name="search")
    pruner = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1, "n_warmup_steps": 1}
    study.set_user_attr(PRUNER, pruner)
    first = study.ask()
    for step, value in enumerate([3.0, 2.0, 1.0]):
        first.report(value, step)
    study.tell(first, 1.0)
    study.ask()
    monkeypatch.setenv(TRIAL, json.dumps({"storage": str(path), "study": "search", "number": 1}))
    return study


class Ranks:
    """Lightning's trainer as the callback sees it; `heard` is what the first rank told the others."""

    def __init__(self, first=True, told=None):
        self.is_global_zero, self.sanity_checking, self.should_stop = first, False, False
        self.callback_metrics, self.heard = {}, []
        self.strategy = SimpleNamespace(broadcast=self._broadcast)
        self._told = told

    def _broadcast(self, value):
        self.heard.append(value)
        return value if self._told is None else self._told

    def validate(self, report, value):
        self.callback_metrics = {"val/loss": value}
        report.on_validation_end(self, None)
        return self.should_stop


def test_a_good_trial_goes_on(study):
    (report,), trainer = reporting(["val/loss"]), Ranks()
    assert [trainer.validate(report, value) for value in (3.0, 2.0, 0.5)] == [False, False, False]
    assert study.trials[1].intermediate_values == {0: 3.0, 1: 2.0, 2: 0.5}
    report.verify()


def test_a_hopeless_trial_stops_after_its_warm_up(study):
    (report,), trainer = reporting(["val/loss"]), Ranks()
    assert [trainer.validate(report, value) for value in (9.0, 9.0)] == [False, True]
    with pytest.raises(Pruned, match="after 2 validations"):
        report.verify()


def test_the_other_ranks_say_nothing_and_stop_when_told(study):
    (report,), trainer = reporting(["val/loss"]), Ranks(first=False, told=True)
    assert trainer.validate(report, 9.0)
    assert trainer.heard == [False]
    assert study.trials[1].intermediate_values == {}
    with pytest.raises(Pruned):
        report.verify()


def test_a_process_that_forked_those_that_trained_hears_of_it(study):
    (inside,), (outside,) = reporting(["val/loss"]), reporting(["val/loss"])
    for trainer in (Ranks(), Ranks()):
        trainer.validate(inside, 9.0)
    with pytest.raises(Pruned):
        outside.verify()


def test_a_resumed_trial_counts_on(study):
    (first,), (second,) = reporting(["val/loss"]), reporting(["val/loss"])
    Ranks().validate(first, 3.0)
    second.load_state_dict(first.state_dict())
    Ranks().validate(second, 2.0)
    assert study.trials[1].intermediate_values == {0: 3.0, 1: 2.0}


@pytest.mark.parametrize("metrics", [["test/bleu"], ["val/loss", "cost/train_seconds"], []])
def test_nothing_is_stopped_by_what_validations_do_not_tell(study, metrics):
    (report,), trainer = reporting(metrics), Ranks()
    assert not any(trainer.validate(report, 99.0) for _ in range(3))
    assert study.trials[1].intermediate_values == {}


def test_a_run_of_no_search_reports_nothing(monkeypatch):
    monkeypatch.delenv(TRIAL, raising=False)
    assert reporting(["val/loss"]) == []
