"""Scores of prefixes and words, baselines, the model around any body, and predictions."""

import json
from types import SimpleNamespace

import pytest
import torch

from manyheads import build
from manyheads.baseline.prefixes import guessed
from manyheads.config.compose import compose
from manyheads.data.formal.languages import Parity
from manyheads.preflight import examine
from manyheads.task.formal_language import by_length
from manyheads.task.prefix_scores import scores

TINY = ("model.dim=16", "model.heads=2", "model.hidden=16", "model.dropout=0")
SHAPES = {"encoder_only": 1, "decoder_only": 1, "encoder_decoder": 2}


@pytest.fixture(scope="module")
def data():
    made = build.data(compose(["data=formal_language", "data.words=60", "data.tests=10", "data.longest=8"]))
    made.setup()
    return made


def task(data, shape: str, *more: str):
    layers = ("encoder_layers", "decoder_layers") if shape == "encoder_decoder" else ("layers",)
    asked = ["data=formal_language", f"model={shape}", *TINY, *(f"model.{name}=1" for name in layers), *more]
    cfg = compose(asked)
    torch.manual_seed(0)
    return build.task(cfg, build.model(cfg, data.spec), data.spec)


def test_scores_count_prefixes_and_both_kinds_of_words_alike():
    words, said = ["11", "10", "01", "00"], [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    found = scores(Parity(), words, said)
    assert found["accuracy"] == pytest.approx(11 / 12)
    assert found["recognised"] == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert scores(Parity(), ["11", "00", "10"], [[0, 1, 0], [0, 0, 0], [0, 1, 0]])["recognised"] == 0.5


def test_each_part_has_the_words_of_its_lengths_alone():
    data = SimpleNamespace(language=Parity(), bins={"1x": range(1, 3), "2x": range(3, 5)})
    found = by_length(data, ["1", "000"], [[0, 1], [1, 1, 1, 1]])
    assert (found["recognised_1x"], found["recognised_2x"], found["accuracy_2x"]) == (1.0, 0.0, 0.0)
    assert found["accuracy"] == pytest.approx(2 / 6)


def test_baselines_say_what_was_most_frequent_behind_what_they_see():
    train = ["01", "01", "00", "1"]
    marks = [Parity().mark(word) for word in train]  # 0 0 1 · 0 0 1 · 0 0 0 · 0 1
    found = guessed(train, marks, ["01", "11"])
    assert found["majority"] == [[0, 0, 0], [0, 0, 0]]
    assert found["bigram"] == [[0, 0, 1], [0, 1, 0]]  # behind 11, which was never seen: the usual one


@pytest.mark.parametrize("shape", SHAPES)
def test_every_body_passes_the_checks_of_trust(data, shape):
    findings = list(examine(task(data, shape).model, "32", torch.device("cpu")))
    assert findings
    assert all(finding.ok for finding in findings), [f.sentence for f in findings if not f.ok]


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_changes_no_state_and_gets_no_loss(data, shape):
    made, rows = task(data, shape).eval(), data.rows("train")
    both, alone = rows[[3, 4]], rows[[3]]
    n = int(alone.lengths[0])
    states = made.model(both.ids, both.lengths)[0, :n]
    torch.testing.assert_close(states, made.model(alone.ids, alone.lengths)[0], rtol=1e-4, atol=1e-5)
    assert made.step(both).count == int(both.lengths.sum())


def test_a_decoder_knows_the_prefix_alone(data):
    made, batch = task(data, "decoder_only").eval(), data.rows("train")[[0]]
    other = batch.ids.clone()
    other[0, -1] = 11 - other[0, -1]  # the other of both symbols
    before, after = made.model(batch.ids, batch.lengths), made.model(other, batch.lengths)
    torch.testing.assert_close(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_learns_one_batch():
    """Of brackets: parity is what a transformer fits badly even by heart."""
    data = build.data(compose(["data=formal_language", "data.language=dyck", "data.words=4", "data.longest=8"]))
    data.setup()
    made, batch = task(data, "decoder_only", "model.dim=32"), data.rows("train")[[0, 1, 2, 3]]
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    for _ in range(200):
        loss = made.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert made.step(batch).means["accuracy"] == 1


@pytest.mark.slow
def test_a_run_says_what_it_found_by_length_and_labels_what_it_is_given(tmp_path):
    import command

    sizes = ("data.words=300", "data.tests=20", "data.longest=12", "data.batch_tokens=256", "model.layers=1")
    asked = ("data=formal_language", "data.language=dyck", *TINY, *sizes, "trainer=cpu", "trainer.max_steps=4")
    folder = tmp_path / "run"
    done = command.run("train.py", *asked, f"paths.outputs={tmp_path}", f"hydra.run.dir={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = command.metrics(folder)
    for part in ("1x", "2x", "4x"):
        assert 0 <= found["test"][f"recognised_{part}"] <= 1
        assert 0 <= found["test"][f"accuracy_{part}"] <= 1
        assert found["baseline"][f"test/majority/recognised_{part}"] == pytest.approx(0.5)
    assert "Recognised, by length" in done.stdout
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"1x", "2x", "4x"}
    (tmp_path / "words.txt").write_text("([])\n([)\n")
    done = command.run("scripts/predict.py", f"run={folder}", f"input={tmp_path / 'words.txt'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["word"], len(row["labels"])) for row in said] == [("([])", 5), ("([)", 4)]
    (tmp_path / "words.txt").write_text("(x)\n")
    done = command.run("scripts/predict.py", f"run={folder}", f"input={tmp_path / 'words.txt'}", cwd=tmp_path)
    assert done.returncode == 1
    assert "'x' in '(x)' is no symbol of data.language=dyck" in done.stdout + done.stderr
