"""Checkpoints of a gated training, cut: weights, moments, and what is said of them."""

import json
import os
from pathlib import Path

import pytest
import torch
import toy

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.pruning import finish
from manyheads.pruning.architecture import Architecture, parse
from manyheads.pruning.compact import compact
from manyheads.pruning.gates import of_content, put
from manyheads.pruning.saved import KEY, gated, narrow_as, refuse_gated
from manyheads.task.base import groups
from manyheads.training import checkpoints


class Task(toy.Toy):
    """Its optimizer has the parameters in the groups that a Task's has."""

    def step(self, batch):
        return Loss(super().step(batch))

    def training_step(self, batch, index):
        self.seen.append(toy.pruner_of(self.trainer)._open())
        return self.step(batch).loss

    def validation_step(self, batch, index):
        self.log("val/loss", self.step(batch).loss)

    def configure_optimizers(self):
        self.head.requires_grad_(False)
        return torch.optim.AdamW(groups(self.model), lr=1e-2)


class Loss:
    def __init__(self, loss):
        self.loss = loss


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint with soft gates, and the task that made it."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "Toy", Task)
        task, _, _trainer = toy.fit("l0", folder, "pruning.target=0.5", "pruning.layers=0.2", save=(36,))
    return torch.load(folder / "36.ckpt", weights_only=True), task


BATCH = (torch.arange(160, 168),)


def test_the_cut_checkpoint_is_that_of_the_compact_model(saved):
    checkpoint, task = saved
    assert gated(checkpoint)
    found, architecture = finish.compacted(checkpoint, task, BATCH)
    small = Task()
    narrow_as(small.model, found, "here")
    small.load_state_dict(found["state_dict"])
    assert Architecture.of(small.model) == architecture == parse(found[KEY], "here")
    assert not gated(found)
    whole = Task()
    whole.load_state_dict(checkpoint["state_dict"])
    put(whole.model, of_content(checkpoint["callbacks"]["Pruner"]["gates"]))
    torch.testing.assert_close(small.eval().step(BATCH).loss, whole.eval().step(BATCH).loss, rtol=1e-5, atol=1e-6)


def test_moments_are_those_of_the_weights_that_are_left(saved):
    checkpoint, task = saved
    found, _ = finish.compacted(checkpoint, task, BATCH)
    whole, small = Task(), Task()
    whole.load_state_dict(checkpoint["state_dict"])
    put(whole.model, of_content(checkpoint["callbacks"]["Pruner"]["gates"]))
    names = [n for g in groups(whole.model) for p in g["params"] for n, q in whole.model.named_parameters() if q is p]
    origins = compact(whole.model)
    narrow_as(small.model, found, "here")
    left = [n for g in groups(small.model) for p in g["params"] for n, q in small.model.named_parameters() if q is p]
    old, new = checkpoint["optimizer_states"][0], found["optimizer_states"][0]
    assert [len(g["params"]) for g in new["param_groups"]] == [len(g["params"]) for g in groups(small.model)]
    scaled = 0
    for number, name in enumerate(left):
        before, after, origin = old["state"][names.index(origins[name].old)], new["state"][number], origins[name]
        scale = torch.ones(()) if origin.scale is None else origin.scale
        scaled += origin.scale is not None
        for key, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            cut = before[key] if origin.cut is None else origin.cut.of(before[key])
            torch.testing.assert_close(after[key] * scale**power, cut)
        assert after["step"] == before["step"]
    assert scaled


def test_a_resumed_optimizer_takes_them(saved):
    checkpoint, task = saved
    found, _ = finish.compacted(checkpoint, task, BATCH)
    small = Task()
    narrow_as(small.model, found, "here")
    optimizer = small.configure_optimizers()
    optimizer.load_state_dict(found["optimizer_states"][0])
    small.step(BATCH).loss.backward()
    optimizer.step()


