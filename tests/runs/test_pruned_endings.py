"""Runs that prune and are stopped, or go on, where their model has just become, or has yet to become, a smaller one."""

import json
import shutil

import command
import pytest
import torch
from cells import settings
from test_pruned_runs import PRUNED, checkpoint, ok

import manyheads.pruning.finish
import manyheads.run
from manyheads import load_run
from manyheads.pruning.saved import gated


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """A run that was stopped when its training was over, and nothing was cut yet."""
    folder = tmp_path_factory.mktemp("uncut") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manyheads.run, "compact_files", stop)
        done = command.train(*PRUNED, "trainer.max_epochs=2", "callbacks.last.every=1", folder=folder)
    assert done.returncode == 1
    assert gated(checkpoint(folder))
    return folder


def stop(*_):
    raise Stopped


def names(folder):
    return {path.name for path in (folder / "checkpoints").rglob("*.*")}


@pytest.mark.slow
@pytest.mark.parametrize("saves", [0, 1], ids=["before last.ckpt", "before best.ckpt"])
def test_stopped_between_two_files_it_finishes_them(saves, uncut, tmp_path, monkeypatch):
    folder, left = tmp_path / "run", iter(range(saves))
    shutil.copytree(uncut, folder)

    class Stopping(manyheads.run.AtomicIO):
        def save_checkpoint(self, *arguments):
            if next(left, None) is None:
                raise Stopped
            super().save_checkpoint(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(manyheads.run, "AtomicIO", Stopping)
        assert command.run("train.py", f"resume={folder}", cwd=tmp_path).returncode == 1
    ok(command.run("train.py", f"resume={folder}", cwd=tmp_path))
    assert names(folder) == {"last.ckpt", "best.ckpt", "arch.json"}
    told = command.metrics(folder)
    assert told["status"] == "finished"
    assert told["pruning"]["reached"] >= 0.5
    assert told["cost"]["parameters"] == sum(p.numel() for p in load_run(folder).model.parameters())


@pytest.mark.slow
def test_what_still_has_its_gates_is_used_by_nobody(uncut, tmp_path):
    for asked in (
        ("train.py", f"resume={uncut}", "train=false"),
        ("scripts/evaluate.py", f"run={uncut}"),
        ("scripts/predict.py", f"run={uncut}", "input=-"),
    ):
        assert "in the midst of a pruning" in command.refused(command.run(*asked, cwd=tmp_path))
    given = f"ckpt_path={uncut / 'checkpoints' / 'best.ckpt'}"
    done = command.train("model.heads=4", given, "pruning=taylor", folder=tmp_path / "run")
    assert "in the midst of a pruning" in command.refused(done)


@pytest.mark.slow
def test_what_is_pruned_again_goes_on_in_its_recovery(uncut, tmp_path, monkeypatch):
    """Its checkpoints are gated, and of a model that had been made smaller before."""
    base, folder = tmp_path / "base", tmp_path / "run"
    shutil.copytree(uncut, base)
    ok(command.run("train.py", f"resume={base}", cwd=tmp_path))
    best = f"ckpt_path={base / 'checkpoints' / 'best.ckpt'}"
    with monkeypatch.context() as patch:
        patch.setattr(manyheads.run, "compact_files", stop)
        assert command.train(*PRUNED, best, "trainer.max_epochs=2", folder=folder).returncode == 1
    both = [checkpoint(folder, name) for name in ("last", "best")]
    assert all(gated(state) and "architecture" in state for state in both)
    ok(command.run("train.py", f"resume={folder}", "trainer.max_epochs=3", cwd=tmp_path))
    told = command.metrics(folder)
    assert (told["status"], told["train"]["epochs"]) == ("finished", 3)
    assert told["cost"]["parameters"] < command.metrics(base)["cost"]["parameters"]


@pytest.mark.slow
def test_forked_processes_go_on_with_a_model_that_is_compact(uncut, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(uncut, folder)
    ok(command.run("train.py", f"resume={folder}", cwd=tmp_path))
    forked = ("trainer.strategy=ddp_fork", "trainer.devices=2", "trainer.max_epochs=3")
    ok(command.run("train.py", f"resume={folder}", *forked, cwd=tmp_path))
    told = command.metrics(folder)
    assert (told["status"], told["train"]["epochs"]) == ("finished", 3)
    assert checkpoint(folder, "last")["architecture"] == json.loads((folder / "checkpoints/arch.json").read_text())


@pytest.mark.slow
def test_an_untested_run_says_what_computed(uncut, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(uncut, folder)
    ok(command.run("train.py", f"resume={folder}", "test=false", cwd=tmp_path))
    assert command.metrics(folder)["attention_used"] == "sdpa"


@pytest.mark.slow
def test_a_mean_over_time_is_cut_as_the_weights_are(tmp_path):
    folder = tmp_path / "run"
    ok(command.train(*PRUNED, "callbacks=ema", "trainer.max_epochs=2", folder=folder))
    last = checkpoint(folder, "last")
    sizes = [{name: x.shape for name, x in last[part].items()} for part in ("state_dict", "current_model_state")]
    assert sizes[0] == sizes[1]
    ok(command.run("train.py", f"resume={folder}", "trainer.max_epochs=3", cwd=tmp_path))
    assert command.metrics(folder)["train"]["epochs"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("timeseries", "encoder_only"), ("clinical_long", "encoder_only"), ("language_model", "decoder_only")],
)
def test_weights_of_half_precision_are_cut_in_it(kind, shape, tmp_path):
    folder = tmp_path / "run"
    asked = settings(kind, shape, "trainer=cpu", "trainer.precision=bf16-true", "trainer.max_epochs=1")
    ok(command.run("train.py", *asked, "pruning=l0", "pruning.target=0.4", f"hydra.run.dir={folder}", cwd=tmp_path))
    kinds = {x.dtype for name, x in checkpoint(folder)["state_dict"].items() if ".blocks." in name}
    assert kinds == {torch.bfloat16}
    told = command.metrics(folder)["cost"]
    assert told["parameters"] < told["parameters_before_pruning"]
