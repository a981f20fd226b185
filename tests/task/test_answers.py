"""How far answers are apart, against sums over single words, labels and values in float64."""

import math

import pytest
import torch

from manyheads.model.head import Head
from manyheads.task.answers import Forecasts, Labels, Words


def softened(row, temperature):
    odds = [math.exp(x / temperature) for x in row]
    return [x / sum(odds) for x in odds]


def kl(taught, own, temperature):
    """T² · KL of two rows of logits."""
    p, q = softened(taught, temperature), softened(own, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def logits(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def two(make):
    return make(), make()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_words(temperature):
    def make():
        head = Head(4, 7, None).double()
        torch.nn.init.normal_(head.weight)
        return Words(logits(5, 4), torch.arange(5), head)

    own, theirs = two(make)
    rows = zip(theirs.head(theirs.states).tolist(), own.head(own.states).tolist(), strict=True)
    found = own.distance(theirs, temperature)
    assert found.item() == pytest.approx(sum(kl(p, q, temperature) for p, q in rows) / 5, rel=1e-10)
    found.backward()
    assert own.states.grad.abs().sum() > 0
    assert theirs.states.grad is None
    assert theirs.head.weight.grad is None


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("ways", [0, 2])
def test_one_label_each(temperature, ways):
    own, theirs = two(lambda: Labels(logits(5, 3), tuple(logits(5, 3) for _ in range(ways)), several=False))
    pairs = list(zip(own.ways, theirs.ways, strict=True)) or [(own.scores, theirs.scores)]
    rows = [kl(p, q, temperature) for q_, p_ in pairs for p, q in zip(p_.tolist(), q_.tolist(), strict=True)]
    found = own.distance(theirs, temperature)
    assert found.item() == pytest.approx(sum(rows) / len(rows), rel=1e-10)
    found.backward()
    assert all(q.grad.abs().sum() > 0 and p.grad is None for q, p in pairs)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_several_labels(temperature):
    """Each is a question of two answers: the logits x and 0."""
    own, theirs = two(lambda: Labels(logits(5, 3), (), several=True))
    cells = zip(theirs.scores.flatten().tolist(), own.scores.flatten().tolist(), strict=True)
    found = own.distance(theirs, temperature)
    assert found.item() == pytest.approx(sum(kl([p, 0], [q, 0], temperature) for p, q in cells) / 15, rel=1e-10)
    (grad,) = torch.autograd.grad(found, [own.scores])
    p, q = ((x.scores / temperature).sigmoid() for x in (theirs, own))
    torch.testing.assert_close(grad, temperature * (q - p).detach() / 15)


def test_certain_labels_do_not_overflow():
    far = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for several in (False, True):
        found = Labels(far, (), several).distance(Labels(-far.detach(), (), several), 1.0)
        (grad,) = torch.autograd.grad(found, [far])
        assert found.isfinite()
        assert grad.isfinite().all()


@pytest.mark.parametrize("quantiles", [1, 3])
def test_forecasts(quantiles):
    seen = torch.rand(2, 4, 3) > 0.3
    own, theirs = two(lambda: Forecasts(logits(2, 4, 3, quantiles), torch.zeros(2, 4, 3), seen))
    cells = [
        (own.values[at].item() - theirs.values[at].item()) ** 2
        for at in ((*place, q) for place in seen.nonzero().tolist() for q in range(quantiles))
    ]
    found = own.distance(theirs, 2.0)
    assert found.item() == pytest.approx(sum(cells) / len(cells), rel=1e-10)
    found.backward()
    assert theirs.values.grad is None
    assert (own.values.grad[~seen] == 0).all()
    assert (own.values.grad[seen] != 0).all()


def test_a_batch_without_values_is_no_distance():
    values = logits(2, 4, 3, 1)
    nothing = Forecasts(values, torch.zeros(2, 4, 3), torch.zeros(2, 4, 3, dtype=torch.bool))
    assert nothing.distance(nothing, 1.0) == 0
