"""A finished run is used from its folder alone, in another place."""

import json
import shutil

import command
import pytest
import torch
import yaml

from manyheads import load_run
from manyheads.errors import UserError


@pytest.fixture
def moved(finished, tmp_path):
    """A copy of the run's folder, far from where it was made."""
    return shutil.copytree(finished, tmp_path / "elsewhere")


def test_evaluate_scores_as_the_run_did(moved, finished, tmp_path):
    done = command.run("scripts/evaluate.py", f"run={moved}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = (moved / "evaluations").glob("*/metrics.json")
    again, first = json.loads(written.read_text())["test"], command.metrics(finished)["test"]
    assert again["bleu"] == pytest.approx(first["bleu"])
    assert again["test_compositional/chrf"] == pytest.approx(first["test_compositional/chrf"])
    assert "tok:13a" in done.stdout


def test_evaluate_scores_other_files(moved, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "test_mine.en").write_text("The dog sleeps.\nA cat sleeps.\n")
    (other / "test_mine.de").write_text("Der Hund schläft.\nEine Katze schläft.\n")
    done = command.run("scripts/evaluate.py", f"run={moved}", f"path={other}", "search=greedy", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (moved / "evaluations").iterdir()
    assert "test_mine/bleu" in json.loads((folder / "metrics.json").read_text())["test"]
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["target"] for row in rows] == ["Der Hund schläft.", "Eine Katze schläft."]


def test_predict_gives_a_line_for_a_line(moved, tmp_path):
    (tmp_path / "in.txt").write_text("The dog sleeps.\n\nÄ 🙂 cat\u2028sleeps.\n")
    arguments = (f"run={moved}", "input=in.txt", "output=out.txt", "batch=2")
    done = command.run("scripts/predict.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert len(lines) == 4
    assert lines[1] == ""
    piped = command.run("scripts/predict.py", f"run={moved}", "input=-", cwd=tmp_path, stdin="The dog sleeps.\n")
    assert piped.stdout.split("\n")[0] == lines[0]


def test_load_run_gives_model_and_tokenizer(moved):
    run = load_run(moved)
    assert not run.model.training
    ids = run.tokenizer.encode_source(["The dog sleeps."])
    with torch.inference_mode():
        decoding = run.model.decoding(torch.tensor(ids), torch.tensor([len(ids[0])]), 1)
        assert decoding.step(torch.tensor([run.model.first])).shape == (1, run.spec.target_vocabulary)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("model", "os.system"),
        ("model", "subprocess.Popen"),
        ("model", "manyheads.training.record.subprocess.Popen"),
        ("model", "torch.load"),
        ("model", "torch.hub.load"),
        ("optimizer", "builtins.eval"),
        ("task", "manyheads.load.load_run"),
    ],
)
def test_a_strangers_config_makes_nothing_else(moved, tmp_path, key, target):
    path = moved / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config[key] = {"_target_": target, "_args_": [f"touch {tmp_path / 'ran'}"]}
    path.write_text(yaml.safe_dump(config))
    if key == "model":
        with pytest.raises(UserError, match=r"may only make classes|no such class"):
            load_run(moved)
    command.refused(command.run("scripts/evaluate.py", f"run={moved}", cwd=tmp_path))
    command.refused(command.run("train.py", f"resume={moved}", "trainer.max_epochs=9", cwd=tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_strangers_checkpoint_runs_nothing(moved, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"state_dict": Evil(), "global_step": 1}, moved / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match="no whole checkpoint"):
        load_run(moved)
    assert not (tmp_path / "ran").exists()


def test_interpolations_in_a_strangers_config_are_refused(moved):
    path = moved / "config.yaml"
    path.write_text(path.read_text() + "more: ${oc.env:HOME}\n")
    with pytest.raises(UserError, match="interpolation"):
        load_run(moved)
