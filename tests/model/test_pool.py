"""Pools against their definitions, chunk by chunk."""

import pytest
import torch

from manyheads.model.init import start_weights
from manyheads.model.pool import POOLS, last

LENGTHS = torch.tensor([5, 1, 7, 3])
pools = pytest.mark.parametrize("name", POOLS)
same = {"rtol": 0, "atol": 1e-12}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[torch.nn.Module, torch.Tensor]:
    pool = POOLS[name](6)
    start_weights(pool)
    return pool.to(dtype), torch.randn(len(LENGTHS), 8, 6, dtype=dtype)


def defined(pool: torch.nn.Module, name: str, states: torch.Tensor) -> torch.Tensor:
    """The vector of one chunk (n, dim) without padding."""
    if name == "attention":
        odds = torch.stack([(pool.query.weight[0] * state).sum().exp() for state in states])
        return sum(odd * state for odd, state in zip(odds, states, strict=True)) / odds.sum()
    return {"mean": states.mean(0), "max": states.max(0).values, "first": states[0]}[name]


@pools
def test_values_and_gradients_are_those_of_the_definition(name):
    pool, states = made(name)
    leaves = [states.requires_grad_(), *pool.parameters()]
    own = pool(states, LENGTHS)
    wanted = torch.stack([defined(pool, name, row[:n]) for row, n in zip(states, LENGTHS, strict=True)])
    torch.testing.assert_close(own, wanted, **same)
    weight = torch.randn_like(own)
    grads = (torch.autograd.grad((out * weight).sum(), leaves) for out in (own, wanted))
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, **same)


@pools
def test_padding_counts_nothing_and_gets_no_gradient(name):
    pool, states = made(name)
    real = torch.arange(8) < LENGTHS.unsqueeze(1)
    loud = torch.where(real.unsqueeze(-1), states, 1e6).requires_grad_()
    out = pool(loud, LENGTHS)
    torch.testing.assert_close(out, pool(states, LENGTHS), rtol=0, atol=0)
    (grad,) = torch.autograd.grad(out.square().sum(), loud)
    assert not grad[~real].any()
    assert grad[:, 0].any()


def test_the_last_token_is_the_last_real_one():
    states = torch.randn(4, 8, 6)
    wanted = torch.stack([states[0, 4], states[1, 0], states[2, 6], states[3, 2]])
    assert torch.equal(last(states, LENGTHS), wanted)


@pools
def test_half_precision_stays_close(name):
    pool, states = made(name, torch.float32)
    wanted = pool(states, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        own = pool(states.bfloat16(), LENGTHS)
    torch.testing.assert_close(own.float(), wanted, rtol=0, atol=0.05)
