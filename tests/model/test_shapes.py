"""Whole models, both blocks, all positions: who may know of whom."""

import pickle
from copy import deepcopy

import pytest
import torch
from tiny import (
    APART,
    FIRST_WORD,
    KINDS,
    VOCABULARY,
    WRITERS,
    beyond,
    decoder_only,
    encoder_decoder,
    encoder_only,
    grown,
    next_scores,
    pairs,
    words,
)
from torch import nn

from manyheads.errors import UserError

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
writers = pytest.mark.parametrize("writer", WRITERS)
same = {"rtol": 0, "atol": 1e-10}


def by_row(model: nn.Module, batch) -> list[torch.Tensor]:
    """The states before each word of each target."""
    states, labels = model.teach(*batch)
    *_, target, target_lengths = batch
    real = [target[b, 1:n] for b, n in enumerate(target_lengths)]
    assert torch.equal(labels, torch.cat(real))
    return list(states.split([len(row) for row in real]))


@kinds
@writers
def test_states_know_no_later_word_of_the_target(writer, kind):
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    source, source_lengths, target, target_lengths = batch
    before = by_row(model, batch)
    for now in range(1, 5):
        changed = target.clone()
        changed[:, now:] = FIRST_WORD + (changed[:, now:] - FIRST_WORD + 1) % (VOCABULARY - FIRST_WORD)
        after = by_row(model, (source, source_lengths, changed, target_lengths))
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new[:now], old[:now], **same)
            assert not torch.isclose(new[now:], old[now:]).all(-1).any()


@kinds
@writers
def test_states_know_no_padding(writer, kind):
    model = grown(WRITERS[writer](*kind))
    source, source_lengths, target, target_lengths = pairs()
    before, _ = model.teach(source, source_lengths, target, target_lengths)
    changed = beyond(source, source_lengths), source_lengths, beyond(target, target_lengths), target_lengths
    assert not torch.equal(changed[0], source)
    assert not torch.equal(changed[2], target)
    torch.testing.assert_close(model.teach(*changed)[0], before, **same)


@kinds
@writers
def test_states_know_every_word_of_the_source(writer, kind):
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    source, source_lengths, *_ = batch
    before = by_row(model, batch)
    for place in range(source.size(1)):
        changed = source.clone()
        changed[:, place] = FIRST_WORD + (changed[:, place] - FIRST_WORD + 1) % (VOCABULARY - FIRST_WORD)
        for b, (old, new) in enumerate(zip(before, by_row(model, (changed, *batch[1:])), strict=True)):
            assert (place < source_lengths[b]) != torch.allclose(old, new, **same)


@kinds
@writers
def test_rows_do_not_know_each_other(writer, kind):
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    other = [part.clone() for part in batch]
    other[0][1], other[2][1] = words(7), words(6)
    other[1][1], other[3][1] = 6, 4
    before, after = by_row(model, batch), by_row(model, other)
    for b in (0, 2, 3):
        torch.testing.assert_close(after[b], before[b], **same)


@kinds
@writers
def test_a_batch_equals_its_sentences_one_by_one(writer, kind):
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    source, source_lengths, target, target_lengths = batch
    for b, row in enumerate(by_row(model, batch)):
        n, m = int(source_lengths[b]), int(target_lengths[b])
        alone = source[b : b + 1, :n], source_lengths[b : b + 1], target[b : b + 1, :m], target_lengths[b : b + 1]
        torch.testing.assert_close(model.teach(*alone)[0], row, **same)


@kinds
@writers
def test_what_is_taught_is_what_is_asked_when_writing(writer, kind):
    """The states under a teacher are those of a plain pass over source and history."""
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    source, source_lengths, target, _ = batch
    for b, row in enumerate(by_row(model, batch)):
        for t, state in enumerate(row):
            scores = next_scores(model, source[b, : source_lengths[b]], target[b, 1 : 1 + t].tolist())
            torch.testing.assert_close(model.head(state), scores, **same)


@kinds
def test_an_encoder_knows_both_sides_and_no_padding(kind):
    model, (tokens, lengths, *_) = grown(encoder_only(*kind)), pairs()
    before = model(tokens, lengths)
    after = model(beyond(tokens, lengths), lengths)
    for b, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(after[b, :n], before[b, :n], **same)
        torch.testing.assert_close(model(tokens[b : b + 1, :n], None)[0], before[b, :n], **same)
    for place in (0, 3, 6):
        changed = tokens.clone()
        changed[0, place] = FIRST_WORD + (changed[0, place] - FIRST_WORD + 1) % (VOCABULARY - FIRST_WORD)
        assert not torch.isclose(model(changed, lengths)[0], before[0]).all(-1).any()


