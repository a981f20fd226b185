"""Every model with every family of data as a user has it: a run, its scores again, its predictions."""

import json

import command
import pytest
from cells import CELLS, MET, settings


def whole_run(kind, shape, attention, folder, *more):
    """A run as a user has it, its scores again from its folder, and its predictions."""
    asked = settings(
        kind, shape, f"attention={attention}", "trainer=cpu", "trainer.max_steps=2", "trainer.limit_test_batches=2"
    )
    # As many batches of each, so that a run takes seconds.
    asked += ["trainer.limit_val_batches=2", "trainer.val_check_interval=2", f"paths.outputs={folder.parent}"]
    done = command.run("train.py", *asked, *more, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    found = command.metrics(folder)
    assert (found["status"], found["data"], found["model"]) == ("finished", kind, shape)
    assert found["test"]["loss"] > 0
    return found


def predicted(kind, folder, *more):
    """Each family's predictor on input of its own kind."""
    given = folder.parent / ("input.csv" if kind in ("timeseries", "clinical_long") else "input.txt")
    if kind == "timeseries":
        hours = [f"2013-01-{1 + h // 24:02d} {h % 24:02d}:00,{h % 24},{h % 7},{h % 5},{h % 3},10" for h in range(72)]
        given.write_text("\n".join(["time,temp,dewp,humid,wind_speed,visib", *hours]) + "\n")
    elif kind == "clinical_long":
        given.write_text("name,text\nfirst,No finding today.\nsecond,Pain since Monday.\n")
    elif kind == "formal_language":
        given.write_text("0110\n1\n")
    else:
        given.write_text("The dog sleeps.\nA cat sleeps.\n")
    done = command.run("scripts/predict.py", f"run={folder}", f"input={given}", "tokens=3", *more, cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.removesuffix("\n").split("\n")


@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_trains_evaluates_and_predicts(kind, shape, tmp_path):
    folder = tmp_path / "run"
    found = whole_run(kind, shape, "dense", folder)
    done = command.run("scripts/evaluate.py", f"run={folder}", "accelerator=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = (folder / "evaluations").glob("*/metrics.json")
    assert json.loads(again.read_text())["test"] == pytest.approx(found["test"], rel=1e-5, nan_ok=True)
    lines = predicted(kind, folder)
    if kind == "clinical_long":
        rows = [json.loads(line) for line in lines]
        assert [row["name"] for row in rows] == ["first", "second"]
        assert all(chunk["end"] > chunk["begin"] for row in rows for chunk in row["chunks"])
    else:
        assert len(lines) == (1 + 24 * 5 if kind == "timeseries" else 2)


def test_what_the_task_has_found_is_there_when_it_is_evaluated_again(tmp_path):
    """The weights of its labels and its threshold, which are not the model's."""
    rows = [
        {"text": f"note {n} says {'yes' if n % 3 else 'no'}", "label": ["a", "b"] if n % 4 else ["b"]}
        for n in range(90)
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = (f"data.path={tmp_path / 'notes.jsonl'}", "data.multilabel=true", "task.balance=sqrt_inverse")
    found = whole_run("clinical_long", "encoder_only", "dense", tmp_path / "run", *more)
    done = command.run("scripts/evaluate.py", f"run={tmp_path / 'run'}", "accelerator=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = (tmp_path / "run" / "evaluations").glob("*/metrics.json")
    assert json.loads(again.read_text())["test"] == pytest.approx(found["test"], rel=1e-5, nan_ok=True)
    assert "f1_micro_tuned" in found["test"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clinical_long", "timeseries", "language_model"])
def test_two_processes_of_which_one_has_nothing_to_validate(kind, tmp_path):
    many = {"clinical_long": "data.evaluation_batch_tokens=100000", "timeseries": "data.evaluation_batch=100000"}
    more = ("trainer=ddp_sim", many.get(kind, "data.evaluation_batch_tokens=1000000"))
    shape = "decoder_only" if kind == "language_model" else "encoder_only"
    whole_run(kind, shape, "dense", tmp_path / "run", *more)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape", "attention"), MET)
def test_every_attention_runs_in_a_third_of_the_cells(kind, shape, attention, tmp_path):
    whole_run(kind, shape, attention, tmp_path / "run")
