"""A run that is stopped, by whatever, and goes on, ends as the run that was never stopped."""

import os
import re
import signal
import time

import command
import pytest
import torch

EPOCHS = "trainer.max_epochs=3"
SAVES = "callbacks.last.every=3"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = command.train(EPOCHS, SAVES, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def start_and_stop(folder, number, step, *overrides):
    """Sends the signal as soon as last.ckpt has come to `step`, which is inside an epoch."""
    process = command.started(
        "train.py", *command.TINY, EPOCHS, SAVES, *overrides, f"hydra.run.dir={folder}", cwd=folder.parent
    )
    deadline = time.monotonic() + 120
    while reached(folder) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def reached(folder):
    try:
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    except (FileNotFoundError, RuntimeError, EOFError):
        return -1


def same_end(one, other):
    """The same weights to the bit, and the same figures."""
    for name in ("best", "last"):
        a, b = (torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"] for f in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    for part in ("status", "train", "val", "test", "baseline", "weights"):
        assert command.metrics(one)[part] == command.metrics(other)[part], part


def test_killed_inside_an_epoch_and_resumed(whole, tmp_path):
    folder = tmp_path / "run"
    code, _ = start_and_stop(folder, signal.SIGKILL, 12)
    assert code == -signal.SIGKILL
    steps = command.metrics(whole)["train"]["steps"]
    assert reached(folder) % (steps // 3) != 0, "the kill was meant to come inside an epoch"
    assert command.metrics(folder)["status"] == "running"
    done = command.run("train.py", f"resume={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Going on from" in done.stdout
    same_end(whole, folder)


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_told_to_stop_it_saves_says_how_to_go_on_and_does(number, code, whole, tmp_path):
    folder = tmp_path / "run"
    found, output = start_and_stop(folder, number, 3)
    assert found == code, output
    assert "Traceback" not in output
    assert f"resume={folder}" in output
    assert command.metrics(folder)["status"] == "interrupted"
    assert command.run("train.py", f"resume={folder}", cwd=tmp_path).returncode == 0
    same_end(whole, folder)


@pytest.mark.slow
def test_where_every_step_ends_an_epoch_it_is_saved_and_stops_there(tmp_path):
    one = ("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.max_epochs=60")
    done = command.train(SAVES, *one, folder=tmp_path / "whole")
    assert done.returncode == 0, done.stdout + done.stderr
    code, output = start_and_stop(tmp_path / "run", signal.SIGTERM, 6, *one)
    assert code == 128 + signal.SIGTERM, output
    assert reached(tmp_path / "run") < 60
    assert command.run("train.py", f"resume={tmp_path / 'run'}", cwd=tmp_path).returncode == 0
    same_end(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_checkpoint_cut_short_is_named_and_the_one_before_it_used(whole, tmp_path):
    folder = tmp_path / "run"
    start_and_stop(folder, signal.SIGKILL, 9)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    done = command.run("train.py", f"resume={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"last\.ckpt is no whole checkpoint", done.stdout + done.stderr)
    same_end(whole, folder)


@pytest.mark.slow
def test_resume_auto_finds_the_unfinished_run_of_the_same_command(whole, tmp_path):
    arguments = (*command.TINY, EPOCHS, SAVES, f"paths.outputs={tmp_path / 'outputs'}")
    process = command.started("train.py", *arguments, cwd=tmp_path)
    runs = tmp_path / "outputs" / "translation" / "encoder_decoder-dense"
    while not list(runs.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = command.run("train.py", *arguments, "resume=auto", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = runs.iterdir()
    same_end(whole, folder)
    again = command.run("train.py", *arguments, "resume=auto", "trainer.max_steps=1", cwd=tmp_path)
    assert "a new one starts" in again.stdout
    assert len(list(runs.iterdir())) == 2


@pytest.mark.slow
def test_a_finished_run_can_go_on_for_longer(tmp_path):
    folder = tmp_path / "run"
    assert command.train("trainer.max_epochs=1", folder=folder).returncode == 0
    before = command.metrics(folder)["train"]["steps"]
    done = command.run("train.py", f"resume={folder}", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert command.metrics(folder)["train"]["steps"] == 2 * before
