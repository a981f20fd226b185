"""Weights as safetensors: back as they were, without anything that trains, and nothing of a stranger's is run."""

import json
import subprocess
import sys

import command
import pytest
import torch
from cells import CELLS
from exported import run, said
from torch import nn

from manyheads.errors import UserError
from manyheads.export import formats, inputs, load, loader
from manyheads.export.content import CONFIG
from manyheads.export.entries import entry
from manyheads.export.plain import make


def written(made, folder, int8=False):
    """The folder of an export with format=safetensors."""
    content = said(made)
    content |= formats.write_weights(made.model, content, folder)
    content |= formats.write_int8(made.model, folder) if int8 else {}
    (folder / CONFIG).write_text(json.dumps(content))
    return folder


def asked(made):
    """A question with padded rows."""
    own = entry(made.model)
    return inputs.draw(own, made.spec, inputs.sizes(own, made.spec)[1], seed=3)


@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_a_pruned_model_comes_back_as_it_was(kind, shape, tmp_path):
    made = run(kind, shape)
    found = load(written(made, tmp_path))
    assert sum(x.numel() for x in found.parameters()) == sum(x.numel() for x in made.model.parameters())
    for name, value in made.model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    question = asked(made)
    assert torch.equal(entry(found)(*question), entry(made.model)(*question))


@pytest.mark.parametrize(
    "more",
    [
        ("attention=auto", "attention.allow_approximate=false"),
        ("attention=performer", "position=none"),
        ("attention=bigbird", "attention.pattern.block=4", "position=alibi"),
        ("attention=gqa", "model/block=vaswani2017", "position=learned"),
    ],
)
def test_every_kind_of_attention_comes_back(more, tmp_path):
    made = run("translation", "decoder_only", *more)
    found, question = load(written(made, tmp_path)), asked(made)
    assert torch.equal(entry(found)(*question), entry(made.model)(*question))


def test_layers_of_several_attentions_come_back(tmp_path):
    more = ("model.encoder_layers=2", "model.decoder_layers=2", "layers_attention=[sliding_window,linear]")
    made = run("translation", "encoder_decoder", *more, "cross_attention=dense")
    found, question = load(written(made, tmp_path)), asked(made)
    assert torch.equal(entry(found)(*question), entry(made.model)(*question))


def test_tied_tables_stand_in_the_file_once_and_stay_tied(tmp_path):
    made = run("translation", "encoder_decoder")
    found = load(written(made, tmp_path))
    assert json.loads((tmp_path / CONFIG).read_text())["weights"]["shared"]
    assert found.head.weight is found.embed_target.table.weight is found.embed_source.table.weight
    numbers = sum(4 * x.numel() for x in {id(x): x for x in made.model.parameters()}.values())
    assert (tmp_path / "model.safetensors").stat().st_size < numbers + 16_384  # its own table of contents


def test_int8_rounds_each_row_to_255_steps(tmp_path):
    made = run("translation", "encoder_decoder")
    whole, rounded = load(written(made, tmp_path, int8=True)), load(tmp_path, int8=True)
    name = "encoder.blocks.0.think.inner.down"
    exact, coarse = whole.get_submodule(name).weight, rounded.get_submodule(name).weight().dequantize()
    step = exact.abs().amax(1, keepdim=True) / 127.5
    assert ((exact - coarse).abs() <= 0.501 * step).all()
    assert not torch.equal(exact, coarse)
    question = asked(made)
    wanted, found = entry(whole)(*question), entry(rounded)(*question)
    assert 0 < (wanted - found).norm() / wanted.norm() < 0.1


@pytest.mark.parametrize("kind", ["clinical_long", "timeseries"])
def test_int8_serves_the_other_families(kind, tmp_path):
    made = run(kind, "encoder_only")
    rounded, question = load(written(made, tmp_path, int8=True), int8=True), asked(made)
    wanted, found = entry(made.model)(*question), entry(rounded)(*question)
    assert 0 < (wanted - found).norm() / wanted.norm() < 0.2


def test_loading_needs_nothing_that_trains(tmp_path):
    written(run("clinical_long", "encoder_only"), tmp_path, int8=True)
    code = (
        "import sys; from manyheads.export import load; "
        f"load({str(tmp_path)!r}); load({str(tmp_path)!r}, int8=True); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=command.environment())
    assert done.returncode == 0, done.stderr
    heavy = ("lightning", "pytorch_lightning", "hydra", "omegaconf", "datasets", "tokenizers", "torchmetrics", "pandas")
    assert "torch" in done.stdout
    assert not [name for name in heavy if f"'{name}'" in done.stdout]


@pytest.mark.parametrize("name", ["os.system", "manyheads.atomic.Path", "torch.nn.Module.forward", "manyheads.no.Such"])
def test_only_classes_of_manyheads_and_torch_nn_are_made(name):
    with pytest.raises(UserError, match="only be made of classes"):
        make({"_target_": "torch.nn.Sequential", "modules": [{"_target_": name}]})


def test_what_is_made_is_what_the_values_say():
    made = make({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2, "bias": False})
    assert isinstance(made, nn.Linear)
    assert made.weight.shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "is no exported model"),
        ({"files": "onnx"}, "format=safetensors"),
        ({"spec": {}}, "is damaged"),
        ({"architecture": {}}, "no architecture"),
        ({"weights": {"shared": {"head.weight": "none"}}}, "is damaged"),
        ({"weights": None}, "another model"),
        ({"weights": {"shared": {"head.weight": []}}}, "another model"),
    ],
)
def test_damaged_folders_are_told_in_a_sentence(change, sentence, tmp_path):
    folder = written(run("language_model", "decoder_only"), tmp_path)
    content = json.loads((folder / CONFIG).read_text()) | change
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        load(folder)


@pytest.mark.parametrize(("key", "value"), [("dim", 0), ("heads", 0), ("layers", 0), ("hidden", -1), ("heads", -1)])
def test_sizes_of_no_model_are_told_in_a_sentence(key, value, tmp_path):
    folder = written(run("language_model", "decoder_only"), tmp_path)
    content = json.loads((folder / CONFIG).read_text())
    content["model"][key] = value
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is damaged|another model|must be"):
        load(folder)


@pytest.mark.parametrize("int8", [False, True])
def test_weights_for_which_there_is_no_place_are_refused(int8, tmp_path):
    folder = written(run("language_model", "decoder_only"), tmp_path, int8=True)
    content = json.loads((folder / CONFIG).read_text())
    next(iter(content["architecture"]["sublayers"].values()))["kept"] = None
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(UserError, match="another model"):
        load(folder, int8=int8)


def test_weights_of_another_model_are_refused(tmp_path):
    folder = written(run("language_model", "decoder_only", pruned=False), tmp_path)
    content = json.loads((folder / CONFIG).read_text())
    content["architecture"] = said(run("language_model", "decoder_only"))["architecture"]
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(UserError, match="another model"):
        loader.load(folder)
