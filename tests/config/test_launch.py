"""What a user's mistakes print: one sentence that names what was typed, at once, and no traceback."""

import pytest

MISTAKES = {
    "attention=slidng_window": ["attention=slidng_window", "Did you mean sliding_window?", "attention: dense, sliding"],
    "atention=dense": ["atention=dense", "Did you mean attention"],
    "data/toy=1": ["data/toy=1", "no group data/toy"],
    "optimizer.lrr=1": ["optimizer.lrr=1", "Did you mean optimizer.lr?", "valid: betas, lr"],
    "optimizr.lr=1": ["optimizr.lr=1", "Did you mean optimizer.lr?"],
    "lr=1": ["lr=1", "Did you mean optimizer.lr?"],
    "attention.window=3": ["attention=dense has no window", "It belongs to attention=sliding_window."],
    "optimizer.lr=fast": ["optimizer.lr must be a number, not 'fast'."],
    "optimizer.betas=[0.9]": ["optimizer.betas must be a list of 2 (each a number), not [0.9]."],
    "attention.kernel=flsh": ["attention.kernel must be one of sdpa, flash, not 'flsh'. Did you mean flash?"],
    "attention.scale=true": ["attention.scale must be a number or null, not true."],
    "+attention.kernl=sdpa": ["attention.kernl is unknown", "Did you mean attention.kernel?"],
    "attention._target_=things.Sofmax": ["things.Sofmax", "Did you mean Softmax?"],
    "attention._target_=nothing.Softmax": ["attention._target_ names nothing.Softmax"],
    "seed=1.5": ["seed must be a whole number, not 1.5."],
    "train=maybe": ["train must be true or false, not 'maybe'."],
    "ckpt_path=a=b": ["ckpt_path=a=b", """'ckpt_path="a=b"'"""],
    "seed": ["seed is no setting: write KEY=VALUE"],
    "seed=1,2": ["seed=1,2", "add -m"],
    "+seed=2": ["seed is there already: leave out the +"],
    "+sed=2": ["sed is no key of a run. Did you mean seed?"],
    "seed=${sed}": ["seed refers to ${sed}"],
    "data=other": ["data.path is not set: give data.path=..."],
    "data=broken": ["broken.yaml, line 1, is not yaml"],
    "data=8": ["data=8: there is no data named 8.", "data: broken, other, toy"],
    "~attention": ["attention is not set"],
    "attention=null": ["attention is not set"],
    "~pruning": ["there is no pruning to leave out"],
    "experiment=stale": ["optimizer.momentum is unknown to things.Step."],
    "experiment=strange": ["sed"],
    "resume=nowhere": ["nowhere is not a run's folder"],
    "hydra.run.dir=train.log/x": ["train.log", "Not a directory"],
    "seed=13": ["the seed 13 brings bad luck: take another."],
}


@pytest.fixture(scope="module")
def answers(shared_project, launched):
    (shared_project / "train.log").touch()
    return dict(zip(MISTAKES, launched(shared_project, *([typed] for typed in MISTAKES)), strict=True))


@pytest.mark.parametrize("typed", MISTAKES)
def test_mistake_is_told_in_a_sentence(answers, typed):
    answer = answers[typed]
    assert answer["code"] == 1
    assert answer["err"].startswith("error: ")
    for words in MISTAKES[typed]:
        assert words in answer["err"]
    assert "Traceback" not in answer["err"]
    assert answer["err"].count("\n") <= 2
    assert "RAN" not in answer["out"]
    assert not answer["torch"]


def test_mistakes_leave_no_folder(answers, shared_project):
    """The one of them that reached its task wrote its log; the others wrote nothing."""
    assert len(list(shared_project.glob("outputs/*/*"))) == 1


def test_every_mistake_is_told_at_once(project, launched):
    (answer,) = launched(project, ["optimizer.lr=fast", "attention.kernel=1"])
    assert "error: attention.kernel must" in answer["err"]
    assert "\noptimizer.lr must" in answer["err"]


def test_a_config_with_unset_keys_can_be_shown_and_helped(project, launched):
    shown, helped, hydras = launched(project, ["--cfg", "job", "data=other"], ["--help"], ["--hydra-help"])
    assert "path: ???" in shown["out"]
    assert "attention: dense, sliding_window" in helped["out"]
    assert [shown["code"], helped["code"], hydras["code"]] == [0, 0, 0]
    assert not hydras["torch"]
    assert not (project / "outputs").exists()


def test_a_wrong_type_is_told_when_shown_too(project, launched):
    (answer,) = launched(project, ["--cfg", "job", "optimizer.lr=fast"])
    assert answer["code"] == 1
    assert "optimizer.lr must be a number" in answer["err"]


def test_a_fault_of_the_program_keeps_its_traceback(project, launched):
    (answer,) = launched(project, ["seed=14"])
    assert answer["code"] == 1
    assert "Traceback" in answer["err"]
    assert "ValueError: a fault of the program" in answer["err"]


def test_full_error_shows_every_traceback(project, launched):
    answers = launched(project, ["seed=13"], ["attention=dnse"], HYDRA_FULL_ERROR="1")
    assert all(answer["code"] == 1 and "Traceback" in answer["err"] for answer in answers)
    assert "UserError" in answers[0]["err"]


def test_the_task_sees_the_users_environment(project, planted, launched):
    text = (project / "launches.py").read_text().replace('"RAN " +', '__import__("os").environ, "RAN " +')
    planted(project, {"launches.py": text})
    (answer,) = launched(project, [])
    assert "'OMP_WAIT_POLICY': 'PASSIVE'" in answer["out"]
    assert "HYDRA_FULL_ERROR" not in answer["out"]


def test_a_sweep_goes_on_after_a_failed_job_and_fails(project, launched):
    (answer,) = launched(project, ["-m", "seed=13,2"])
    assert answer["code"] == 1
    assert "error: job 0 (seed=13) failed: the seed 13 brings bad luck: take another.\n" in answer["err"]
    assert "Traceback" not in answer["out"] + answer["err"]
    assert '"seed": 2' in answer["out"]


def test_jobs_within_one_process_are_refused(project, launched):
    (answer,) = launched(project, ["-m", "hydra/launcher=basic", "seed=1,2"])
    assert answer["code"] == 1
    assert "error: hydra/launcher=basic runs jobs within one process" in answer["err"]
    assert "RAN" not in answer["out"]


def test_a_sweep_with_a_mistake_in_its_last_job_starts_none(project, launched):
    (answer,) = launched(project, ["-m", "optimizer.lr=0.1,fast"])
    assert answer["code"] == 1
    assert "optimizer.lr must be a number" in answer["err"]
    assert "RAN" not in answer["out"]


def test_runs_of_the_same_second_have_their_own_folders(project, launched):
    answers = launched(project, [], []) + launched(project, [])
    folders = {answer["out"].split('"folder": "')[1].split('"')[0] for answer in answers}
    assert len(folders) == 3


def test_hydra_run_dir_wins(project, launched):
    (answer,) = launched(project, ["hydra.run.dir=mine"])
    assert answer["code"] == 0
    assert (project / "mine" / "train.log").is_file()
    assert not (project / "outputs").exists()


def test_null_leaves_a_group_out_in_a_sweep_too(project, planted, launched):
    planted(project, {"conf/experiment/third.yaml": "# @package _global_\nseed: 3"})
    (answer,) = launched(project, ["-m", "experiment=null,third"])
    assert answer["code"] == 0
    assert '"seed": 1' in answer["out"]
    assert '"seed": 3' in answer["out"]
