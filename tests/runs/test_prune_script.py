"""scripts/prune.py: a smaller model from a finished run."""

import json
import shutil

import command
import pytest
import yaml

from manyheads import load_run

PRUNE = "scripts/prune.py"


def ok(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_finished_run_is_pruned_below_itself_and_goes_on_like_any_other(finished, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(finished, base)
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    ok(command.run(PRUNE, f"run={base}", "pruning=taylor", "pruning.target=0.4", "length=1", cwd=tmp_path))
    [folder] = (base / "pruned").iterdir()
    told, cfg = command.metrics(folder), yaml.safe_load((folder / "config.yaml").read_text())
    assert told["status"] == "finished"
    assert told["cost"]["parameters"] < command.metrics(base)["cost"]["parameters"]
    assert {key: told[key] for key in ("data", "model", "attention")} == {
        key: command.metrics(base)[key] for key in ("data", "model", "attention")
    }
    own = yaml.safe_load((base / "config.yaml").read_text())
    # By these a run is known: `resume=auto` must not take it for one of train.py.
    assert f"prunes='{base}'" in yaml.safe_load((folder / "overrides.yaml").read_text())
    assert cfg["optimizer"]["lr"] == pytest.approx(0.33 * own["optimizer"]["lr"])
    assert cfg["trainer"]["max_epochs"] == own["trainer"]["max_epochs"]
    assert load_run(folder).tokenizer.encode_source(["a dog"]) == load_run(base).tokenizer.encode_source(["a dog"])
    assert all(path.read_bytes() == content for path, content in before.items())
    ok(command.run(PRUNE, f"run={folder}", "pruning=random", "pruning.target=0.3", "length=0.5", cwd=tmp_path))
    [again] = (folder / "pruned").iterdir()
    smaller = command.metrics(again)
    assert smaller["cost"]["parameters"] < told["cost"]["parameters"]
    assert (smaller["data"], smaller["model"]) == (told["data"], told["model"])
    # A run goes on without what it began with.
    moved = (tmp_path / "moved") / folder.relative_to(base)
    base.rename(tmp_path / "moved")
    ok(command.run("train.py", f"resume={moved}", "trainer.max_epochs=3", cwd=tmp_path))
    assert command.metrics(moved)["train"]["epochs"] == 3
    assert command.metrics(moved)["data"] == told["data"]
    assert load_run(moved).tokenizer.encode_source(["a dog"]) == load_run(finished).tokenizer.encode_source(["a dog"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("pruning=tailor",), "pruning=tailor is not known. Did you mean taylor?"),
        (("pruning=l0", "model.dim=32"), "model.dim=32 would be another model"),
        (("pruning=l0", "model=decoder_only"), "the run has decided its model"),
        (("pruning=l0", "resume=auto"), "resume= does not go with prune.py"),
        (("pruning=l0", "-m"), "prunes once"),
        (("pruning=l0", "length=0"), "length=0"),
        (("pruning=l0", "pruning.targett=0.1"), "targett"),
        ((), "pruning= is missing"),
    ],
)
def test_mistakes_are_told_in_a_sentence(wrong, said, finished, tmp_path):
    done = command.run(PRUNE, f"run={finished}", *wrong, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert said in command.refused(done)
    assert not (tmp_path / "run").exists()


def test_a_run_that_did_not_finish_is_none_to_prune(finished, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(finished, base)
    told = command.metrics(base)
    (base / "metrics.json").write_text(json.dumps({**told, "status": "failed"}))
    assert "is failed, not finished" in command.refused(command.run(PRUNE, f"run={base}", "pruning=l0", cwd=tmp_path))
    (base / "metrics.json").write_text(json.dumps(told))
    (base / "checkpoints" / "best.ckpt").unlink()
    assert "best.ckpt is not there" in command.refused(command.run(PRUNE, f"run={base}", "pruning=l0", cwd=tmp_path))


def test_help_names_all_arguments(tmp_path):
    done = ok(command.run(PRUNE, "--help", cwd=tmp_path))
    assert all(word in done.stdout for word in ("run=", "pruning=", "length=", "lr=", "report="))
