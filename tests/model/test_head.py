"""The fused loss against torch's cross-entropy over all scores at once."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from manyheads.model import head as module
from manyheads.model.head import Head

TOKENS, WORDS, DIM = 23, 11, 6
SMOOTHINGS = [0.0, 0.1, 0.7]


@pytest.fixture(params=[1, 4, 7, TOKENS, 1000], ids="slices-of-{}".format)
def slices(request, monkeypatch):
    """Slices of so many tokens; most do not divide the batch."""
    monkeypatch.setitem(module.SLICE_BYTES, "cpu", 4 * WORDS * request.param)


def made(dtype=torch.float64) -> tuple[Head, torch.Tensor, torch.Tensor]:
    head = Head(DIM, WORDS, None).to(dtype)
    torch.nn.init.normal_(head.weight, std=2.0)
    return head, torch.randn(TOKENS, DIM, dtype=dtype, requires_grad=True), torch.randint(WORDS, (TOKENS,))


def plain(head: Head, states, labels, smoothing: float) -> torch.Tensor:
    return cross_entropy(states @ head.weight.T, labels, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_sums_equal_torch(slices, smoothing):
    head, states, labels = made()
    scored = head.loss(states, labels, smoothing)
    torch.testing.assert_close(scored.loss, plain(head, states, labels, smoothing))
    torch.testing.assert_close(scored.nll, plain(head, states, labels, 0.0))
    assert int(scored.correct) == int((head(states).argmax(-1) == labels).sum())
    assert scored.count == TOKENS


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("factor", [1.0, -2.5])
def test_gradients_equal_torch(slices, smoothing, factor):
    head, states, labels = made()
    wanted = [states, head.weight]
    found = torch.autograd.grad(factor * head.loss(states, labels, smoothing).loss, wanted)
    torch.testing.assert_close(found, torch.autograd.grad(factor * plain(head, states, labels, smoothing), wanted))


def test_gradients_wanted_for_one_side_alone(slices):
    head, states, labels = made()
    both = torch.autograd.grad(head.loss(states, labels, 0.1).loss, [states, head.weight])
    (by_weight,) = torch.autograd.grad(head.loss(states.detach(), labels, 0.1).loss, [head.weight])
    head.weight.requires_grad_(False)
    (by_states,) = torch.autograd.grad(head.loss(states, labels, 0.1).loss, [states])
    torch.testing.assert_close((by_states, by_weight), both)


def test_without_gradients_there_is_a_loss_all_the_same(slices):
    head, states, labels = made()
    expected = head.loss(states, labels, 0.1)
    with torch.inference_mode():
        found = head.loss(states, labels, 0.1)
    assert not found.loss.requires_grad
    for name in ("loss", "nll", "correct"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name).detach())


def test_only_the_loss_has_gradients():
    head, states, labels = made()
    scored = head.loss(states, labels, 0.1)
    assert scored.loss.requires_grad
    assert not scored.nll.requires_grad
    assert not scored.correct.requires_grad


def test_gradients_add_up_over_batches():
    head, states, labels = made()
    (2 * head.loss(states, labels, 0.1).loss).backward()
    head.loss(states, labels, 0.1).loss.backward()
    expected = torch.autograd.grad(3 * plain(head, states, labels, 0.1), [states, head.weight])
    torch.testing.assert_close((states.grad, head.weight.grad), expected)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_under_autocast_as_close_as_torch(slices, smoothing):
    """At most twice as far from float64 as torch's own loss under the same autocast."""
    head, states, labels = made(torch.float32)
    exact_head = Head(DIM, WORDS, torch.nn.Parameter(head.weight.detach().double()))
    exact_states = states.detach().double().requires_grad_()
    exact = plain(exact_head, exact_states, labels, smoothing)
    exact_grads = torch.autograd.grad(exact, [exact_states, exact_head.weight])
    with torch.autocast("cpu", torch.bfloat16):
        found, torchs = head.loss(states, labels, smoothing).loss, plain(head, states, labels, smoothing)
    assert found.dtype == torch.float32
    assert abs(found - exact) <= 2 * abs(torchs - exact) + 2e-3 * abs(exact)
    for mine, theirs, true in zip(
        torch.autograd.grad(found, [states, head.weight]),
        torch.autograd.grad(torchs, [states, head.weight]),
        exact_grads,
        strict=True,
    ):
        assert mine.dtype == torch.float32
        assert (mine - true).norm() <= 2 * (theirs - true).norm() + 2e-3 * true.norm()


def test_large_scores_do_not_overflow():
    head, states, labels = made(torch.float32)
    scored = head.loss(states * 1e4, labels, 0.1)
    scored.loss.backward()
    assert scored.loss.isfinite()
    assert head.weight.grad.isfinite().all()
    torch.testing.assert_close(scored.loss, plain(head, states * 1e4, labels, 0.1))


def test_a_batch_without_words_costs_nothing():
    head, states, labels = made()
    scored = head.loss(states[:0], labels[:0], 0.1)
    scored.loss.backward()
    assert scored.count == 0
    assert float(scored.loss.detach()) == 0
    assert head.weight.grad.eq(0).all()


def test_a_perfect_guess_costs_nothing_without_smoothing():
    head = Head(WORDS, WORDS, torch.nn.Parameter(100 * torch.eye(WORDS)))
    labels = torch.arange(WORDS)
    scored = head.loss(torch.eye(WORDS), labels, 0.0)
    assert float(scored.loss.detach()) == pytest.approx(0, abs=1e-5)
    assert int(scored.correct) == WORDS
    assert float(head.loss(torch.eye(WORDS), labels, 0.1).loss.detach()) > 1
