import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy
from command import environment
from lightning.pytorch.callbacks import Callback, EarlyStopping

from manyheads.errors import UserError
from manyheads.pruning.compact import compact
from manyheads.pruning.sites import sites


@pytest.mark.parametrize("method", toy.METHODS)
def test_the_target_is_gone_when_the_schedule_is_over_and_nothing_changes_any_more(method, tmp_path):
    module, pruner, _ = toy.fit(method, tmp_path, "pruning.target=0.6")
    settles = pruner.schedule.settles(40)
    assert pruner.settled
    assert pruner.settled_at == settles
    assert all((z == 1).all() for z in module.seen[0].units.values()) or method == "one_shot"
    assert all(toy.same(gates, pruner._now) for gates in module.seen[settles:])
    assert len(module.seen[settles:]) > 5
    assert 0.6 <= pruner.summary()["reached"] < 0.68


@pytest.mark.parametrize("method", toy.METHODS)
@pytest.mark.parametrize("layers", [0.0, 0.4])
def test_going_on_in_the_middle_of_the_schedule_ends_in_the_same_gates_and_weights(method, layers, tmp_path):
    changes = (f"pruning.layers={layers}", "pruning.target=0.5", "pruning.least=0")
    whole, pruner, _ = toy.fit(method, tmp_path, *changes, save=(7, 16, 30), block="modern")
    for step in (7, 16, 30):
        again, other, _ = toy.fit(method, tmp_path, *changes, start=str(tmp_path / f"{step}.ckpt"), block="modern")
        assert toy.same(pruner._now, other._now)
        assert other.settled_at == pruner.settled_at
        for name, value in whole.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name


def test_checkpoints_hold_plain_values(tmp_path):
    toy.fit("l0", tmp_path, save=(20, 30))
    for step, settled in ((20, False), (30, True)):
        state = torch.load(tmp_path / f"{step}.ckpt", weights_only=True)["callbacks"]["Pruner"]
        assert state["settled"] is settled
        assert set(state["gates"]) == {"units", "layers"}


def test_steps_of_several_batches_have_one_choice_and_the_sum_of_their_gradients(tmp_path):
    _, pruner, _ = toy.fit("taylor", tmp_path, "pruning.target=0.5", steps=20, accumulate_grad_batches=2)
    assert pruner.settled
    assert pruner.settled_at == 10


def test_no_patience_runs_out_and_nothing_is_best_before_the_gates_settle(tmp_path):
    stopping = EarlyStopping("val/loss", patience=1, min_delta=100.0, check_on_train_epoch_end=False)
    _, pruner, trainer = toy.fit(
        "magnitude", tmp_path, callbacks=[stopping], val_check_interval=2, steps=40, check_val_every_n_epoch=1
    )
    # On the validation after the last choice the patience begins.
    assert pruner.settled
    assert trainer.global_step == pruner.settled_at + 4


def test_a_clock_that_has_run_out_ends_the_training_before_the_gates_settle(tmp_path):
    class Clock(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.should_stop or trainer.global_step >= 6

    _, pruner, trainer = toy.fit("magnitude", tmp_path, callbacks=[Clock()], val_check_interval=2, steps=40)
    assert trainer.global_step == 6
    assert not pruner.settled


@pytest.mark.parametrize("method", ["taylor", "movement"])
def test_no_gradient_is_asked_before_there_is_one(method, tmp_path):
    with pytest.raises(UserError, match=r"scores units by gradients, and of 40 steps .*warmup"):
        toy.fit("one_shot", tmp_path, f"pruning/method={method}")
    _, pruner, _ = toy.fit("one_shot", tmp_path, "pruning.schedule.warmup=0.1", f"pruning/method={method}")
    assert pruner.settled


def test_moments_are_kept_or_dropped_where_gates_settle(tmp_path):
    for moments, step in (("keep", 40.0), ("drop", 20.0)):
        _, _pruner, trainer = toy.fit("magnitude", tmp_path, f"pruning.moments={moments}")
        assert {float(s["step"]) for s in trainer.optimizers[0].state.values()} == {step}, moments


def test_the_gated_model_is_the_compact_one(tmp_path):
    module, _, _ = toy.fit("l0", tmp_path, "pruning.target=0.6", "pruning.layers=0.1")
    tokens, lengths = torch.randint(5, 19, (3, 9)), torch.tensor([9, 4, 1])
    module.eval()
    before, count = module.model(tokens, lengths), sum(p.numel() for p in module.model.parameters())
    compact(module.model)
    after = module.model(tokens, lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(after[row, :length], before[row, :length], rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in module.model.parameters()) < 0.7 * count
    assert all(site.part.unit_gate.z is None for site in sites(module.model))


def test_a_training_of_unknown_length_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        toy.fit("magnitude", tmp_path, steps=-1, max_epochs=-1, max_time="00:00:00:20")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("target=1.0", "pruning.target=1.0"), ("layers=2", "pruning.layers=2"), ("least=-1", "pruning.least=-1")],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        toy.pruner("magnitude", f"pruning.{wrong}")


@pytest.mark.parametrize("base", ["parameters", "flops"])
def test_other_bases_reach_their_target_too(base, tmp_path):
    _, pruner, _ = toy.fit("magnitude", tmp_path, f"pruning.base={base}", "pruning.target=0.5")
    assert pruner._costs.base == base
    assert 0.5 <= pruner.summary()["reached"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["l0", "taylor", "movement"])
def test_all_processes_have_the_same_gates(method, tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("toy.py")), method, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert any((z == 0).any() for z in one["gates"]["units"].values())
    for part in ("units", "layers"):
        assert all(torch.equal(z, other["gates"][part][name]) for name, z in one["gates"][part].items())
    assert all(torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())
