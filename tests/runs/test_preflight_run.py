"""Checks before training: they change nothing of a run, stop one that is wrong, and can be left out."""

import command
import pytest
import torch

from manyheads.attention.softmax import Softmax


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_run_is_the_same_to_the_bit_with_and_without(tmp_path):
    short = ("trainer.max_steps=4", "test=false", "model.dropout=0.3")
    for name, more in (("with", ()), ("without", ("preflight=false",))):
        done = command.train(*short, *more, folder=tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr
    checked, unchecked = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(torch.equal(value, unchecked[name]) for name, value in checked.items())
    assert "checks of the model passed" in (tmp_path / "with" / "train.log").read_text()
    assert "checks of the model" not in (tmp_path / "without" / "train.log").read_text()


def test_a_failed_check_stops_the_run_before_it_trains(tmp_path, monkeypatch):
    attend = Softmax.attend
    monkeypatch.setattr(Softmax, "attend", lambda self, q, *reads: attend(self, 8 * q, *reads))
    sentence = command.refused(command.train("trainer.max_steps=4", folder=tmp_path / "run"))
    assert "The check of scores before training failed" in sentence
    found = command.metrics(tmp_path / "run")
    assert found["status"] == "failed"
    assert not (tmp_path / "run" / "checkpoints").exists()
