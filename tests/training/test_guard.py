"""Faults in the loss: seen before the step is taken, told or left out; against a loop that leaves them out."""

import json
import math
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import distributed as dist
from torch import multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from manyheads.errors import UserError
from manyheads.task.step_mean import StepMean
from manyheads.training.checkpoints import AtomicIO, Last
from manyheads.training.guard import Guard, _length, numbers

STEPS = 30


class Line(LightningModule):
    """Fits a line; `factors` scale the loss of single batches, `weights` say over how much it is a mean."""

    weights: ClassVar[dict[int, int]] = {}

    def __init__(self, factors=None):
        super().__init__()
        torch.manual_seed(1)
        self.line, self.factors, self.step_mean = nn.Linear(3, 1), factors or {}, StepMean()

    def training_step(self, batch, index):
        loss = self.loss(batch, index)
        return self.step_mean.add(loss, self.weights.get(index, 8), self.trainer.accumulate_grad_batches)

    def loss(self, batch, index):
        return loss_of(self.line, batch) * self.factors.get(index, 1.0)

    def on_before_optimizer_step(self, optimizer):
        self.step_mean.close(optimizer)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loss_of(line, x):
    return (line(x).squeeze(-1) - x.sum(-1)).square().mean()


def batches():
    drawn = torch.Generator().manual_seed(7)
    return [torch.randn(8, 3, generator=drawn) for _ in range(STEPS)]


def guard(on_fault="skip", spike=None, window=5, patience=3):
    return Guard(on_fault, spike, window, patience)


def trainer(folder, *callbacks, **arguments):
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    defaults = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": saves}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(callbacks=list(callbacks), default_root_dir=str(folder), **{**defaults, **quiet, **arguments})


def fit(folder, module, *callbacks, path=None, **arguments):
    made = trainer(folder, *callbacks, plugins=[AtomicIO()], **arguments)
    made.fit(module, DataLoader(batches(), batch_size=None), ckpt_path=path, weights_only=True)
    return module


def plain(left_out, factors=None):
    """The same training in a loop; the steps `left_out` (from 0) change nothing but the learning rate."""
    module = Line()
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for index, x in enumerate(batches()):
        optimizer.zero_grad()
        (loss_of(module.line, x) * (factors or {}).get(index, 1.0)).backward()
        if index not in left_out:
            optimizer.step()
        schedule.step()
    return module


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_without_faults_nothing_changes(tmp_path):
    watching = guard(spike=50)
    assert same(fit(tmp_path, Line(), watching), plain(set()))
    assert watching.skipped == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_with_a_fault_is_left_out_and_counted(tmp_path, value, caplog):
    watching = guard()
    assert same(fit(tmp_path, Line({9: value, 20: value}), watching), plain({9, 20}))
    assert watching.skipped == 2
    assert "At step 10 the loss is" in caplog.text
    assert not same(plain({9, 20}), plain({9})), "the test must see a step"


def test_an_infinite_gradient_of_a_finite_loss_is_a_fault(tmp_path):
    class Steep(Line):
        def on_after_backward(self):
            if self.global_step == 9:
                self.line.weight.grad[0, 0] = math.inf

    watching = guard()
    assert same(fit(tmp_path, Steep(), watching, gradient_clip_val=100.0), plain({9}))
    assert watching.skipped == 1


def test_stopped_it_names_step_and_value_and_keeps_the_checkpoint_from_before(tmp_path):
    with pytest.raises(UserError, match=r"At step 10 the loss is nan\. .*optimizer\.lr.*resume=.*on_fault=skip"):
        fit(tmp_path, Line({9: math.nan}), guard("stop"), Last(every=4))
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 8
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


@pytest.mark.parametrize(("factor", "spike", "skipped"), [(100.0, 5.0, 1), (100.0, None, 0), (100.0, 1e4, 0)])
def test_a_spike_is_measured_by_the_usual_loss(tmp_path, factor, spike, skipped):
    watching, factors = guard(spike=spike), {15: factor}
    module = fit(tmp_path, Line(factors), watching)
    assert watching.skipped == skipped
    assert same(module, plain({15} if skipped else set(), factors))


def test_no_spike_before_the_usual_loss_is_known(tmp_path):
    watching = guard(spike=5.0, window=10)
    fit(tmp_path, Line({4: 100.0}), watching)
    assert watching.skipped == 0


def test_too_many_in_a_row_stop(tmp_path):
    three = guard(patience=3)
    fit(tmp_path, Line(dict.fromkeys((5, 6, 7, 12), math.nan)), three)
    assert three.skipped == 4
    with pytest.raises(UserError, match=r"At step 9 the loss is nan, and 3 steps before it were left out\."):
        fit(tmp_path, Line(dict.fromkeys(range(5, 12), math.nan)), guard(patience=3))


def test_batches_of_one_step_are_looked_at_together(tmp_path):
    """The mean of two losses, one of them 7 times as high, is 4 times as high."""
    for spike, skipped in ((3.0, 1), (5.0, 0)):
        watching = guard(spike=spike, window=3)
        flat = Flat({20: 7.0})
        fit(tmp_path, flat, watching, accumulate_grad_batches=2)
        assert watching.skipped == skipped


def test_a_batch_of_a_step_counts_for_as_much_as_it_holds(tmp_path):
    """No batch is a spike for being the longest or the shortest of its step."""

    class Uneven(Flat):
        weights: ClassVar[dict[int, int]] = {12: 1, 17: 1000}

    watching = guard(spike=1.01, window=3)
    fit(tmp_path, Uneven(), watching, accumulate_grad_batches=2)
    assert watching.skipped == 0
    assert list(watching._recent) == pytest.approx([1.0] * 3)


