"""The checks know documents, series and packed text: each finds what is wrong with a family in its own way."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import manyheads.build
from manyheads import preflight
from manyheads.attention.softmax import Softmax
from manyheads.config.compose import compose
from manyheads.data.base import DataSpec, DocumentSpec, SeriesSpec, TokenSpec
from manyheads.data.documents.batch import DocumentBatch
from manyheads.data.series.batch import SeriesBatch
from manyheads.model.aggregate import AGGREGATES, Attention
from manyheads.model.forecaster import Forecaster
from manyheads.model.pool import POOLS, Mean
from manyheads.model.shapes import DecoderOnly
from manyheads.model.ways import Stepwise
from manyheads.preflight.subjects.documents import Chunks
from manyheads.preflight.subjects.series import Windows

CPU = torch.device("cpu")
SHAPES = ("encoder_only", "decoder_only", "encoder_decoder")
ATTENTIONS = ("sliding_window", "linear", *(pytest.param(a, marks=pytest.mark.slow) for a in ("bigbird", "performer")))
TINY = ("model.dim=16", "model.heads=4", "model.hidden=24")
WORDS = {"source_vocabulary": 60, "target_vocabulary": 60, "joint": True, "pad": 0, "bos": 1, "eos": 2, "sep": 4}
TEXT = TokenSpec(kind="language_model", longest=32, **WORDS)
HOW = {"multilabel": False, "pool": "attention", "aggregate": "attention", "layers": 1, "most": 9}
BESIDE = {"bag_of_words": False, "word_dropout": 0.0}
DOCUMENTS = DocumentSpec(kind="clinical_long", longest=32, labels=("a", "b", "c"), **WORDS, **HOW, **BESIDE)
STEPS = {"history": 22, "horizon": 11, "patch": 4, "stride": 2}
SERIES = SeriesSpec(kind="timeseries", longest=12, channels=3, known=2, quantiles=(0.1, 0.5, 0.9), **STEPS)
shapes = pytest.mark.parametrize("shape", SHAPES)


def build(spec: DataSpec, shape: str, *overrides: str) -> nn.Module:
    sizes = ("encoder_layers", "decoder_layers") if shape == "encoder_decoder" else ("layers",)
    layers = [f"model.{size}=2" for size in sizes]
    return manyheads.build.model(compose([f"model={shape}", *TINY, *layers, *overrides]), spec)


def failed(model: nn.Module, precision: str | int = 32) -> dict[str, str]:
    """Sentences of the checks that did not pass, by name."""
    return {name: words for name, ok, words in preflight.examine(model, precision, CPU) if not ok}


def turned(model: nn.Module, part: str, kind: type) -> nn.Module:
    """The model with a part that is of a broken kind."""
    model.get_submodule(part).__class__ = kind
    return model


# --- sound models --------------------------------------------------------------------------------------------------


def test_samples_have_what_batches_have():
    for sample, batch in ((Chunks, DocumentBatch), (Windows, SeriesBatch)):
        assert set(sample.__annotations__) <= set(batch.__annotations__) | {"index"}


@shapes
@pytest.mark.parametrize("spec", [DOCUMENTS, SERIES], ids=lambda spec: spec.kind)
def test_all_checks_are_made(spec, shape):
    found = preflight.examine(build(spec, shape), 32, CPU)
    names = ["heads", "future", "padding", "rows", "gradients", "documents", "scores", "kernels"]
    assert [finding.name for finding in found] == names
    assert all(finding.ok for finding in found), found


@shapes
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("spec", [DOCUMENTS, SERIES], ids=lambda spec: spec.kind)
def test_sound_models_pass_with_any_attention(spec, shape, attention, tmp_path):
    assert failed(build(spec, shape, f"attention={attention}", f"paths.cache={tmp_path}")) == {}


@pytest.mark.parametrize(("aggregate", "shape"), list(zip(AGGREGATES, (*SHAPES, *SHAPES), strict=False)))
def test_sound_documents_pass_however_they_are_put_together(aggregate, shape):
    assert failed(build(replace(DOCUMENTS, aggregate=aggregate, multilabel=True), shape)) == {}


@pytest.mark.parametrize("pool", POOLS)
def test_sound_documents_pass_however_they_are_pooled(pool):
    assert failed(build(replace(DOCUMENTS, pool=pool, most=1), "encoder_only")) == {}


@shapes
def test_sound_documents_pass_with_a_bag_of_words(shape):
    assert failed(build(replace(DOCUMENTS, bag_of_words=True), shape)) == {}


@shapes
@pytest.mark.parametrize(
    "changes",
    [{"known": 0, "quantiles": ()}, {"channels": 1, "history": 24, "horizon": 12}, {"history": 7, "horizon": 1}],
    ids=str,
)
def test_sound_forecasts_pass_whatever_is_asked_for(shape, changes):
    assert failed(build(replace(SERIES, **changes), shape, "position=learned", "position.limit=14")) == {}


@pytest.mark.parametrize(
    ("spec", "shape"), [(DOCUMENTS, "encoder_only"), (SERIES, "decoder_only")], ids=("documents", "series")
)
def test_sound_models_pass_in_half_precision(spec, shape):
    assert failed(build(spec, shape, "model/block=vaswani2017"), "bf16-mixed") == {}


# --- broken models -------------------------------------------------------------------------------------------------


class Deaf(Softmax):
    """Padding is read."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, replace(mask, lengths=None), bias)