def test_a_model_that_is_another_one_than_the_gated_is_not_written(saved, monkeypatch):
    checkpoint, task = saved

    def broken(model):
        origins = compact(model)
        model.embed.table.weight.data.mul_(9)
        return origins

    monkeypatch.setattr(finish, "compact", broken)
    with pytest.raises(RuntimeError, match="is not the gated one"):
        finish.compacted(checkpoint, task, BATCH)


@pytest.fixture
def folder(saved, tmp_path):
    """Checkpoints as a training with gates leaves them."""
    checkpoint, _ = saved
    found = tmp_path / "checkpoints"
    (found / "recent").mkdir(parents=True)
    for name in ("last.ckpt", "previous.ckpt", "newest.ckpt", "best.ckpt", "recent/step_00000036.pt"):
        torch.save(checkpoint, found / name)
    return found


class Killed(BaseException):
    pass


@pytest.mark.parametrize("change", range(8))
def test_whoever_is_killed_while_files_change_leaves_what_can_go_on(change, folder, saved, monkeypatch):
    """After so many changes: all is gated, or what a run would go on from is compact, and the rest can be made so."""
    left = iter(range(change))

    def dying(original):
        def call(*arguments, **named):
            if next(left, None) is None:
                raise Killed
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(finish.Path, "unlink", dying(Path.unlink))
        patch.setattr(atomic.os, "fsync", dying(os.fsync))
        try:
            finish.compact_files(folder, saved[1], BATCH, checkpoints.AtomicIO().save_checkpoint)
        except Killed:
            atomic.clear(folder)
    start = checkpoints.newest(folder)
    compact_already = not gated(checkpoints.load(start))
    assert not compact_already or not gated(checkpoints.load(folder / "last.ckpt"))
    finish.compact_files(folder, saved[1], BATCH, checkpoints.AtomicIO().save_checkpoint)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.*") if not path.name.startswith(".")}
    assert names == {"last.ckpt", "best.ckpt", "arch.json"}
    one, other = (checkpoints.load(folder / f"{name}.ckpt") for name in ("last", "best"))
    assert one[KEY] == other[KEY] == json.loads((folder / "arch.json").read_text())


def test_an_optimizer_that_remembers_rows_and_columns_begins_anew_with_what_was_cut(saved):
    checkpoint, task = saved
    entries = {number: dict(entry) for number, entry in checkpoint["optimizer_states"][0]["state"].items()}
    whole = max(entries, key=lambda number: entries[number]["exp_avg"].numel())
    entries[whole] = {"step": torch.tensor(36.0), "row_var": torch.ones(entries[whole]["exp_avg"].size(0), 1)}
    states = [{**checkpoint["optimizer_states"][0], "state": entries}]
    found, _ = finish.compacted({**checkpoint, "optimizer_states": states}, task, BATCH)
    groups = found["optimizer_states"][0]["param_groups"]
    assert len(found["optimizer_states"][0]["state"]) == sum(len(group["params"]) for group in groups) - 1


def test_a_loss_that_is_no_number_is_no_equality(saved, monkeypatch):
    checkpoint, task = saved

    def broken(model):
        origins = compact(model)
        model.embed.table.weight.data.fill_(torch.nan)
        return origins

    monkeypatch.setattr(finish, "compact", broken)
    with pytest.raises(RuntimeError, match="a loss of nan"):
        finish.compacted(checkpoint, task, BATCH)


def test_a_training_that_ended_too_early_says_how_to_go_on():
    unsettled = {"global_step": 7, "callbacks": {"Pruner": {"settled": False, "compacted": False, "gates": {}}}}
    with pytest.raises(UserError, match="ended at step 7, before pruning's schedule did"):
        finish.settled_gates(unsettled)


def test_gated_weights_are_nobodys_start(tmp_path):
    state = {"callbacks": {"Pruner": {"settled": True, "compacted": False, "gates": {}}}}
    with pytest.raises(UserError, match="in the midst of a pruning"):
        refuse_gated(state, tmp_path / "run" / "checkpoints" / "last.ckpt")
    refuse_gated({"callbacks": {}}, tmp_path)
