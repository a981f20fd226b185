"""Graphs for torch alone and for ONNX: they answer as the model does, for rows and lengths they were not made with."""

import importlib

import pytest
import torch
from cells import ATTENTIONS, CELLS, MET
from exported import run, said

from manyheads.errors import UserError
from manyheads.export import formats, inputs, parity
from manyheads.export.asked import NEEDED
from manyheads.export.entries import entry

NARROW = {
    "sliding_window": ("attention.pattern.width=3",),
    "bigbird": ("attention.pattern.block=4", "attention.pattern.window=0", "attention.pattern.random=1"),
}


def samples(made, seed=5):
    own = entry(made.model)
    return [inputs.draw(own, made.spec, size, seed + at) for at, size in enumerate(inputs.sizes(own, made.spec))]


def same(made, folder, write=formats.write_graph):
    """Writes it, and compares it with the model on every size; what its config says."""
    asked = samples(made)
    content, answer = write(said(made), made.model, asked[0], folder)
    found = parity.compare(entry(made.model), answer, asked)
    assert found.good, found
    return content["graph"], answer


@pytest.mark.parametrize(
    ("kind", "shape", "free"),
    [
        ("translation", "encoder_decoder", {"source": ["batch", "length"], "target": ["batch", "written"]}),
        ("timeseries", "encoder_only", {"history": ["batch", 24, 2], "known": ["batch", 36, 2]}),
    ],
)
def test_a_graph_of_torch_answers_as_the_pruned_model(kind, shape, free, tmp_path):
    graph, _ = same(run(kind, shape), tmp_path)
    assert free.items() <= graph["inputs"].items()


def test_torch_alone_loads_a_graph(tmp_path):
    made = run("language_model", "decoder_only", "attention=linear", "position=none")
    graph, _ = same(made, tmp_path)
    assert graph["kernels"] == {"linear": "reference"}
    tokens = torch.randint(5, 37, (4, 17))
    found = torch.export.load(tmp_path / "model.pt2").module()(tokens)
    torch.testing.assert_close(found, made.model.head(made.model(tokens)), rtol=1e-4, atol=1e-5)


def test_what_stands_behind_a_row_does_not_count():
    made = run("translation", "encoder_decoder")
    own, (source, lengths, target) = entry(made.model), samples(made)[0]
    other = torch.where(torch.arange(source.size(1)) >= lengths.unsqueeze(1), 36, source)
    assert not torch.equal(source, other)
    torch.testing.assert_close(own(source, lengths, target), own(other, lengths, target))


def test_a_document_entry_answers_as_each_document_alone():
    made = run("clinical_long", "encoder_only")
    own, (ids, lengths, document, place) = entry(made.model), samples(made)[0]
    found = own(ids, lengths, document, place)
    for at in range(int(document[-1]) + 1):
        mine = document == at
        alone = own(ids[mine], lengths[mine], torch.zeros_like(document[mine]), place[mine])
        torch.testing.assert_close(found[at : at + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_missing_value_is_nan_whatever_the_others_are():
    made = run("timeseries", "encoder_only")
    own, (history, known) = entry(made.model), samples(made)[0]
    assert history.isnan().any()
    seen = torch.nan_to_num(history, nan=0.0)
    assert own(history, known).isfinite().all()
    assert not torch.allclose(own(history, known), own(seen, known))


@pytest.mark.parametrize("wrong", [float("nan"), 0.01])
def test_other_answers_are_refused(wrong):
    with pytest.raises(UserError, match="nothing was written"):
        parity.refuse_bad(parity.compare(lambda x: x, lambda x: x + wrong, [(torch.ones(3),)]), "It")
    parity.refuse_bad(parity.compare(lambda x: x, lambda x: x + 1e-6, [(torch.ones(3),)]), "It")


def test_another_shape_is_refused():
    with pytest.raises(UserError, match="shape"):
        parity.compare(lambda x: x, lambda x: x[:1], [(torch.ones(3),)])


def onnx():
    for name in NEEDED:
        pytest.importorskip(name, reason=f"format=onnx needs {name}: pip install manyheads[onnx]")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape", "attention"), MET)
def test_every_attention_has_a_graph_in_a_third_of_the_cells(kind, shape, attention, tmp_path):
    same(run(kind, shape, f"attention={attention}", *NARROW.get(attention, ())), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("position", ["alibi", "learned", "none", "sinusoidal"])
def test_every_position_has_a_graph(position, tmp_path):
    same(run("translation", "encoder_decoder", f"position={position}", "model/block=vaswani2017"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_has_an_onnx_file(kind, shape, tmp_path):
    onnx()
    same(run(kind, shape), tmp_path, formats.write_onnx)
    importlib.import_module("onnx").checker.check_model(tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_has_an_onnx_file(attention, tmp_path):
    onnx()
    made = run("clinical_long", "encoder_only", f"attention={attention}", *NARROW.get(attention, ()))
    same(made, tmp_path, formats.write_onnx)
