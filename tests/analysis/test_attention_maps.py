"""The callback in whole runs, and what it counts."""

import numpy as np
import pytest
import torch
from cells import CELLS, settings
from command import metrics, run
from every_attention import factory
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_matrix_runs import predicted
from test_page import content

from manyheads.analysis.attention_maps import AttentionMaps, evenly, maps, numbers
from manyheads.analysis.blocks import mapped
from manyheads.analysis.capture import Read
from manyheads.attention.base import Attention
from manyheads.attention.mask import Mask
from manyheads.errors import UserError

ALWAYS = "callbacks.attention_maps.at_end=null"
SHORT = ("trainer=cpu", "trainer.max_steps=2", "trainer.limit_val_batches=1", "test=false", "preflight=false")


def made(**changes) -> AttentionMaps:
    return AttentionMaps(**{"documents": 2, "cells": 64, "attentions": None, "share": 0.01, "at_end": None} | changes)


def read(n: int, across: bool = False, attention: str = "dense") -> Read:
    rule = factory(attention)(heads=2, head_dim=4, layer=0)
    q, k = torch.randn(1, 2, n, 4), torch.randn(1, 2, n, 4)
    mask = Mask(n, n, cross=across)
    return Read("encoder.0", across, (0, 1), rule, q, k, mask, None, None, None, torch.ones(n, dtype=torch.bool))


def test_numbers_are_means_over_attentions_documents_and_heads():
    drawn = {"encoder.0": [mapped(read(5), 64, 2), mapped(read(7), 64, 2)], "cross": [mapped(read(6, True), 64, 2)]}
    found, (a, b, c) = numbers(drawn), [one for each in drawn.values() for one in each]
    assert found["entropy"] == pytest.approx(np.mean([a.entropy, b.entropy, c.entropy]))
    assert found["distance"] == pytest.approx(np.mean([a.distance, b.distance]))
    assert found["disagreement"] == pytest.approx(np.mean([one.disagreement[0, 1] for one in (a, b, c)]))


def test_an_attention_without_weights_is_left_out_and_said():
    one = read(4)
    strange = type("Strange", (type(one.attention),), {"weights": Attention.weights})
    one.attention.__class__ = strange
    assert list(maps({"encoder.0": [one], "encoder.1": [read(4)]}, 64)) == ["encoder.1"]


def test_drawn_attentions_are_evenly_chosen():
    names = list("abcdefg")
    assert evenly(names, 9) == names
    assert evenly(names, 3) == ["a", "d", "g"]
    assert evenly(names, 1) == ["a"]


@pytest.mark.parametrize("wrong", [{"documents": 0}, {"cells": 0}, {"attentions": 0}, {"share": -1}, {"at_end": -0.1}])
def test_senseless_values_are_refused(wrong):
    key = next(iter(wrong))
    with pytest.raises(UserError, match=f"callbacks.attention_maps.{key}="):
        made(**wrong)


def test_it_watches_nothing_without_a_board():
    callback = made()
    callback.on_validation_batch_start(Trainer(logger=False, enable_checkpointing=False), None, None, 0)
    assert not callback._reads


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_a_run_leaves_images_and_numbers(kind, shape, tmp_path):
    often = ("trainer.val_check_interval=1", "trainer.check_val_every_n_epoch=null")
    asked = settings(kind, shape, *SHORT, *often, ALWAYS, "callbacks.attention_maps.share=1e9")
    done = run("train.py", *asked, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    files = [file.name for file in (tmp_path / "run" / "figures").glob("attention_*.png")]
    parts = {"encoder_only": ["encoder.0"], "decoder_only": ["decoder.0"]}
    names = parts.get(shape, ["decoder.0", "decoder.0.cross", "encoder.0"])
    assert {name for name in files if "aggregate" not in name} == {f"attention_{name}.png" for name in names}
    (board,) = (tmp_path / "run" / "tensorboard").iterdir()
    events = EventAccumulator(str(board), {"images": 0}).Reload()
    assert {f"attention/{name}" for name in names} <= set(events.Tags()["images"])
    assert len(events.Images(f"attention/{names[0]}")) == 3
    assert {"attention/entropy", "attention/distance", "attention/disagreement"} <= set(events.Tags()["scalars"])
    predicted(kind, tmp_path / "run", "attention_maps=true")
    shown = content((tmp_path / "run" / "figures" / "attention_maps.html").read_text())["entries"]
    assert all(layer["weights"] for entry in shown for of in entry["kinds"] for layer in of["layers"])
    assert len(shown) == (4 if kind == "timeseries" else 2)


@pytest.mark.slow
def test_a_run_learns_the_same_with_and_without_maps(tmp_path):
    found = []
    for number, more in enumerate(((ALWAYS, "callbacks.attention_maps.share=1e9"), ("callbacks.attention_maps=null",))):
        folder = tmp_path / str(number)
        asked = settings("translation", "encoder_decoder", *SHORT, "model.dropout=0.3", *more)
        done = run("train.py", *asked, f"hydra.run.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        found.append((weights, metrics(folder)["val"]))
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])
    assert found[0][1] == found[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("more", [("trainer.fast_dev_run=true",), ("logger=csv",)])
def test_a_run_without_a_board_draws_nothing(more, tmp_path):
    asked = settings("language_model", "decoder_only", *SHORT, ALWAYS, *more)
    done = run("train.py", *asked, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((tmp_path / "run" / "figures").glob("attention_*"))
