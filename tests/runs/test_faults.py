"""Faults injected for real into whole runs: no memory, no room on the disk, a loss that is no number."""

import json
import re
import subprocess
import sys
import time

import command
import pytest
import torch

LIMITED = """
import resource, runpy, sys
import manyheads.run, manyheads.data.translation, manyheads.task.translation, torch._dynamo
room = int(sys.argv[1]) + int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (room, room))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""train.py, in a process that may take so many bytes more than its libraries do."""

LARGE = ("data.pairs=4000", "data.batch_tokens=60000", "model.dim=128", "model.hidden=512", "model.encoder_layers=2")


def limited(room, *overrides, folder):
    arguments = [str(command.REPOSITORY / "train.py"), *command.TINY, *overrides, f"hydra.run.dir={folder}"]
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(room), *arguments],
        cwd=folder.parent,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_out_of_memory_names_what_fits_and_that_does(tmp_path):
    room, short = 700 << 20, ("trainer.max_steps=2", "test=false", "preflight=false", "trainer.log_every_n_steps=1")
    done = limited(room, *LARGE, *short, folder=tmp_path / "run")
    sentence = command.refused(done)
    assert sentence.startswith("error: Out of memory: ")
    assert "Traceback" not in done.stderr
    found = command.metrics(tmp_path / "run")
    assert found["status"] == "failed"
    instead = re.search(r"set (data\.batch_tokens=(\d+))", sentence)
    assert instead, sentence
    assert instead[1] in found["reason"]
    assert int(instead[2]) < 60000
    again = limited(room, *LARGE, *short, instead[1], folder=tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_training_that_goes_to_nan_stops_with_a_sentence_and_sound_weights(tmp_path):
    folder = tmp_path / "run"
    wild = ("optimizer.lr=1e30", "schedule=constant", "schedule.warmup=0", "callbacks.last.every=1", "model.norm=null")
    done = command.train(*wild[:2], "callbacks.last.every=1", "preflight=false", folder=folder)
    sentence = command.refused(done)
    assert re.search(r"At step \d+ (the loss is|weights are)", sentence)
    assert command.metrics(folder)["status"] == "failed"
    assert command.metrics(folder)["reason"] in sentence
    for path in (folder / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def test_steps_left_out_are_counted_in_the_record(tmp_path):
    strict = ("callbacks.guard.on_fault=skip", "callbacks.guard.spike=1.01", "callbacks.guard.window=5")
    done = command.train(
        *strict, "callbacks.guard.patience=1000", "trainer.max_epochs=1", "preflight=false", folder=tmp_path / "run"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert command.metrics(tmp_path / "run")["train"]["skipped_steps"] > 0


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_nothing_that_was_saved(tmp_path, small_disk):
    disk, length = small_disk(4096), "trainer.max_epochs=6"
    arguments = (*command.TINY, length, "callbacks.last.every=3", "preflight=false", f"data.cache={tmp_path / 'cache'}")
    whole = command.run("train.py", *arguments, f"hydra.run.dir={tmp_path / 'whole'}", cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    process = command.started("train.py", *arguments, f"hydra.run.dir={disk / 'run'}", cwd=tmp_path)
    while not (disk / "run" / "checkpoints" / "previous.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    fill(disk / "ballast")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert re.search(rf"error: {disk}/run/\S+ could not be written: the disk is full\. Make room", said)
    assert "Traceback" not in said, said
    assert json.loads((disk / "run" / "metrics.json").read_text())["status"] in ("running", "failed")
    assert not list(disk.rglob("*.partial"))
    for path in (disk / "run" / "checkpoints").glob("*.ckpt"):
        torch.load(path, weights_only=True)
    (disk / "ballast").unlink()
    done = command.run("train.py", f"resume={disk / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    one, other = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (tmp_path / "whole", disk / "run")
    )
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def fill(path):
    """Takes all the room that is left."""
    with path.open("wb", buffering=0) as ballast:
        for size in (4096, 512, 1):
            try:
                while ballast.write(b"\0" * size):
                    pass
            except OSError:
                continue


@pytest.mark.slow
def test_no_room_for_what_is_kept_of_the_data(tmp_path, small_disk):
    disk = small_disk(4)
    done = command.train(f"data.cache={disk}", folder=tmp_path / "run")
    assert re.search(rf"{disk}/\S+ could not be written: the disk is full", command.refused(done))
    assert not [path for path in disk.rglob("*") if path.is_file()]
    small_disk(4096)
    done = command.train(f"data.cache={disk}", "trainer.max_steps=1", "preflight=false", folder=tmp_path / "again")
    assert done.returncode == 0, done.stdout + done.stderr
