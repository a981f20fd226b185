"""Aggregates against their definitions, document by document."""

import math
from functools import partial

import pytest
import torch
from tiny import grown, parts
from torch import nn

from manyheads.attention.mask import Mask
from manyheads.model.aggregate import AGGREGATES, VOTES, Aggregate, Hierarchical, NoisyOr
from manyheads.model.init import start_weights
from manyheads.model.segments import Segments
from manyheads.model.stack import Stack

DIM, LABELS = 16, 3
OF = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])
PLACE = torch.tensor([0, 1, 2, 0, 0, 3, 1, 2, 5, 9])
SEGMENTS = Segments(OF, 4)
aggregates = pytest.mark.parametrize("name", AGGREGATES)
votes = pytest.mark.parametrize("name", ["mean", "max", "noisy_or"])
same = {"rtol": 0, "atol": 1e-10}


def made(name: str) -> tuple[Aggregate, torch.Tensor]:
    if name == "hierarchical":
        tower = Stack(layers=2, cross=False, **parts("none"))
        aggregate = Hierarchical(DIM, LABELS, tower)
    else:
        aggregate = VOTES[name](DIM, LABELS)
    # Not so far out that a definition in probabilities would round.
    return grown(aggregate), torch.randn(len(OF), DIM, dtype=torch.float64) / 2


def defined(aggregate: Aggregate, name: str, vectors: torch.Tensor, place: torch.Tensor) -> tuple:
    """Scores (k,), chunk scores (c, k) and weights (c,) of one document."""
    if name == "hierarchical":
        # The rates are fp32's: what they are is for the tests of positions to say.
        turns = place.unsqueeze(1) * aggregate.place.rates
        waves = torch.stack((turns.sin(), turns.cos()), -1).flatten(1)
        vectors = aggregate.tower((vectors + waves).unsqueeze(0), Mask(len(vectors), len(vectors)))[0]
    said = aggregate.classify(vectors)
    if name in ("attention", "hierarchical"):
        hidden = aggregate.content(vectors).tanh() * aggregate.gate(vectors).sigmoid()
        weights = aggregate.weigh(hidden).squeeze(1).softmax(0)
        return aggregate.classify(weights @ vectors), said, weights
    if name == "noisy_or":
        p = 1 - (1 - said.sigmoid()).prod(0)
        scores, shares = (p / (1 - p)).log(), (1 - said.sigmoid()).log()
    else:
        scores = said.mean(0) if name == "mean" else said.max(0).values
        shares = torch.ones_like(said) if name == "mean" else (said == scores).double()
    share = shares[:, scores.argmax()]
    return scores, said, share / share.sum()


def each(x: torch.Tensor) -> list[torch.Tensor]:
    return [x[d == OF] for d in range(SEGMENTS.groups)]


@aggregates
def test_values_and_gradients_are_those_of_the_definition(name):
    aggregate, vectors = made(name)
    leaves = [vectors.requires_grad_(), *aggregate.parameters()]
    own = aggregate(vectors, PLACE, SEGMENTS)
    found = [defined(aggregate, name, *document) for document in zip(each(vectors), each(PLACE), strict=True)]
    scores, said, weights = torch.stack([f[0] for f in found]), *(torch.cat([f[i] for f in found]) for i in (1, 2))
    torch.testing.assert_close(own.scores, scores, **same)
    torch.testing.assert_close(own.chunk_scores, said, **same)
    torch.testing.assert_close(own.weights, weights.detach(), **same)
    by_score, by_chunk = torch.randn_like(scores), torch.randn_like(said)
    losses = [(a * by_score).sum() + (b * by_chunk).sum() for a, b in ((own.scores, own.chunk_scores), (scores, said))]
    for got, wanted in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
        torch.testing.assert_close(got, wanted, **same)


@aggregates
def test_weights_add_up_to_one(name):
    aggregate, vectors = made(name)
    weights = aggregate(vectors, PLACE, SEGMENTS).weights
    assert not weights.requires_grad
    assert (weights >= 0).all()
    torch.testing.assert_close(SEGMENTS.sum(weights.unsqueeze(1)), torch.ones(4, 1, dtype=torch.float64), **same)


@aggregates
def test_a_document_knows_no_other(name):
    aggregate, vectors = made(name)
    whole = aggregate(vectors, PLACE, SEGMENTS)
    for d, (own, place) in enumerate(zip(each(vectors), each(PLACE), strict=True)):
        alone = aggregate(own, place, Segments(torch.zeros(len(own), dtype=torch.long), 1))
        torch.testing.assert_close(alone.scores[0], whole.scores[d], **same)
        torch.testing.assert_close(alone.chunk_scores, each(whole.chunk_scores)[d], **same)
        torch.testing.assert_close(alone.weights, each(whole.weights)[d], **same)
    again = aggregate(vectors.requires_grad_(), PLACE, SEGMENTS)
    (grad,) = torch.autograd.grad(again.scores[2].sum() + again.chunk_scores[OF == 2].sum(), vectors)
    assert not grad[OF != 2].any()
    assert grad[OF == 2].any()


