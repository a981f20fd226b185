"""A study asked and told as a sweep does it, cut off at the worst moments."""

import optuna
import pytest
from omegaconf import OmegaConf

from manyheads.config.places import conf_folder
from manyheads.errors import UserError
from manyheads.sweep.job import Job, Outcome
from manyheads.sweep.search import Search, combinations, directions
from manyheads.sweep.space import Axis
from manyheads.sweep.storage import JOURNAL, TRIAL, mend, opened

AXES = {"lr": Axis(low=1e-4, high=1e-1, log=True), "layers": Axis(low=1, high=4), "kind": Axis(choices=("a", "b"))}
VALUES = {"kind": Axis(choices=("a", "b", "c")), "layers": Axis(low=2, high=6, step=2)}


def config(kind, name):
    node = OmegaConf.load(conf_folder() / "hydra" / "sweeper" / kind / f"{name}.yaml")
    return OmegaConf.merge(node, {"seed": 1}) if "seed" in node else node


def search(folder, axes=AXES, sampler="tpe", pruner="median", ways=("minimize",), trials=20):
    return Search(folder, axes, list(ways), config("sampler", sampler), config("pruner", pruner), trials)


def make(number, common, own, **environment):
    return Job(number, (*common, *own), tuple(own), None, (), (), tuple(environment.items()))


def loss(job):
    found = dict(override.split("=") for override in job.own)
    return (float(found["lr"]) - 0.01) ** 2 * 1e4 + int(found["layers"]) + (found["kind"] == "a")


