"""A pruned run beside its base: what is counted, against plain recounts; what is refused; never how fast."""

import json
import pickle

import pytest
import torch
from made_runs import HALF, configure, made, scored

from manyheads.data.base import load_spec
from manyheads.errors import UserError
from manyheads.load import load_run
from manyheads.measure.attention.clock import Taken
from manyheads.measure.command import measure
from manyheads.measure.pruned import quality
from manyheads.measure.pruned.batches import first, lengths_of, sized, tokens
from manyheads.measure.pruned.figure import kept
from manyheads.measure.pruned.peak import peak, peaks
from manyheads.measure.pruned.report import publish, report
from manyheads.measure.pruned.sides import Origin, base_of, data_of, load
from manyheads.measure.pruned.sizes import file_bytes, flops, left, parameters
from manyheads.measure.pruned.speed import waited
from manyheads.measure.pruned.tables import worse
from manyheads.measure.pruned.turns import LEAST, WARM, compared, in_turns

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A forecaster and one of which every second neuron is gone; the second names the first as what it began with."""
    where = tmp_path_factory.mktemp("series")
    base = made(where / "base", "timeseries", "encoder_only", mse=0.5, loss=0.25)
    neurons = made(
        where / "pruned", "timeseries", "encoder_only", left={"neurons": list(range(0, 16, 2))}, mse=0.6, loss=0.2
    )
    configure(neurons, ckpt_path=str(base / "checkpoints" / "best.ckpt"))
    return base, neurons


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A translator, and one with half of its heads, a quarter of its neurons, and a sublayer that is gone."""
    where = tmp_path_factory.mktemp("pairs")
    base = made(where / "base", "translation", "encoder_decoder", bleu=20.0, nll=2.0)
    gone = {**HALF, "decoder.blocks.0.read_own": None}
    pruned = made(where / "pruned", "translation", "encoder_decoder", left=gone, bleu=19.8, nll=2.2)
    configure(pruned, prunes=str(base))
    return base, pruned


