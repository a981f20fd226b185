"""What composes, is each right, and still must not run; and what must not be lost by trying."""

import json
import shutil

import command
import pytest


def test_a_new_run_does_not_mix_with_the_one_that_is_there(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    sentence = command.refused(command.train("trainer.max_epochs=1", folder=folder))
    assert f"resume={folder}" in sentence
    assert command.metrics(folder) == command.metrics(finished)


@pytest.mark.slow
def test_two_processes_do_not_share_a_folder(tmp_path):
    folder = tmp_path / "run"
    process = command.started("train.py", *command.TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    while not (folder / "metrics.json").exists():
        assert process.poll() is None, process.communicate()
    sentence = command.refused(command.run("train.py", f"resume={folder}", cwd=tmp_path))
    assert "still going" in sentence
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("optimizer.lr=1e-6", "optimizer.lr=1e-6"),
        ("model.dim=32", "model.dim=32"),
        ("callbacks.early_stopping.patience=3", "patience"),
        ("attention=gqa", "attention"),
        ("train=false test=false optimized_metric=val/loss", "optimized_metric"),
    ],
)
def test_a_mistaken_resume_leaves_a_finished_run_as_it_was(finished, tmp_path, override, word):
    folder = shutil.copytree(finished, tmp_path / "run")
    files = ("metrics.json", "config.yaml", "overrides.yaml")
    before = {name: (folder / name).read_bytes() for name in files}
    sentence = command.refused(command.run("train.py", f"resume={folder}", *override.split(), cwd=tmp_path))
    assert word in sentence
    assert {name: (folder / name).read_bytes() for name in files} == before


def test_testing_again_keeps_what_the_training_found(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "moved")
    done = command.run("train.py", f"resume={folder}", "train=false", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert command.metrics(folder) == command.metrics(finished)


def test_weights_from_elsewhere_bring_their_tokenizer(finished, tmp_path):
    best = finished / "checkpoints" / "best.ckpt"
    done = command.train("train=false", f"ckpt_path={best}", "data.corpus_seed=2", folder=tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "tokenizer.json").read_text() == (finished / "tokenizer.json").read_text()
    again = command.run("scripts/evaluate.py", f"run={tmp_path / 'run'}", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    other = command.train("train=false", f"ckpt_path={best}", "model.dim=32", folder=tmp_path / "other")
    assert "other names or sizes" in command.refused(other)


def test_paths_are_kept_as_seen_from_where_they_were_typed(tmp_path):
    own = tmp_path / "here" / "own"
    own.mkdir(parents=True)
    for ending, sentence in (("en", "The dog number {} sleeps."), ("de", "Der Hund Nummer {} schläft.")):
        (own / f"train.{ending}").write_text("".join(f"{sentence.format(n)}\n" for n in range(300)))
    tiny = [o for o in command.TINY if not o.startswith("data.pairs")]
    arguments = (*tiny, "data.path=own", "trainer.max_steps=3", f"hydra.run.dir={tmp_path / 'run'}")
    assert command.run("train.py", *arguments, cwd=tmp_path / "here").returncode == 0
    done = command.run("scripts/evaluate.py", f"run={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_data_that_changed_while_a_run_was_away_is_told(tmp_path):
    own, run = tmp_path / "own", tmp_path / "run"
    own.mkdir()
    for ending, sentence in (("en", "The dog number {} sleeps."), ("de", "Der Hund Nummer {} schläft.")):
        (own / f"train.{ending}").write_text("".join(f"{sentence.format(n)}\n" for n in range(300)))
    tiny = [o for o in command.TINY if not o.startswith("data.pairs")]
    done = command.run(
        "train.py", *tiny, f"data.path={own}", "trainer.max_steps=3", f"hydra.run.dir={run}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before = command.metrics(run)["data_contents"]
    assert "+" not in before
    again = ("train.py", f"resume={run}", "train=false")
    assert "has not the contents" not in command.run(*again, cwd=tmp_path).stderr
    (own / "train.en").write_text((own / "train.en").read_text().replace("number 1 ", "number one "))
    done = command.run(*again, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has not the contents that it had when the run began" in done.stderr + done.stdout
    assert command.metrics(run)["data_contents"].startswith(f"{before}+")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("train=false",), ("train=false", "ckpt_path")),
        (("optimized_metric=test/bleu", "test=false"), ("optimized_metric=test/bleu",)),
        (("optimizer.lr=-1",), ("optimizer", "-1")),
        (("model.dropout=1.5",), ("model", "1.5")),
        (("task.monitor=val/bleux",), ("task.monitor=val/bleux", "val/bleu")),
        (
            ("optimizer.lr=1e30", "trainer.max_epochs=1", "trainer.gradient_clip_val=null"),
            ("the loss is", "optimizer.lr"),
        ),
    ],
)
def test_settings(overrides, words, tmp_path):
    sentence = command.refused(command.train(*overrides, folder=tmp_path / "run"))
    assert all(word in sentence for word in words)


@pytest.mark.slow
def test_two_processes_on_one_cpu_leave_a_whole_record(tmp_path):
    done = command.started(
        "train.py",
        *command.TINY,
        "trainer=ddp_sim",
        "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path / 'run'}",
        cwd=tmp_path,
    )
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, out + err
    found = command.metrics(tmp_path / "run")
    assert found["train"]["steps"] > 0
    assert found["cost"]["tokens_per_second"] > 0
    assert "test/copied/bleu" in found["baseline"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert len({(row["set"], row["source"]) for row in rows}) == len(rows)
