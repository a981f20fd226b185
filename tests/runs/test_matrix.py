"""Every model with every family of data and every attention: it trains, evaluates and predicts, or is refused."""

import json

import command
import pytest
import torch

from manyheads import build
from manyheads.config.compose import compose
from manyheads.config.places import conf_folder
from manyheads.errors import UserError

ATTENTIONS = sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))
SHAPES = ("encoder_only", "decoder_only", "encoder_decoder")
TINY = {
    "translation": ("data.pairs=500", "data.vocabulary=300", "data.batch_tokens=1000", "task.search.width=2"),
    "clinical_long": (
        "data.documents=60",
        "data.length=200",
        "data.chunk=64",
        "data.overlap=8",
        "data.vocabulary=400",
        "data.batch_tokens=1024",
        "data.aggregate=hierarchical",
        "data.layers=1",
        "task.baselines=false",
    ),
    "timeseries": ("data.history=48", "data.horizon=24", "data.batch=64", "data.every=40", "task.baselines=false"),
    "language_model": (
        "data.stories=60",
        "data.vocabulary=300",
        "data.length=64",
        "data.context=16",
        "data.batch_tokens=512",
        "task.lzma_bytes=0",
        "task.continuation.prompts=2",
        "task.continuation.longest=4",
    ),
}
REFUSED = {
    ("translation", "encoder_only"): "model=encoder_decoder or model=decoder_only",
    ("language_model", "encoder_only"): "model=decoder_only",
    ("language_model", "encoder_decoder"): "model=decoder_only",
}
CELLS = [(kind, shape) for kind in TINY for shape in SHAPES if (kind, shape) not in REFUSED]


def settings(kind: str, shape: str, *more: str) -> list[str]:
    layers = ("encoder_layers", "decoder_layers") if shape == "encoder_decoder" else ("layers",)
    sizes = ["model.dim=16", "model.heads=2", "model.hidden=16", *(f"model.{name}=1" for name in layers)]
    return [f"data={kind}", f"model={shape}", *sizes, *TINY[kind], *more]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Each family's data, read once."""
    made, folder = {}, tmp_path_factory.mktemp("matrix")

    def of(kind: str):
        if kind not in made:
            data = build.data(compose(settings(kind, SHAPES[1], f"paths.outputs={folder}")))
            data.prepare_data()
            data.setup("fit")
            made[kind] = data
        return made[kind]

    return of


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_learns_with_every_attention(prepared, kind, shape, attention, tmp_path):
    """A step of training moves every weight it should, and what is evaluated is a number."""
    data = prepared(kind)
    cache = [f"attention.cache={tmp_path}"] if attention == "auto" else []
    cfg = compose(settings(kind, shape, f"attention={attention}", *cache))
    torch.manual_seed(0)
    task = build.task(cfg, build.model(cfg, data.spec), data.spec)
    batch = next(iter(data.train_dataloader()))
    result = task.step(batch)
    assert result.loss.isfinite()
    assert result.count > 0
    result.loss.backward()
    used = [p.grad is not None and bool(p.grad.isfinite().all()) for p in task.parameters() if p.requires_grad]
    assert all(used)
    assert any(p.grad.any() for p in task.parameters() if p.requires_grad)


@pytest.mark.parametrize(("kind", "shape"), REFUSED)
def test_other_cells_are_refused_and_the_nearest_named(prepared, kind, shape):
    data, cfg = prepared(kind), compose(settings(kind, shape))
    with pytest.raises(UserError, match=REFUSED[kind, shape]) as refused:
        build.model(cfg, data.spec)
    assert str(refused.value).count(". ") == 0


def whole_run(kind, shape, attention, folder):
    """A run as a user has it, its scores again from its folder, and its predictions."""
    asked = settings(
        kind, shape, f"attention={attention}", "trainer=cpu", "trainer.max_steps=2", "trainer.limit_test_batches=2"
    )
    # As many batches of each, so that a run takes seconds.
    asked += ["trainer.limit_val_batches=2", "trainer.val_check_interval=2", f"paths.outputs={folder.parent}"]
    done = command.run("train.py", *asked, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    found = command.metrics(folder)
    assert (found["status"], found["data"], found["model"]) == ("finished", kind, shape)
    assert found["test"]["loss"] > 0
    return found


def predicted(kind, folder):
    """Each family's predictor on input of its own kind."""
    given = folder.parent / ("input.csv" if kind in ("timeseries", "clinical_long") else "input.txt")
    if kind == "timeseries":
        hours = [f"2013-01-{1 + h // 24:02d} {h % 24:02d}:00,{h % 24},{h % 7},{h % 5},{h % 3},10" for h in range(72)]
        given.write_text("\n".join(["time,temp,dewp,humid,wind_speed,visib", *hours]) + "\n")
    elif kind == "clinical_long":
        given.write_text("name,text\nfirst,No finding today.\nsecond,Pain since Monday.\n")
    else:
        given.write_text("The dog sleeps.\nA cat sleeps.\n")
    done = command.run("scripts/predict.py", f"run={folder}", f"input={given}", "tokens=3", cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.removesuffix("\n").split("\n")


@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_trains_evaluates_and_predicts(kind, shape, tmp_path):
    folder = tmp_path / "run"
    whole_run(kind, shape, "dense", folder)
    done = command.run("scripts/evaluate.py", f"run={folder}", "accelerator=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "evaluations").glob("*/metrics.json"))) == 1
    lines = predicted(kind, folder)
    if kind == "clinical_long":
        rows = [json.loads(line) for line in lines]
        assert [row["name"] for row in rows] == ["first", "second"]
        assert all(chunk["end"] > chunk["start"] for row in rows for chunk in row["chunks"])
    else:
        assert len(lines) == (1 + 24 * 5 if kind == "timeseries" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if name != "dense"])
@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_runs_with_every_attention(kind, shape, attention, tmp_path):
    whole_run(kind, shape, attention, tmp_path / "run")