# ---------------------------------------------------------------- sizes
def test_parameters_are_those_of_a_plain_count(pairs):
    base, pruned = (load_run(folder).model for folder in pairs)
    dim, words = 16, load_spec(pairs[0]).source_vocabulary  # one table for both languages and the head
    attention, feedforward = 4 * dim * dim, 3 * dim * 16
    whole = parameters(base)
    assert whole["prunable"] == 3 * (attention + dim) + 2 * (feedforward + dim)
    assert whole["embedding"] == words * dim
    assert whole["whole"] == sum(p.numel() for p in {id(p): p for p in base.parameters()}.values())
    # Half of two attentions, a quarter of both feed-forward parts; the third attention went with its norm.
    assert parameters(pruned)["prunable"] == 2 * (attention // 2 + dim) + 2 * (feedforward // 4 + dim)
    assert parameters(pruned)["embedding"] == whole["embedding"]
    assert whole["whole"] - parameters(pruned)["whole"] == whole["prunable"] - parameters(pruned)["prunable"]


def test_a_file_is_its_numbers_and_little_more(pairs):
    for folder in pairs:
        model = load_run(folder).model
        state = {value.data_ptr(): value for value in model.state_dict().values()}
        numbers = sum(value.numel() * value.element_size() for value in state.values())
        assert numbers <= file_bytes(model) < numbers + 1000 * (1 + len(model.state_dict()))


def test_neurons_that_are_gone_take_their_products_with_them(series):
    """Two operations a weight and token; all else computes what it did."""
    base, pruned = (load(Origin(folder, "trained"), CPU) for folder in series)
    batch = sized(first(data_of(series[0])), base.spec, 2, 48)
    weights = sum(p.numel() for p in base.task.parameters()) - sum(p.numel() for p in pruned.task.parameters())
    assert weights == 3 * 16 * 8
    assert flops(base, batch) - flops(pruned, batch) == 2 * weights * _seen(base, batch)


def _seen(side, batch):
    """How many tokens a feed-forward part is given."""
    found = []
    think = next(module for name, module in side.task.named_modules() if name.endswith("think"))
    handle = think.register_forward_hook(lambda module, given, out: found.append(out.shape))
    side.forward(batch)
    handle.remove()
    return sum(shape[0] * shape[1] for shape in found)


def test_what_is_left_is_what_was_kept(pairs):
    found = left(load_run(pairs[1]).model)
    assert found["encoder.blocks.0.read_own"] == {"kind": "heads", "of": 2, "left": 1, "heads": [1]}
    assert found["decoder.blocks.0.read_own"] == {"kind": "heads", "of": 2, "left": None, "heads": None}
    assert found["decoder.blocks.0.think"] == {"kind": "neurons", "of": 16, "left": 4}


# ---------------------------------------------------------------- batches and turns
def test_batches_have_the_rows_and_lengths_that_are_asked_for(pairs, series):
    spec, own = load(Origin(pairs[0], "trained"), CPU).spec, first(data_of(pairs[0]))
    batch = sized(own, spec, 3, 7)
    assert batch.source.shape == batch.target.shape == (3, 7)
    assert tokens(batch) == 42
    assert batch.source.min() > max(spec.pad, spec.bos, spec.eos, spec.sep)
    assert batch.source.unique().numel() > 5
    assert torch.equal(batch.source, sized(own, spec, 3, 7).source)
    assert lengths_of(own, spec) == sorted({spec.longest // 4, spec.longest // 2, spec.longest})
    windows, about = first(data_of(series[0])), load(Origin(series[0], "trained"), CPU).spec
    assert lengths_of(windows, about) == [48]
    one = sized(windows, about, 5, 48)
    assert len(one) == 5
    assert tokens(one) == one.history.numel() == 5 * 48 * about.channels


def test_each_side_takes_turns_at_being_first():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in ("base", "pruned")}
    played = in_turns(calls, lambda call: call() or Taken(1.0, 1.0), 6, 1e9)
    assert len(played) == 6
    timed = order[2 * WARM :]
    assert timed[:4] == ["base", "pruned", "pruned", "base"]
    assert timed.count("base") == timed.count("pruned") == 6


def test_time_that_is_up_ends_the_turns_but_not_before_a_few():
    assert len(in_turns({"base": lambda: None}, lambda call: Taken(1.0, 1.0), 50, 0.0)) == LEAST


def test_speed_ups_are_those_of_each_round():
    played = [
        {"base": Taken(2.0, 3.0), "pruned": Taken(1.0, 1.0)},
        {"base": Taken(40.0, 3.0), "pruned": Taken(10.0, 1.0)},
        {"base": Taken(3.0, 3.0), "pruned": Taken(1.0, 1.0)},
    ]
    found = compared(played, {"base": 60, "pruned": 60})
    assert found["speed_up_wall"] == [3.0, 2.0, 4.0]
    assert found["speed_up_cpu"] == [3.0, 3.0, 3.0]
    assert found["base"]["tokens_per_second"] == 20
    assert found["rounds"] == 3
    assert compared(played, {"base": 60, "pruned": 30})["speed_up_wall"][0] == 1.5


def test_a_machine_that_others_use_is_told():
    row = {"base": {"wall": 3.0, "cpu": 1.0}, "pruned": {"wall": 2.0, "cpu": 2.0}}
    assert waited([row]) == 3.0


# ---------------------------------------------------------------- quality
@pytest.mark.parametrize(
    ("metric", "base", "now", "loss"),
    [
        ("test/bleu", 20.0, 19.0, 0.05),
        ("test/test_2016/bleu", 20.0, 21.0, -0.05),
        ("test/mse", 0.5, 0.6, 0.2),
        ("test/f1_micro", 0.0, 0.5, None),
    ],
)
def test_losses_are_relative_and_know_their_direction(metric, base, now, loss):
    assert quality.loss(metric, base, now) == (None if loss is None else pytest.approx(loss))


def test_metrics_that_nobody_knows_are_told_in_one_sentence():
    with pytest.raises(UserError, match="more of it is better or less"):
        quality.mode_of("test/threshold")
    with pytest.raises(UserError, match="write test/bleu"):
        quality.value({"test": {"bleu": 1.0}}, "bleu")
    assert quality.value({"test": {}}, "test/bleu") is None


def test_qualities_that_both_have_are_compared_of_validations_where_nothing_was_tested():
    one = {"test": {}, "val": {"mse": 0.5, "threshold": 1.0}}
    (row,) = quality.compared(one, {"test": {"mse": 9.0}, "val": {"mse": 0.25, "mae": 1.0}})
    assert (row["metric"], row["loss"], row["change"]) == ("val/mse", -0.5, -0.5)
    assert (worse(0.0125), worse(-0.5), worse(0.0), worse(None)) == ("1.25% worse", "50.00% better", "the same", "—")


# ---------------------------------------------------------------- the base
def test_the_base_is_what_a_run_began_with(series, pairs, tmp_path):
    assert base_of(series[1], None) == Origin(series[0], "trained")
    assert base_of(pairs[1], None) == Origin(pairs[0], "trained")
    assert base_of(pairs[1], series[0]) == Origin(series[0], "trained")
    with pytest.raises(UserError, match="was not pruned"):
        base_of(pairs[0], None)
    configure(scored(tmp_path / "lost"), ckpt_path="/nowhere/run/checkpoints/best.ckpt")
    with pytest.raises(UserError, match=r"^/nowhere/run, .* is gone: name an unpruned run by against=FOLDER"):
        base_of(tmp_path / "lost", None)


def test_runs_of_other_data_are_not_compared(series, pairs):
    with pytest.raises(UserError, match="reads other data"):
        report(pairs[1], series[0], processes=0)


def test_a_run_that_has_not_finished_is_not_compared(series, tmp_path):
    configure(scored(tmp_path / "run", status="interrupted"), ckpt_path=str(series[0] / "checkpoints" / "best.ckpt"))
    with pytest.raises(UserError, match="is interrupted, not finished"):
        report(tmp_path / "run")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("batches=0", "whole numbers"),
        ("lengths=a", "whole numbers"),
        ("rounds=0", "1 or more"),
        ("run=gone", "no such"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(argument, words, series, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        measure(["pruned", *([] if argument.startswith("run=") else [f"run={series[1]}"]), argument])


# ---------------------------------------------------------------- the report
def test_a_report_of_a_translator_holds_together(pairs, tmp_path, capsys):
    found = report(pairs[1], None, 2, [4, 6], (1, 2), seconds=0.0, device="cpu", processes=0)
    base, pruned = (load_run(folder).model for folder in pairs)
    assert found["parameters"]["base"] == parameters(base)
    assert found["parameters"]["left"]["whole"] == parameters(pruned)["whole"] / parameters(base)["whole"]
    files = [file_bytes(model) for model in (base, pruned)]
    assert found["ratios"]["file_to_parameters"] == files[1] / files[0] / found["parameters"]["left"]["whole"]
    assert [(row["batch"], row["length"]) for row in found["speed"]] == [(1, 4), (2, 4), (1, 6), (2, 6)]
    for row in found["speed"]:
        assert row["predicted"] == row["flops"]["base"] / row["flops"]["pruned"] > 1
        assert row["of_predicted_cpu"] == row["speed_up_cpu"][0] / row["predicted"]
        assert row["tokens"] == 2 * row["batch"] * row["length"]
    ratios = [row["of_predicted_wall"] for row in found["speed"]]
    assert found["ratios"]["speed_up_to_predicted"]["wall"]["most"] == max(ratios)
    assert found["writing"]["sentences"] == 32
    assert found["quality"]["rows"][0]["metric"] == "test/bleu"
    assert found["quality"]["rows"][0]["loss"] == pytest.approx(0.01)
    publish(found, tmp_path)
    assert json.loads((tmp_path / "pruning.json").read_text())["left"] == found["left"]
    text = (tmp_path / "pruning.md").read_text()
    assert "1.00% worse" in text
    assert "| 2 × 6 |" in text
    assert (tmp_path / "figures" / "kept.png").read_bytes().startswith(b"\x89PNG")
    assert "1.00% worse" in capsys.readouterr().out


def test_a_run_that_was_pruned_while_it_trained_stands_beside_a_whole_model_of_its_config(tmp_path):
    folder = made(tmp_path / "run", "timeseries", "encoder_only", left=HALF, mse=0.5)
    found = report(folder, None, 1, None, (1,), seconds=0.0, device="cpu", processes=0)
    assert found["base_weights"] == "drawn"
    assert found["writing"] is None
    assert found["quality"]["rows"] == []
    assert "no trained whole model" in found["quality"]["why"]
    assert found["parameters"]["left"]["prunable"] < 0.6


def test_memory_is_told_in_bytes(series):
    batch = pickle.dumps(first(data_of(series[0])))
    assert peak(Origin(series[0], "trained"), batch, "cpu", 1) >= 0


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(series):
    sides = {
        name: load(Origin(folder, "trained"), CPU) for name, folder in zip(("base", "pruned"), series, strict=True)
    }
    found = peaks(sides, first(data_of(series[0])), 1)
    assert all(0 < taken < 1 << 30 for taken in found.values())


def test_the_figure_has_a_row_for_each_layer_and_says_what_is_gone(pairs):
    picture = kept(left(load_run(pairs[1]).model))
    assert len(picture.axes) == 3
    words = [text.get_text() for axes in picture.axes for text in axes.texts]
    assert words.count("sublayer gone") == 1
    assert words.count("1 of 2") == 2
    assert words.count("4 of 16") == 2
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["encoder 0", "decoder 0"]