class Sociable(Softmax):
    """Rows see each other."""

    def attend(self, q, k, v, mask, bias=None):
        out = super().attend(q, k, v, mask, bias)
        return out + 0.1 * out.mean(0, keepdim=True)


class Packless(Softmax):
    """Documents are one text."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, replace(mask, documents=None), bias)


class Careless(Mean):
    """Padding counts."""

    def forward(self, states, lengths):
        return states.mean(1)


class Gossip(Attention):
    """Chunks are weighed over the whole batch."""

    def forward(self, vectors, place, chunks):
        read = super().forward(vectors, place, chunks)
        return replace(read, scores=read.scores + read.chunk_scores.mean(0))


OWN = "blocks.1.read_own.inner"


@pytest.mark.parametrize("shape", ["encoder_only", "encoder_decoder"])
def test_documents_whose_padding_is_read(shape):
    layer = f"body.encoder.{OWN}"
    found = failed(turned(build(DOCUMENTS, shape), f"{layer}.attention", Deaf))
    assert layer in found["padding"]


def test_a_pool_that_reads_padding():
    found = failed(turned(build(replace(DOCUMENTS, pool="mean"), "encoder_only"), "pool", Careless))
    assert "the score reads padding" in found["padding"]
    assert "the score gives row" in found["rows"]


@shapes
def test_documents_that_see_each_other(shape):
    layer = f"body.{'decoder' if shape == 'decoder_only' else 'encoder'}.{OWN}"
    assert layer in failed(turned(build(DOCUMENTS, shape), f"{layer}.attention", Sociable))["rows"]
    assert "the score gives row 0" in failed(turned(build(DOCUMENTS, shape), "aggregate", Gossip))["rows"]


@shapes
def test_a_tower_that_reads_all_documents_as_one(shape):
    layer = "aggregate.tower.blocks.0.read_own.inner"
    model = turned(build(replace(DOCUMENTS, aggregate="hierarchical"), shape), f"{layer}.attention", Packless)
    found = failed(model)
    assert layer in found["rows"]
    assert layer in found["documents"]


@pytest.mark.parametrize("spec", [DOCUMENTS, SERIES], ids=lambda spec: spec.kind)
def test_a_parameter_that_nothing_reads(spec):
    model = build(spec, "encoder_only")
    model.forgotten = nn.Parameter(torch.randn(3))
    assert "forgotten" in failed(model)["gradients"]


def test_a_query_that_learns_nothing_is_pardoned_where_there_is_nobody_to_ask_alone():
    model = build(DOCUMENTS, "encoder_decoder")
    model.body.decoder.blocks[0].read_context.inner.q.weight.data.zero_()
    model.body.decoder.blocks[0].read_context.inner.out.weight.data.zero_()
    assert "read_context" in failed(model)["gradients"]


class Prophet(Forecaster):
    """Looks at what is to come."""

    def forward(self, batch):
        coming = (batch.future * batch.future_seen).mean((1, 2), keepdim=True)
        return super().forward(batch) + 0.1 * coming.unsqueeze(-1)


class Hurried(Stepwise):
    """Each patch is made of itself."""

    def teach(self, body, stream):
        return super().teach(body, replace(stream, values=stream.values.roll(-self.patch, 1)))


class Credulous(Forecaster):
    """Takes what stands where nothing is for a value."""

    def forward(self, batch):
        return super().forward(replace(batch, history_seen=torch.ones_like(batch.history_seen)))


class Crowd(Forecaster):
    """Windows share a level."""

    def forward(self, batch):
        return super().forward(batch) + (batch.history * batch.history_seen).mean()


@shapes
@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (Prophet, "future", "the forecast sees the future: later values"),
        (Credulous, "padding", "reads what stands where values are missing"),
        (Crowd, "rows", "the forecast gives row 0"),
    ],
)
def test_forecasters(shape, kind, check, words):
    model = build(SERIES, shape)
    model.__class__ = kind
    found = failed(model)
    assert set(found) == {check}
    assert words in found[check]


def test_a_lesson_that_tells_what_it_asks():
    found = failed(turned(build(SERIES, "decoder_only"), "way", Hurried))
    assert "body.decoder" in found["future"]


class OneText(DecoderOnly):
    """Forgets that there are several documents."""

    def read(self, x, documents=None):
        return super().read(x)


def test_text_whose_documents_are_read_as_one():
    model = build(TEXT, "decoder_only")
    assert failed(model) == {}
    model.__class__ = OneText
    assert set(failed(model)) == {"documents"}
    assert "decoder.blocks.0.read_own.inner looks across packed documents" in failed(model)["documents"]