def told(made, count):
    """Lets so many trials finish; their settings."""
    settings, jobs = [], made.jobs(make, ["fixed=1"])
    for _ in range(count):
        job = next(jobs)
        made.tell(Outcome(job, "finished", objective=loss(job)))
        settings.append(job.own)
    return settings


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("cut", [1, 5, 14])
def test_a_search_that_was_cut_off_draws_what_it_would_have_drawn(tmp_path, sampler, cut):
    """Also what it draws by its own findings, after the ten that are drawn at random."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = told(search(tmp_path / "whole", sampler=sampler), 16)
    parts = told(search(tmp_path / "cut", sampler=sampler), cut)
    parts += told(search(tmp_path / "cut", sampler=sampler), 16 - cut)
    assert whole == parts
    assert len(set(whole)) == 16


def test_exactly_so_many_trials_however_often_it_is_cut_off(tmp_path):
    numbers = []
    for _ in range(9):  # each start is cut off while its second trial runs
        made = search(tmp_path, trials=6)
        for count, job in enumerate(made.jobs(make, [])):
            numbers += [job.number] if job.number not in numbers else []
            if count == 1:
                break
            made.tell(Outcome(job, "finished", objective=loss(job)))
    assert numbers == [0, 1, 2, 3, 4, 5]
    assert search(tmp_path, trials=6).states() == ["complete"] * 6
    assert len(list(search(tmp_path, trials=8).jobs(make, []))) == 2


def test_a_trial_under_way_comes_again_with_its_settings(tmp_path):
    first = next(search(tmp_path).jobs(make, ["fixed=1"]))
    made = search(tmp_path)
    jobs = made.jobs(make, ["fixed=1"])
    again = next(jobs)
    assert again == first
    assert again.overrides[0] == "fixed=1"
    assert next(jobs).number == 1
    assert made.study.trials[0].params.keys() == AXES.keys()


def test_a_trial_cut_off_while_it_was_drawn_is_drawn_to_its_end(tmp_path):
    made = search(tmp_path)
    made.study.sampler = optuna.samplers.RandomSampler(seed=1)
    AXES["lr"].suggest(made.study.ask(), "lr")
    known = made.study.trials[0].params["lr"]
    job = next(search(tmp_path).jobs(make, []))
    assert job.number == 0
    assert job.own[0] == f"lr={known}"
    assert [override.split("=")[0] for override in job.own] == list(AXES)


def test_how_trials_end(tmp_path):
    made = search(tmp_path)
    jobs = made.jobs(make, [])
    ends = [
        ("finished", 0.5, "complete"),
        ("pruned", None, "pruned"),
        ("failed", None, "fail"),
        ("finished", None, "fail"),  # it measured nothing
        ("finished", float("nan"), "fail"),
        ("interrupted", None, "running"),
    ]
    for status, objective, _ in ends:
        made.tell(Outcome(next(jobs), status, objective=objective))
    assert made.states() == [state for *_, state in ends]
    assert [trial.number for trial in made.best()] == [0]


def test_a_trial_is_told_once(tmp_path):
    made = search(tmp_path)
    job = next(made.jobs(make, []))
    for objective in (1.0, 2.0):
        made.tell(Outcome(job, "finished", objective=objective))
    assert made.study.trials[0].value == 1.0


def test_a_grid_has_every_combination_once_also_when_cut_off(tmp_path):
    found = []
    for _ in range(3):
        made = search(tmp_path, VALUES, "grid", trials=combinations(VALUES))
        for count, job in enumerate(made.jobs(make, [])):
            found.append(job.own)
            made.tell(Outcome(job, "finished", objective=float(job.number)))
            if count == 3:
                break
    assert combinations(VALUES) == 9
    assert sorted(found) == sorted((f"kind={k}", f"layers={n}") for k in "abc" for n in (2, 4, 6))


def test_several_objectives(tmp_path):
    made = search(tmp_path, sampler="nsgaii", ways=("minimize", "maximize"), trials=3)
    for job, values in zip(made.jobs(make, []), [[1.0, 1.0], [2.0, 2.0], [3.0, 0.0]], strict=True):
        made.tell(Outcome(job, "finished", objective=values))
    assert [trial.number for trial in made.best()] == [0, 1]
    assert made.study.user_attrs["pruner"] is None  # Optuna prunes by one value
    made.write(["val/loss", "test/bleu"])
    written = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert [one["values"] for one in written.best] == [{"val/loss": 1, "test/bleu": 1}, {"val/loss": 2, "test/bleu": 2}]


@pytest.mark.parametrize("name", ["median", "hyperband", "none"])
def test_a_job_has_the_pruner_of_the_search(tmp_path, name):
    job = next(search(tmp_path, pruner=name).jobs(make, []))
    told = OmegaConf.create(dict(job.environment)[TRIAL])
    study = opened(told.storage, told.study)
    expected = {"median": "MedianPruner", "hyperband": "HyperbandPruner", "none": "NopPruner"}
    assert type(study.pruner).__name__ == expected[name]
    assert told.number == job.number


def test_another_space_in_the_same_folder_is_refused(tmp_path):
    search(tmp_path)
    with pytest.raises(UserError, match="space of the search"):
        search(tmp_path, VALUES)
    with pytest.raises(UserError, match="pruner of the search"):
        search(tmp_path, pruner="hyperband")


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["val/loss"], None, ["minimize"]),
        (["val/bleu"], "maximize", ["maximize"]),
        (["val/loss", "cost/train_seconds"], [None, "minimize"], ["minimize", "minimize"]),
    ],
)
def test_directions(names, given, expected):
    assert directions(names, given, "val/loss", "min") == expected
    assert directions(["val/f1"], None, "val/f1", "max") == ["maximize"]


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (["val/bleu"], None, "Is a small val/bleu better"),
        (["val/loss", "cost/x"], None, "Is a small cost/x better"),
        (["val/loss", "cost/x"], "minimize", "names 1, optimized_metric 2"),
        (["val/loss"], ["minimize", "minimize"], "names 2, optimized_metric 1"),
    ],
)
def test_no_direction_is_guessed(names, given, words):
    with pytest.raises(UserError, match=words):
        directions(names, given, "val/loss", "min")


def test_a_journal_whose_last_line_was_cut_off_goes_on(tmp_path):
    """As a disk leaves it that was full in the middle of a line."""
    first = search(tmp_path, trials=3)
    jobs = first.jobs(make, [])
    first.tell(Outcome(next(jobs), "finished", None, 1.0))
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_')
    mend(tmp_path)
    assert path.read_bytes() == whole
    again = search(tmp_path, trials=3)
    for job in again.jobs(make, []):
        again.tell(Outcome(job, "finished", None, 1.0))
    assert [trial.state.name for trial in again.study.trials] == ["COMPLETE"] * 3
    mend(tmp_path / "nothing")
