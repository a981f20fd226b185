"""Scores against sums over plain loops."""

import pytest
import torch
from tiny import encoder_decoder, encoder_only

from manyheads.pruning.choose import Rules
from manyheads.pruning.cost import unit_costs
from manyheads.pruning.gates import Gates
from manyheads.pruning.method import Ground
from manyheads.pruning.scores import Magnitude, Movement, Random, Taylor
from manyheads.pruning.sites import sites


def ground(model=None, layers=0.0, least=1, heads="groups", seed=1):
    found = sites(model or encoder_only("rope", "vaswani2017", 2))
    costs = unit_costs(model or encoder_only("rope", "vaswani2017", 2), None, "parameters", heads)
    return Ground(found, Rules(heads, True, layers, least, False), costs, seed, torch.device("cpu"))


def test_magnitude_is_the_length_of_all_that_a_unit_owns():
    model = encoder_decoder("rope", "vaswani2017", 2)
    for site in sites(model):
        part, found = site.part, Magnitude(normalise=False).worth(site.name, site)
        for unit in range(part.units):
            if site.kind == "neurons":
                own = [part.up.weight[unit], part.down.weight[:, unit]]
            else:
                d, group = 4, unit // 2
                rows = slice(unit * d, unit * d + d)
                keys, values = part.kv.weight[:8], part.kv.weight[8:]
                shared = slice(group * d, group * d + d)
                own = [part.q.weight[rows], keys[shared], values[shared], part.out.weight[:, rows]]
            wanted = sum(float(w.detach().square().sum()) for w in own) ** 0.5
            assert float(found[unit]) == pytest.approx(wanted)


def grads_of(site_list, generator):
    return {s.name: torch.randn(s.part.units, generator=generator, dtype=torch.float64) for s in site_list}


def fed(method, where, batches=4):
    method.start(where)
    generator, seen = torch.Generator().manual_seed(3), []
    for step in range(batches):
        gates = method.training(step, 0.0)
        grads = Gates(grads_of(where.sites, generator), {name: torch.tensor(0.5) for name in gates.layers})
        method.observe(gates, grads, 0.0)
        seen.append(grads.units)
    return seen


def test_taylor_remembers_the_size_of_gradients():
    where, method = ground(), Taylor(normalise=False, memory=0.5)
    seen = fed(method, where)
    for site in where.sites:
        wanted = sum(0.5 ** (3 - step) * grads[site.name].abs() for step, grads in enumerate(seen))
        torch.testing.assert_close(method.worth(site.name, site).double(), wanted)


def test_movement_is_what_gradients_add_up_to_with_their_sign():
    where, method = ground(), Movement(normalise=False)
    seen = fed(method, where)
    for site in where.sites:
        torch.testing.assert_close(method.worth(site.name, site).double(), -sum(grads[site.name] for grads in seen))


def test_a_random_choice_depends_on_seed_and_place_alone():
    one, again, other = (Random(normalise=False) for _ in range(3))
    for method, seed in ((one, 1), (again, 1), (other, 2)):
        method.start(ground(seed=seed))
    found = [method.settle(0.5).units for method in (one, again, other)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.parametrize("make", [lambda: Taylor(True, 0.9), lambda: Magnitude(True), lambda: Random(False)])
def test_what_is_closed_stays_closed(make):
    where, method = ground(), make()
    fed(method, where)
    generator, before = torch.Generator().manual_seed(9), None
    for step, share in enumerate((0.2, 0.4, 0.6)):
        gates = method.training(10 + step, share)
        shut = {name: z == 0 for name, z in gates.units.items()}
        assert before is None or all((shut[name] | ~was).all() for name, was in before.items())
        assert where.costs.share(method.evaluating().kept()) >= share
        before = shut
        method.observe(gates, Gates(grads_of(where.sites, generator), {}), share)
        for site in where.sites:
            site.part.last.weight.data.normal_(generator=generator)


def test_under_movement_units_come_back():
    where, method = ground(), Movement(True)
    fed(method, where)
    first = {name: z.clone() for name, z in method.training(5, 0.5).units.items()}
    back = {name: torch.where(z == 0, -100.0, 100.0) for name, z in first.items()}
    method.observe(Gates(first), Gates(back), 0.5)
    second = method.training(6, 0.5).units
    assert any(((z == 0) & (second[name] == 1)).any() for name, z in first.items())


def test_the_state_goes_on_where_it_was():
    where, one, two = ground(), Taylor(True, 0.9), Taylor(True, 0.9)
    fed(one, where)
    one.training(5, 0.3)
    two.start(where)
    two.load_state_dict(one.state_dict())
    for method in (one, two):
        method.training(6, 0.6)
    assert all(torch.equal(z, two.now.units[name]) for name, z in one.now.units.items())


def test_whole_sublayers_go_by_their_own_gradient():
    where, method = ground(layers=1.0), Taylor(False, 1.0)
    method.start(where)
    gates = method.training(0, 0.0)
    assert set(gates.layers) == {s.name for s in where.sites}
    least = where.sites[2].name
    grads = {s.name: torch.tensor(1e-6 if s.name == least else 1.0) for s in where.sites}
    method.observe(gates, Gates({s.name: torch.ones(s.part.units) for s in where.sites}, grads), 0.0)
    assert set(name for name, z in method.settle(0.3).layers.items() if z == 0) >= {least}
