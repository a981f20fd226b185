from copy import deepcopy

import pytest
import torch
from tiny import encoder_only

from manyheads.pruning.choose import Rules
from manyheads.pruning.cost import unit_costs
from manyheads.pruning.gates import Gates
from manyheads.pruning.hard_concrete import likely_open, sample
from manyheads.pruning.l0 import L0
from manyheads.pruning.method import Ground
from manyheads.pruning.sites import sites


def ground(layers=0.0, heads="groups", seed=1):
    model = encoder_only("rope", "vaswani2017", 2)
    costs = unit_costs(model, None, "parameters", heads)
    return Ground(sites(model), Rules(heads, True, layers, 0, True), costs, seed, torch.device("cpu"))


def started(where, alpha=0.5):
    method = L0(alpha, 0.1, 0.1)
    method.start(where)
    return method


@pytest.mark.parametrize(("layers", "heads"), [(0.0, "groups"), (0.5, "groups"), (0.5, "within")])
def test_the_expected_share_is_the_sum_over_all_weights(layers, heads):
    where = ground(layers, heads)
    method, kept = started(where), 0.0
    for site in where.sites:
        whole = method.alphas.get(f"layer {site.name}")
        there = 1.0 if whole is None else float(likely_open(whole))
        for unit in range(site.part.units):
            slot = unit // 2 if site.kind == "heads" and heads == "groups" else unit
            kept += there * float(likely_open(method.alphas[site.name][slot])) * where.costs.unit[site.name]
        kept += there * where.costs.whole[site.name]
    assert float(method.expected()) == pytest.approx(1 - kept / where.costs.total, rel=1e-5)


def test_gradients_reach_alpha_through_the_gates_that_were_drawn():
    where = ground()
    method = started(where)
    gates = method.training(7, 0.2)
    name = where.sites[1].name
    grads = Gates({s.name: torch.zeros(s.part.units) for s in where.sites})
    grads.units[name][3] = 5.0
    alpha = method.alphas[name].detach().clone().requires_grad_()
    (sample(alpha, method._noise[name])[3] * 5.0).backward()
    method.observe(gates, grads, 0.2)  # multipliers are 0: the task alone speaks
    torch.testing.assert_close(method.alphas[name].grad, alpha.grad)
    assert alpha.grad[3] != 0 or gates.units[name][3] in (0, 1)


def test_draws_are_the_same_for_all_processes_and_other_in_each_step():
    one, other = started(ground()), started(ground())
    a, b, c = one.training(5, 0.5).units, other.training(5, 0.5).units, other.training(6, 0.5).units
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[n], c[n]) for n in a)


def test_before_the_warm_up_is_over_all_gates_are_open():
    method = started(ground())
    assert all((z == 1).all() for z in method.training(0, 0.0).units.values())
    assert all((z == 1).all() for z in method.evaluating().units.values())


def test_groups_share_a_gate_and_heads_within_do_not():
    gates = started(ground()).training(3, 0.5)
    assert all((z.view(2, 2)[:, 0] == z.view(2, 2)[:, 1]).all() for n, z in gates.units.items() if "read" in n)
    gates = started(ground(heads="within")).training(3, 0.5)
    assert any((z.view(2, 2)[:, 0] != z.view(2, 2)[:, 1]).any() for n, z in gates.units.items() if "read" in n)


@pytest.mark.parametrize("layers", [0.0, 0.5])
def test_the_lagrangian_comes_to_the_target_and_closes_what_hurts_least(layers):
    where = ground(layers)
    method = started(where, alpha=3.0)
    generator = torch.Generator().manual_seed(2)
    need = {s.name: torch.rand(s.part.units, generator=generator) * where.costs.unit[s.name] for s in where.sites}
    for step in range(400):
        share = 0.5 * min(1.0, step / 100)
        gates = method.training(step, max(share, 1e-6))
        pull = {name: -1e-4 * x * torch.rand(x.shape, generator=generator) for name, x in need.items()}
        method.observe(gates, Gates(pull, {name: torch.tensor(-1e-3) for name in gates.layers}), share)
    found = method.settle(0.5)
    assert 0.5 <= where.costs.share(found.kept()) < 0.6
    neurons = [s.name for s in where.sites if s.kind == "neurons" and float(found.layers.get(s.name, 1.0))]
    open_ = torch.cat([found.units[name] != 0 for name in neurons])
    assert open_.any()
    assert not open_.all()
    hurt = torch.cat([need[name] for name in neurons])
    assert hurt[open_].mean() > 1.3 * hurt[~open_].mean()


def test_the_state_goes_on_to_the_bit():
    where = ground()
    one, two = started(where), started(where, alpha=0.1)
    generator = torch.Generator().manual_seed(0)

    def step(method, n):
        gates = method.training(n, 0.4)
        pull = {s.name: torch.rand(s.part.units, generator=generator) for s in where.sites}
        method.observe(gates, Gates(pull), 0.4)

    for n in range(5):
        step(one, n)
    two.load_state_dict(deepcopy(one.state_dict()))
    for n in range(5, 9):
        generator.manual_seed(n)
        step(one, n)
        generator.manual_seed(n)
        step(two, n)
    a, b = one.settle(0.4), two.settle(0.4)
    assert all(torch.equal(z, b.units[name]) for name, z in a.units.items())
