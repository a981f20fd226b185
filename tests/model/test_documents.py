"""Whole models of documents, every body: a document knows no padding and no other document."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from tiny import BOS, EOS, PAD, SEP, VOCABULARY, decoder_only, encoder_decoder, encoder_only, grown, words
from torch import nn

from manyheads.attention.patterns.window import Window
from manyheads.attention.softmax import Softmax
from manyheads.data.base import DocumentSpec
from manyheads.data.documents.batch import DocumentBatch
from manyheads.errors import UserError
from manyheads.model.aggregate import AGGREGATES
from manyheads.model.documents import DocumentModel
from manyheads.model.pool import POOLS

SPEC = DocumentSpec(
    kind="clinical_long",
    longest=32,
    **{"source_vocabulary": VOCABULARY, "target_vocabulary": VOCABULARY, "joint": True},
    **{"pad": PAD, "bos": BOS, "eos": EOS, "sep": SEP},
    **{"labels": ("a", "b", "c"), "multilabel": False, "pool": "attention", "aggregate": "mean"},
    layers=2,
    most=9,
    bag_of_words=False,
    word_dropout=0.0,
)
SHAPES = {"encoder_only": encoder_only, "decoder_only": decoder_only, "encoder_decoder": encoder_decoder}
bodies = pytest.mark.parametrize("body", SHAPES)
aggregates = pytest.mark.parametrize("aggregate", AGGREGATES)
same = {"rtol": 0, "atol": 1e-10}


def made(body: str = "encoder_only", changes: dict | None = None, **spec) -> DocumentModel:
    def shape(spec: DocumentSpec) -> nn.Module:
        return SHAPES[body](spec=spec, **(changes or {}))

    return DocumentModel(shape, replace(SPEC, **spec))


def batch() -> DocumentBatch:
    """Three documents of 3, 1 and 4 chunks; noise behind their ends."""
    document, place = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2]), torch.tensor([0, 1, 2, 0, 1, 2, 4, 7])
    ids, lengths = words(8, 9), torch.tensor([9, 9, 4, 2, 9, 7, 9, 1])
    ids[:, 0] = BOS
    facts = {"index": torch.arange(3), "tokens": int(lengths.sum()), "labels": torch.tensor([0, 2, 1])}
    return DocumentBatch(**facts, ids=ids, lengths=lengths, document=document, place=place)


def only(whole: DocumentBatch, d: int) -> DocumentBatch:
    """One document, without the padding that others made necessary."""
    at = whole.document == d
    lengths = whole.lengths[at]
    cut = {"ids": whole.ids[at, : lengths.max()], "lengths": lengths, "place": whole.place[at]}
    return replace(whole, index=whole.index[d : d + 1], document=whole.document[at] - d, **cut)


@bodies
@aggregates
@pytest.mark.parametrize("bag", [False, True])
def test_a_document_knows_no_other_and_no_padding(body, aggregate, bag):
    model, whole = grown(made(body, aggregate=aggregate, bag_of_words=bag)), batch()
    read, leaves = model(whole), list(model.parameters())
    weight = torch.randn_like(read.scores)
    parts = [model(only(whole, d)) for d in range(3)]
    torch.testing.assert_close(torch.cat([part.scores for part in parts]), read.scores, **same)
    torch.testing.assert_close(torch.cat([part.chunk_scores for part in parts]), read.chunk_scores, **same)
    torch.testing.assert_close(torch.cat([part.weights for part in parts]), read.weights, **same)
    together = torch.autograd.grad((read.scores * weight).sum(), leaves, allow_unused=True)
    apart = sum((part.scores * weight[d : d + 1]).sum() for d, part in enumerate(parts))
    for own, wanted in zip(together, torch.autograd.grad(apart, leaves, allow_unused=True), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pool", POOLS)
def test_padding_is_not_read(pool):
    model, whole = grown(made(pool=pool, aggregate="hierarchical")), batch()
    behind = torch.arange(9) >= whole.lengths.unsqueeze(1)
    noise = replace(whole, ids=torch.where(behind, words(8, 9), whole.ids))
    wider = replace(whole, ids=torch.cat((whole.ids, words(8, 3)), 1))
    for other in (noise, wider):
        torch.testing.assert_close(model(other).scores, model(whole).scores, **same)


@bodies
def test_every_real_token_matters_and_only_to_its_chunk(body):
    model, whole = grown(made(body)), batch()
    before = model.read(whole.ids, whole.lengths)
    for chunk, length in enumerate(whole.lengths.tolist()):
        for token in range(length):
            ids = whole.ids.clone()
            ids[chunk, token] = 5 + (ids[chunk, token] - 4) % (VOCABULARY - 5)
            changed = (model.read(ids, whole.lengths) != before).any(1)
            assert changed.tolist() == [c == chunk for c in range(8)]


def test_what_a_chunk_becomes_is_what_its_body_says():
    whole = batch()
    for row, n in enumerate(whole.lengths.tolist()):
        ids, one = whole.ids[row : row + 1, :n], torch.tensor([n])
        encoder, decoder, both = (grown(made(body, pool="mean")) for body in SHAPES)
        torch.testing.assert_close(encoder.read(ids, one), encoder.body(ids, one).mean(1), **same)
        torch.testing.assert_close(decoder.read(ids, one), decoder.body(ids)[:, -1], **same)
        torch.testing.assert_close(both.read(ids, one), both.body(ids, one, torch.tensor([[BOS]]))[:, 0], **same)


def idle(model: DocumentModel) -> list[str]:
    """Parameters that one batch teaches nothing."""
    nn.functional.cross_entropy(model(batch()).scores, batch().labels).backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@aggregates
@pytest.mark.parametrize("pool", POOLS)
def test_every_parameter_learns(aggregate, pool):
    assert idle(made(aggregate=aggregate, pool=pool)) == []


@aggregates
def test_every_parameter_of_a_decoder_learns(aggregate):
    assert idle(made("decoder_only", aggregate=aggregate)) == []
    # A single step has nobody else to look at: who looks does not matter.
    alone = [f"body.decoder.blocks.{layer}.read_own.inner.q.weight" for layer in (0, 1)]
    assert idle(made("encoder_decoder", aggregate=aggregate)) == alone


@bodies
def test_a_bag_of_words_and_the_body_decide_together(body):
    model, whole = grown(made(body, bag_of_words=True)), batch()
    read, bag = model(whole), model.bag(whole.ids, whole.lengths, whole.document, 3)
    model.bag = None
    alone = model(whole)
    torch.testing.assert_close(read.scores, (alone.scores + bag) / 2, **same)
    assert torch.equal(read.ways[0], alone.scores)
    assert torch.equal(read.ways[1], bag)
    assert alone.ways == ()
    torch.testing.assert_close(read.chunk_scores, alone.chunk_scores, **same)
    torch.testing.assert_close(read.weights, alone.weights, **same)


@bodies
def test_word_dropout_thins_what_the_body_reads_in_training_alone(body):
    model, whole = grown(made(body, bag_of_words=True, word_dropout=0.5)), batch()
    calm = model(whole)
    assert torch.equal(model(whole).scores, calm.scores)
    model.train()
    (one, straight), (other, again) = (model(whole).ways for _ in range(2))
    assert not torch.equal(one, other)
    assert torch.equal(straight, again)
    assert torch.equal(straight, calm.ways[1])


def test_every_parameter_learns_beside_a_bag_of_words():
    assert idle(made(bag_of_words=True)) == []


def test_whole_reading_has_no_attention_over_one_chunk():
    assert not hasattr(made(aggregate="attention", most=1).aggregate, "gate")
    assert hasattr(made(aggregate="attention", most=2).aggregate, "gate")


def test_chunks_see_each_other_whatever_tokens_see():
    blind = partial(Softmax, kv_heads=2, kernel="sdpa", dropout=0.0, strict=True, pattern=Window(0, 1, 0))
    model, whole = grown(made(aggregate="hierarchical", changes={"attention": blind})), batch()
    before, ids = model(whole).chunk_scores, whole.ids.clone()
    ids[4] = words(9)
    changed = (model(replace(whole, ids=ids)).chunk_scores != before).any(1)
    assert changed.tolist() == [d == 2 for d in whole.document]


@bodies
@aggregates
def test_half_precision_keeps_scores_wide(body, aggregate):
    model, whole = made(body, aggregate=aggregate).eval(), batch()
    wanted = model(whole)
    with torch.autocast("cpu", torch.bfloat16):
        read = model(whole)
    assert read.scores.dtype == read.chunk_scores.dtype == read.weights.dtype == torch.float32
    torch.testing.assert_close(read.scores, wanted.scores, rtol=0, atol=0.1)
    model.bfloat16()
    assert model(whole).scores.isfinite().all()


@pytest.mark.parametrize("aggregate", ["noisy_or", "hierarchical"])
def test_compiled_in_one_piece(aggregate):
    model, whole = grown(made(aggregate=aggregate, bag_of_words=True)), batch()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(whole).scores, model(whole).scores, **same)


@pytest.mark.parametrize(("key", "names"), [("pool", POOLS), ("aggregate", AGGREGATES)])
def test_an_unknown_choice_is_the_users_mistake(key, names):
    with pytest.raises(UserError, match=rf"^data\.{key}=median is not known; choose one of {', '.join(names)}\.$"):
        made(**{key: "median"})


@dataclass(frozen=True)
class Bare:
    """No more than the model asks for."""

    index: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor
    document: torch.Tensor
    place: torch.Tensor


def test_labels_are_not_needed_to_read():
    model, whole = grown(made()), batch()
    bare = Bare(whole.index, whole.ids, whole.lengths, whole.document, whole.place)
    assert torch.equal(model(bare).scores, model(replace(whole, labels=None)).scores)