@kinds
@writers
def test_order_matters_exactly_where_positions_are(writer, kind):
    """Two swapped words of the source change the states, but for an encoder without positions."""
    model, batch = grown(WRITERS[writer](*kind)), pairs()
    swapped = batch[0].clone()
    swapped[:, [0, 2]] = batch[0][:, [2, 0]]
    before, after = by_row(model, batch)[0], by_row(model, (swapped, *batch[1:]))[0]
    blind_to_order = writer == "encoder_decoder" and kind[0] == "none"
    assert torch.allclose(before, after, **same) == blind_to_order


@writers
@pytest.mark.parametrize("block", ["modern", "vaswani2017"])
@pytest.mark.parametrize("tie", [True, False])
def test_every_weight_gets_a_gradient(writer, block, tie):
    model = WRITERS[writer]("learned", block, 2, tie=tie).double()
    states, labels = model.teach(*pairs())
    model.head.loss(states, labels, 0.1).loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.ne(0).any(), name


def test_tied_tables_are_one():
    joint, apart = encoder_decoder(), encoder_decoder(spec=APART)
    for model in (joint, apart):
        assert model.head.weight is model.embed_target.table.weight
    assert joint.embed_source is joint.embed_target
    assert apart.embed_source.table.weight is not apart.embed_target.table.weight
    assert len(apart.embed_source.table.weight) == APART.source_vocabulary
    one = decoder_only()
    assert one.head.weight is one.embed.table.weight


def test_untied_tables_are_three():
    model = encoder_decoder(tie=False)
    tables = {
        model.head.weight.data_ptr(),
        *(e.table.weight.data_ptr() for e in (model.embed_source, model.embed_target)),
    }
    assert len(tables) == 3


def test_ties_survive_saving(tmp_path):
    model, other = grown(encoder_decoder()), grown(encoder_decoder())
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.head.weight is other.embed_target.table.weight
    torch.testing.assert_close(other.teach(*(batch := pairs()))[0], model.teach(*batch)[0], rtol=0, atol=0)


@writers
def test_a_copy_is_the_same_model_with_weights_of_its_own(writer):
    """Averages of weights, and whatever else keeps a second model, copy it whole."""
    model, batch = grown(WRITERS[writer]()), pairs()
    model.teach(*batch)
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copy.teach(*batch)[0], model.teach(*batch)[0], rtol=0, atol=0)
        assert not {p.data_ptr() for p in copy.parameters()} & {p.data_ptr() for p in model.parameters()}
        tied = copy.embed_target if writer == "encoder_decoder" else copy.embed
        assert copy.head.weight is tied.table.weight


def test_one_stream_needs_one_table():
    with pytest.raises(UserError, match=r"data\.joint=true"):
        decoder_only(spec=APART)


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match=r"model\.dim=16 .* model\.heads=3; choose heads from 1, 2, 4"):
        encoder_decoder(heads=3)


def test_a_head_size_may_be_chosen_freely():
    model = encoder_decoder("rope", "modern", 1, heads=3, head_dim=10)
    assert model.teach(*pairs())[0].size(-1) == 16


@writers
def test_dropout_acts_in_training_alone(writer):
    model, batch = WRITERS[writer](dropout=0.5).double(), pairs()
    first, second = (model.train().teach(*batch)[0] for _ in range(2))
    assert not torch.allclose(first, second)
    first, second = (model.eval().teach(*batch)[0] for _ in range(2))
    assert torch.equal(first, second)


@writers
def test_half_of_the_numbers_is_enough(writer):
    """Under bf16 autocast, states stay close to those of fp32."""
    model, batch = WRITERS[writer]().eval(), pairs()
    exact, _ = model.teach(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = model.teach(*batch)
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.slow
@writers
def test_compiles_whole(writer):
    """The forward pass is one graph: whatever would break it would slow down training in silence."""
    model, (source, source_lengths, target, _) = grown(WRITERS[writer]()).train(), pairs()
    inputs = (source, source_lengths, target) if writer == "encoder_decoder" else (target,)
    whole = torch.compile(model, fullgraph=True, backend="eager")
    found, expected = whole(*inputs), model(*inputs)
    torch.testing.assert_close(found, expected, **same)
    found, expected = (torch.autograd.grad(x.square().sum(), list(model.parameters())) for x in (found, expected))
    torch.testing.assert_close(found, expected)
