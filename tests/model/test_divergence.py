"""The sliced divergence against torch's own, from all scores at once."""

import pytest
import torch
from torch.nn.functional import kl_div

from manyheads.model import head
from manyheads.model.divergence import SlicedDivergence

TOKENS, WORDS, DIM, WIDTH = 23, 11, 6, 9


@pytest.fixture(params=[1, 4, 7, 1000], ids="slices-of-{}".format)
def slices(request, monkeypatch):
    monkeypatch.setitem(head.SLICE_BYTES, "cpu", 16 * WORDS * request.param)


def made(dtype=torch.float64):
    """States and table of a student, and of a teacher of another width."""
    dice = torch.Generator().manual_seed(0)
    shapes = (TOKENS, DIM), (WORDS, DIM), (TOKENS, WIDTH), (WORDS, WIDTH)
    states, weight, taught, table = (torch.randn(*shape, generator=dice, dtype=torch.float64) for shape in shapes)
    return states.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), taught.to(dtype), table.to(dtype)


def plain(states, weight, taught, table, temperature):
    q, p = ((x @ w.T / temperature).log_softmax(-1) for x, w in ((states, weight), (taught, table)))
    return temperature**2 * kl_div(q, p, reduction="sum", log_target=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("factor", [1.0, -2.5])
def test_value_and_gradients_equal_torch(slices, temperature, factor):
    given = made()
    found, wanted = SlicedDivergence.apply(*given, temperature), plain(*given, temperature)
    torch.testing.assert_close(found, wanted)
    own, theirs = (torch.autograd.grad(factor * x, given[:2]) for x in (found, wanted))
    torch.testing.assert_close(own, theirs)


def test_the_teacher_gets_no_gradient():
    given = [x.requires_grad_() for x in made()]
    SlicedDivergence.apply(*given, 2.0).backward()
    assert [x.grad is None for x in given] == [False, False, True, True]


def test_gradients_wanted_for_one_side_alone():
    states, weight, taught, table = made()
    both = torch.autograd.grad(SlicedDivergence.apply(states, weight, taught, table, 2.0), [states, weight])
    (one,) = torch.autograd.grad(SlicedDivergence.apply(states.detach(), weight, taught, table, 2.0), [weight])
    torch.testing.assert_close(one, both[1])


def test_the_same_states_are_no_distance_apart(slices):
    states, weight, _, _ = made()
    found = SlicedDivergence.apply(states, weight, states.detach(), weight.detach(), 2.0)
    assert found == 0
    assert all((grad == 0).all() for grad in torch.autograd.grad(found, [states, weight]))


def test_large_scores_do_not_overflow():
    states, weight, taught, table = made(torch.float32)
    found = SlicedDivergence.apply(states * 1e3, weight, taught * 1e3, table, 1.0)
    grads = torch.autograd.grad(found, [states, weight])
    assert found.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    torch.testing.assert_close(found, plain(states * 1e3, weight, taught * 1e3, table, 1.0))


def test_no_words_are_no_distance():
    states, weight, taught, table = made()
    found = SlicedDivergence.apply(states[:0], weight, taught[:0], table, 2.0)
    found.backward()
    assert found == 0
    assert (weight.grad == 0).all()


def test_under_autocast_as_close_as_torch(slices):
    given, exact = made(torch.float32), [x.detach().double().requires_grad_() for x in made()]
    wanted = plain(*exact, 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        found, theirs = SlicedDivergence.apply(*given, 2.0), plain(*given, 2.0)
    assert found.dtype == torch.float32
    assert abs(found - wanted) <= 2 * abs(theirs - wanted) + 2e-3 * wanted
    grads = (torch.autograd.grad(x, of[:2]) for x, of in ((found, given), (theirs, given), (wanted, exact)))
    for own, torchs, true in zip(*grads, strict=True):
        assert (own - true).norm() <= 2 * (torchs - true).norm() + 2e-3 * true.norm()