class Flat(Line):
    """The loss is 1, whatever the weights are."""

    def loss(self, batch, index):
        loss = loss_of(self.line, batch)
        return (loss / loss.detach()) * self.factors.get(index, 1.0)


def mixed(scale):
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


class Mixed(Flat):
    def training_step(self, batch, index):
        assert self.trainer.precision_plugin.scaler.is_enabled()
        return super().training_step(batch, index)


def test_what_a_scaler_leaves_out_is_no_fault(tmp_path):
    """A scale beyond what 16 bits hold gives infinite gradients until the scaler has come down."""
    precision, watching = mixed(2.0**24), guard("stop")
    made = trainer(tmp_path, watching, plugins=[precision])
    made.fit(Mixed(), DataLoader(batches(), batch_size=None))
    assert precision.scaler.get_scale() < 2.0**24, "the test must see the scaler leave a step out"
    assert watching.skipped == 0


def test_under_a_scaler_the_loss_is_still_watched(tmp_path):
    watching = guard(spike=5.0)
    made = trainer(tmp_path, watching, plugins=[mixed(2.0**10)])
    made.fit(Mixed({9: math.nan, 15: 100.0}), DataLoader(batches(), batch_size=None))
    assert watching.skipped == 2
    assert list(watching._recent) == pytest.approx([1.0] * 5, rel=1e-2), "losses are those without the scale"


class ByNumber(Line):
    """Knows its batches by number, so that a resumed training goes on with the next one."""

    def loss(self, batch, index):
        return super().loss(batches()[index], index)


class Cut(Callback):
    """Ends the process's part after ten steps, saved as Last saves."""

    def on_train_batch_end(self, trainer, pl_module, *unused):
        if trainer.global_step == 10:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/ten.ckpt")
            raise KeyboardInterrupt


def stopped_and_resumed(folder, factors, **settings):
    """Ten steps, and the others in another training that goes on from there."""
    with pytest.raises(SystemExit):
        fit(folder, ByNumber(factors), guard(**settings), Cut())
    watching = guard(**settings)
    return fit(folder, ByNumber(factors), watching, path=folder / "ten.ckpt"), watching


def test_resumed_it_decides_as_if_it_had_not_stopped(tmp_path):
    """The usual loss of step 13 is one of steps from before the stop, and so are 2 of the steps left out."""
    factors, settings = {8: math.nan, 9: math.nan, 12: 40.0}, {"spike": 5.0, "window": 8}
    whole = guard(**settings)
    expected = fit(tmp_path, ByNumber(factors), whole)
    module, watching = stopped_and_resumed(tmp_path, factors, **settings)
    assert same(module, expected)
    assert same(module, plain({8, 9, 12}))
    assert watching.state_dict() == whole.state_dict()
    assert watching.skipped == 3


def test_steps_in_a_row_count_across_a_stop(tmp_path):
    with pytest.raises(UserError, match=r"At step 11 .* 2 steps before it"):
        stopped_and_resumed(tmp_path, dict.fromkeys((8, 9, 10), math.nan), patience=2)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    class Broken(Line):
        def on_train_batch_end(self, *unused):
            if self.global_step == 6:
                with torch.no_grad():
                    self.line.weight[0, 0] = math.nan

    with pytest.raises(UserError, match="NaN or infinite"):
        fit(tmp_path, Broken(), Last(every=3), guard(patience=100))
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


@pytest.mark.parametrize("wrong", [{"on_fault": "go"}, {"spike": 0.5}, {"window": 0}, {"patience": 0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(UserError, match=f"callbacks.guard.{next(iter(wrong))}"):
        guard(**wrong)


class OnRanks(ByNumber):
    """Each rank has a half of each batch; factors by rank."""

    def loss(self, batch, index):
        half = batches()[index].chunk(2)[self.global_rank]
        return loss_of(self.line, half) * self.factors[self.global_rank].get(index, 1.0)


@pytest.mark.slow
def test_ranks_leave_a_step_out_together(tmp_path):
    def two(name, *factors):
        module = fit(tmp_path / name, OnRanks(factors), guard(spike=5.0), devices=2, strategy="ddp_fork")
        return module

    bad = {9: math.nan, 15: 100.0}
    one_of_them, both, none = two("one", {}, bad), two("both", bad, bad), two("none", {}, {})
    assert same(one_of_them, both)
    assert not same(one_of_them, none)
    assert all(weight.isfinite().all() for weight in one_of_them.parameters())


def _shard(rank, folder):
    """Weights and gradients are looked at whole, wherever their parts lie; rank 1 alone has what is no number."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    line = nn.Linear(5, 2)
    fully_shard(line, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.AdamW(line.parameters())
    line(torch.ones(4, 5)).sum().backward()
    seen = [float(_length(optimizer)), numbers(line.parameters())]
    if rank == 1:
        line.weight.grad.to_local()[0, 0] = math.inf
        with torch.no_grad():
            line.weight.to_local()[0, 0] = math.nan
    seen += [float(_length(optimizer)), numbers(line.parameters())]
    (folder / str(rank)).write_text(json.dumps(seen))


@pytest.mark.slow
def test_of_a_sharded_model_every_rank_sees_all_parts(tmp_path):
    multiprocessing.start_processes(_shard, args=(tmp_path,), nprocs=2, start_method="fork")
    length = math.sqrt(2 * 5 * 4**2 + 2 * 4**2)  # each weight's gradient is the sum over 4 rows of ones
    for rank in "01":
        before, sound, after, broken = json.loads((tmp_path / rank).read_text())
        assert before == pytest.approx(length)
        assert (sound, after, broken) == (True, math.inf, False)
