"""Two processes of one run, one of which is told to stop, or dies: both end, in bounded time, and say why."""

import os
import signal

import command
import pytest
import torch
from processes import TWO, Started, reached

LONG = "trainer.max_epochs=50"
SECONDS = 45  # torch gives the others half a minute to end by themselves

pytestmark = pytest.mark.slow


def started(folder, strategy, *overrides):
    run = Started(*TWO, f"trainer.strategy={strategy}", *overrides, folder=folder)
    run.reach(4)
    return run


def ended(run, code, status, words):
    """How it must have ended: this exit code, a record that says so, a sentence and no traceback."""
    assert run.end(SECONDS) == code, run.said
    found = command.metrics(run.folder)
    assert found["status"] == status
    assert words in found["reason"]
    assert "Traceback" not in run.said, run.said
    assert f"resume={run.folder}" in run.said


def resumed(run, *overrides):
    """In a process of its own: this one has threads, and what is forked while they hold a lock may wait for ever."""
    process = command.started("train.py", f"resume={run.folder}", *overrides, cwd=run.folder.parent)
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_is_told_and_all_save_and_leave(tmp_path, strategy, rank):
    run = started(tmp_path / "run", strategy, LONG)
    os.kill(run.ranks()[rank], signal.SIGTERM)
    ended(run, 143, "interrupted", "SIGTERM")
    # Every third step is saved anyway; what was told came anywhere. Forked processes keep to themselves where.
    assert strategy == "ddp_fork" or command.metrics(run.folder)["reason"] == f"SIGTERM at step {reached(run.folder)}"


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp"])
def test_ctrl_c_reaches_all_and_one_sentence_says_so(tmp_path, strategy):
    run = started(tmp_path / "run", strategy, LONG)
    os.killpg(run.process.pid, signal.SIGINT)
    ended(run, 130, "interrupted", "SIGINT")
    assert run.said.count("Interrupted.") == 1


def test_what_only_waits_for_forked_ranks_hands_a_signal_on(tmp_path):
    run = started(tmp_path / "run", "ddp_fork", LONG)
    os.kill(run.process.pid, signal.SIGTERM)
    ended(run, 143, "interrupted", "SIGTERM")


@pytest.mark.parametrize(("strategy", "rank"), [("ddp_fork", 0), ("ddp_fork", 1), ("ddp", 1)])
def test_a_rank_that_dies_ends_the_run_with_its_reason(tmp_path, strategy, rank):
    run = started(tmp_path / "run", strategy, LONG)
    os.kill(run.ranks()[rank], signal.SIGKILL)
    ended(run, 1, "failed", f"Rank {rank} was killed by SIGKILL")


@pytest.mark.parametrize(("strategy", "timeout"), [("ddp_fork", 8), ("ddp", 30)])
def test_a_rank_that_does_not_answer_is_given_up(tmp_path, strategy, timeout):
    """A rank that is a whole new process also has to come to the others within that time."""
    run = started(tmp_path / "run", strategy, LONG, f"callbacks.ranks.timeout={timeout}")
    os.kill(run.ranks()[1], signal.SIGSTOP)
    ended(run, 1, "failed", "does not answer any more (callbacks.ranks.timeout)")


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp"])
def test_nothing_outlives_the_process_that_a_user_started(tmp_path, strategy):
    run = started(tmp_path / "run", strategy, LONG)
    run.process.kill()
    assert run.end(SECONDS) == -signal.SIGKILL
    assert command.metrics(run.folder)["status"] == "running", "nobody was left to say anything else"
    assert "ended without a word" in resumed(run, "trainer.max_epochs=1", "trainer.devices=1")[1]


def test_after_the_death_of_a_rank_the_run_goes_on_to_what_it_would_have_been(tmp_path):
    arguments = (*TWO, "trainer.strategy=ddp_fork", "trainer.max_epochs=3", "model.dropout=0")
    whole = Started(*arguments, folder=tmp_path / "whole")
    assert whole.end(240) == 0, whole.said
    run = Started(*arguments, folder=tmp_path / "run")
    run.reach(10)
    os.kill(run.ranks()[1], signal.SIGKILL)
    ended(run, 1, "failed", "Rank 1 was killed by SIGKILL")
    assert reached(run.folder) < reached(whole.folder), "the kill was meant to come before the end"
    code, said = resumed(run)
    assert code == 0, said
    one, other = (weights(folder) for folder in (whole.folder, run.folder))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
