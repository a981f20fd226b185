import math

import torch

from manyheads.pruning.hard_concrete import likely_open, sample, settled


def test_samples_are_those_of_the_formula():
    alpha, u = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.31, dtype=torch.float64)
    s = 1 / (1 + math.exp(-(math.log(0.31) - math.log(0.69) + 0.7) / (2 / 3)))
    assert math.isclose(float(sample(alpha, u)), min(1, max(0, s * 1.2 - 0.1)))


def test_gates_are_open_as_often_as_they_are_likely_to_be():
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for alpha in (-4.0, -1.6, 0.0, 2.0):
        alpha = torch.tensor(alpha, dtype=torch.float64)
        assert abs(float((sample(alpha, u) > 0).double().mean() - likely_open(alpha))) < 1e-4


def test_known_probabilities():
    found = [float(likely_open(torch.tensor(alpha, dtype=torch.float64))) for alpha in (0.0, -1.6, 4.6)]
    assert [round(p, 3) for p in found] == [0.832, 0.5, 0.998]


def test_gradients_are_those_of_finite_differences():
    u = torch.rand(50, dtype=torch.float64) * 0.6 + 0.2
    alpha = torch.randn(50, dtype=torch.float64) * 0.3
    assert torch.autograd.gradcheck(lambda a: sample(a, u), alpha.requires_grad_())


def test_a_settled_gate_is_shut_or_open_at_the_ends():
    assert settled(torch.tensor([-4.6, 0.0, 4.6])).tolist() == [0.0, 0.5, 1.0]
