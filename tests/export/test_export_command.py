"""The whole command, from a run's folder to an exported one."""

import json

import command
import pytest
import torch
from cells import settings
from exported import run

from manyheads.errors import UserError
from manyheads.export import load, parity, write
from manyheads.export.asked import Export


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The folder of a run that was not trained; its model."""
    made = run("timeseries", "encoder_only")
    monkeypatch.setattr(write, "load_run", lambda folder, checkpoint: made)
    state = {"state_dict": {"model.x": torch.zeros(1), "threshold": torch.tensor(0.4)}}
    monkeypatch.setattr(write.checkpoints, "load", lambda path: state)
    (tmp_path / "scaling.json").write_text('{"mean": [[1.0]]}')
    return tmp_path, made


def test_an_export_says_how_its_input_is_read(finished):
    folder, made = finished
    found = write.write(Export(folder, "safetensors", int8=True))
    out = folder / "exports" / "safetensors"
    assert json.loads((out / "config.json").read_text()) == json.loads(json.dumps(found))
    assert (out / "scaling.json").read_text() == (folder / "scaling.json").read_text()
    assert found["reads"]["horizon"] == made.config.data.horizon
    assert found["learned"]["threshold"] == pytest.approx(0.4)
    assert found["parity"]["max_abs_error"] == 0 < found["int8"]["max_abs_error"]
    assert set(found["int8"]["milliseconds"]) == {"fp32", "int8"}
    assert found["bytes"]["model.int8.safetensors"] < found["bytes"]["model.safetensors"]
    assert str(folder) not in (out / "config.json").read_text()


@pytest.mark.parametrize("format", ["safetensors", "torch_export"])
def test_nothing_is_left_of_an_export_that_answers_otherwise(format, finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(parity, "ALLOWED", -1.0)
    with pytest.raises(UserError, match="nothing was written"):
        write.write(Export(folder, format))
    assert not list((folder / "exports").iterdir())


@pytest.mark.slow
def test_a_pruned_run_is_exported_in_every_format(tmp_path):
    sizes = settings("timeseries", "encoder_only", "model.heads=4", "data.evaluation_batch=64")
    few = ["trainer=cpu", "trainer.max_steps=4", "trainer.limit_val_batches=2", "trainer.val_check_interval=2"]
    asked = [*sizes, *few, "trainer.limit_test_batches=2", f"paths.outputs={tmp_path}"]
    pruned = ["pruning=magnitude", "pruning.target=0.4", f"hydra.run.dir={tmp_path / 'run'}"]
    done = command.run("train.py", *asked, *pruned, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for format in ("safetensors", "torch_export"):
        done = command.run("scripts/export.py", f"run={tmp_path / 'run'}", f"format={format}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "greatest difference" in done.stdout
    kept = json.loads((tmp_path / "run" / "checkpoints" / "arch.json").read_text())
    said = json.loads((tmp_path / "run" / "exports" / "safetensors" / "config.json").read_text())
    assert said["architecture"] == kept
    assert load(tmp_path / "run" / "exports" / "safetensors").spec.horizon == 24


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["format=onx"], "Did you mean onnx"),
        (["format=onnx", "int8=true"], "int8=true goes with"),
        (["format=safetensors"], "is not a run's folder"),
        ([], "format= is missing"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(more, sentence, tmp_path):
    found = command.refused(command.run("scripts/export.py", f"run={tmp_path / 'none'}", *more, cwd=tmp_path))
    assert sentence in found
    assert not list(tmp_path.iterdir())