@aggregates
def test_a_single_chunk_is_its_document(name):
    aggregate, vectors = made(name)
    read = aggregate(vectors, PLACE, Segments(torch.arange(len(OF)), len(OF)))
    torch.testing.assert_close(read.scores, read.chunk_scores, **same)
    assert torch.equal(read.weights, torch.ones_like(read.weights))


def test_places_mean_something_to_the_hierarchy_alone():
    for name in AGGREGATES:
        aggregate, vectors = made(name)
        scores = (aggregate(vectors, place, SEGMENTS).scores for place in (PLACE, PLACE + 1))
        assert torch.allclose(*scores) != (name == "hierarchical")


def test_chunks_of_the_hierarchy_read_each_other():
    aggregate, vectors = made("hierarchical")
    before = aggregate(vectors, PLACE, SEGMENTS).chunk_scores
    after = aggregate(torch.cat((vectors[:1] + 1, vectors[1:])), PLACE, SEGMENTS).chunk_scores
    assert not torch.isclose(before, after)[:3].any()
    torch.testing.assert_close(before[3:], after[3:], **same)


def test_equal_chunks_share_the_maximum():
    aggregate, vectors = made("max")
    read = aggregate(vectors[:1].expand(4, -1), PLACE[:4], Segments(torch.zeros(4, dtype=torch.long), 1))
    torch.testing.assert_close(read.weights, torch.full((4,), 0.25, dtype=torch.float64), **same)


# --- noisy-or at the ends of the numbers -------------------------------------------------------------------------


def noisy(logits: list[float], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score, gradient by each chunk, and weights of one document and one label."""
    votes = torch.tensor(logits, dtype=dtype).unsqueeze(1).requires_grad_()
    scores, shares = NoisyOr(1, 1).count(votes, Segments(torch.zeros(len(logits), dtype=torch.long), 1))
    return scores.squeeze(), torch.autograd.grad(scores.sum(), votes)[0].squeeze(1), shares.squeeze(1)


@pytest.mark.parametrize("logit", [-1e4, -300.0, -88.0, -20.0, -19.99, -1.0, 0.0, 5.0, 19.99, 20.0, 90.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noisy_or_of_one_chunk_keeps_any_logit(logit, dtype):
    score, grad, weights = noisy([logit], dtype)
    slack = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(score.item(), logit, rtol=slack, atol=slack)
    torch.testing.assert_close(grad.item(), 1.0, rtol=slack, atol=slack)
    assert weights.item() == 1


def test_noisy_or_of_what_no_chunk_believes_is_the_sum_of_odds():
    score, grad, weights = noisy([-400.0, -400.0 + math.log(3), -500.0], torch.float64)
    assert score.item() == pytest.approx(-400 + math.log(4), abs=1e-12)
    assert weights.tolist() == pytest.approx([0.25, 0.75, 0], abs=1e-12)
    assert grad.tolist() == pytest.approx([0.25, 0.75, 0], abs=1e-12)


def test_noisy_or_of_certain_chunks_learns_on():
    # The odds against add up: 60 chunks of logit 50 are certain by 3,000, which no probability could say.
    score, grad, _ = noisy([50.0] * 60, torch.float32)
    assert score.item() == pytest.approx(3000)
    assert grad.tolist() == pytest.approx([1.0] * 60)


@pytest.mark.parametrize("most", [1, 7, 400])
def test_noisy_or_begins_at_evens(most):
    aggregate = NoisyOr(DIM, LABELS)
    start_weights(aggregate)
    aggregate.start(most)
    read = aggregate(torch.zeros(most, DIM), torch.arange(most), Segments(torch.zeros(most, dtype=torch.long), 1))
    torch.testing.assert_close(read.scores.sigmoid(), torch.full((1, LABELS), 0.5), rtol=0, atol=1e-4)


# --- groups --------------------------------------------------------------------------------------------------------


def test_groups_against_their_definitions():
    x = torch.randn(len(OF), 5, dtype=torch.float64)
    for own, wanted in (
        (SEGMENTS.sum, lambda rows: rows.sum(0)),
        (SEGMENTS.mean, lambda rows: rows.mean(0)),
        (SEGMENTS.max, lambda rows: rows.max(0).values),
        (SEGMENTS.logsumexp, partial(torch.logsumexp, dim=0)),
    ):
        torch.testing.assert_close(own(x), torch.stack([wanted(rows) for rows in each(x)]), **same)
    torch.testing.assert_close(SEGMENTS.softmax(x), torch.cat([rows.softmax(0) for rows in each(x)]), **same)
    torch.testing.assert_close(SEGMENTS.softmax(1e6 * x).isfinite(), torch.ones(len(OF), 5, dtype=torch.bool))


@votes
def test_votes_come_out_wide(name):
    aggregate = VOTES[name](DIM, LABELS).bfloat16()
    read = aggregate(torch.randn(len(OF), DIM).bfloat16(), PLACE, SEGMENTS)
    assert read.scores.dtype == read.chunk_scores.dtype == read.weights.dtype == torch.float32
    assert isinstance(aggregate.classify, nn.Linear)
