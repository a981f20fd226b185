"""Choices against a search through all of them, on models of a few units."""

from itertools import combinations

import pytest
import torch
from tiny import encoder_decoder, encoder_only

from manyheads.errors import UserError
from manyheads.pruning.choose import Rules, Worth, choose, most, refuse_unreachable
from manyheads.pruning.cost import Costs, unit_costs
from manyheads.pruning.sites import sites


def rules(**changes):
    return Rules(**{"heads": "groups", "neurons": True, "layers": 0.0, "least": 1, "together": False} | changes)


def ground(kv_heads=2, heads="groups", model=encoder_only):
    found = sites(model("rope", "modern", kv_heads))
    return found, unit_costs(model("rope", "modern", kv_heads), None, "parameters", heads)


def random_worth(found, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Worth({s.name: torch.rand(s.part.units, generator=generator, dtype=torch.float64) for s in found}, {})


def closed(gates, site):
    return (gates.units[site.name] == 0).nonzero().flatten().tolist()


def test_nothing_goes_for_a_share_of_nothing():
    found, costs = ground()
    gates = choose(found, random_worth(found), costs, 0.0, rules())
    assert all((z == 1).all() for z in gates.units.values())
    assert not gates.layers


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.7])
def test_at_least_the_share_goes_and_not_a_neuron_more(share):
    found, costs = ground(model=encoder_decoder)
    gates = choose(found, random_worth(found), costs, share, rules())
    gone, neuron = costs.share(gates.kept()), max(costs.unit.values()) / costs.total
    assert share <= gone + 1e-9
    assert gone < share + neuron


def test_the_least_worth_for_its_cost_goes_first():
    found, costs = ground()
    worth = random_worth(found)
    gates = choose(found, worth, costs, 0.5, rules())
    for kind in ("heads", "neurons"):
        ratio = {s.name: worth.units[s.name] / costs.unit[s.name] for s in found if s.kind == kind}
        if kind == "heads":
            ratio = {name: x.view(-1, 2).mean(1).repeat_interleave(2) for name, x in ratio.items()}
        shut = torch.cat([ratio[s.name][gates.units[s.name] == 0] for s in found if s.kind == kind])
        best = {name: x.max() for name, x in ratio.items()}  # what stays because something has to
        left = [x[(gates.units[name] == 1) & (x < best[name])] for name, x in ratio.items()]
        assert not shut.numel() or not torch.cat(left).numel() or shut.max() <= torch.cat(left).min()


def test_groups_go_whole():
    found, costs = ground(kv_heads=2)
    gates = choose(found, random_worth(found), costs, 0.45, rules())
    heads = [gates.units[s.name].view(2, 2) for s in found if s.kind == "heads"]
    assert any((z == 0).any() for z in heads)
    assert all((z[:, 0] == z[:, 1]).all() for z in heads)


def test_within_groups_each_keeps_as_many_and_its_best():
    found, costs = ground(kv_heads=2, heads="within")
    worth = random_worth(found)
    gates = choose(found, worth, costs, 0.6, rules(heads="within"))
    shut = 0
    for site in (s for s in found if s.kind == "heads"):
        z, value = gates.units[site.name].view(2, 2), worth.units[site.name].view(2, 2)
        assert z.sum(1).unique().numel() == 1
        for group in range(2):
            if z[group].sum() == 1:
                assert z[group].argmax() == value[group].argmax()
                shut += 1
    assert shut


def test_every_sublayer_keeps_the_least_and_may_go_without_one():
    found, costs = ground(kv_heads=4)
    share = most(found, costs, 1.0, rules(least=2))
    gates = choose(found, random_worth(found), costs, share, rules(least=2))
    assert all(int(z.sum()) == 2 for z in gates.units.values())
    assert all(int(z.sum()) == 0 for z in choose(found, random_worth(found), costs, 1.0, rules(least=0)).units.values())


def test_of_what_is_worth_less_than_nothing_the_dearer_goes_first():
    found, _ = ground()
    first, second = (s for s in found if s.kind == "neurons")
    ones = {s.name: 1.0 for s in found}
    costs = Costs("flops", ones | {first.name: 10.0}, dict.fromkeys(ones, 0.0), {s.name: s.part.units for s in found})
    worth = {s.name: torch.ones(s.part.units) for s in found}
    worth |= {first.name: -torch.ones(first.part.units), second.name: -0.2 * torch.ones(second.part.units)}
    gates = choose(found, Worth(worth, {}), costs, 0.15, rules(heads="none"))
    assert closed(gates, first)
    assert not closed(gates, second)


def test_what_may_not_go_stays():
    found, costs = ground()
    for kind, other in (("heads", {"neurons": False}), ("neurons", {"heads": "none"})):
        gates = choose(found, random_worth(found), costs, 0.3, rules(**other))
        assert {s.kind for s in found if closed(gates, s)} == {kind}


def test_a_target_out_of_reach_is_refused():
    found, costs = ground()
    refuse_unreachable(found, costs, 0.5, rules())
    with pytest.raises(UserError, match=r"pruning\.target=0\.99 cannot be reached"):
        refuse_unreachable(found, costs, 0.99, rules())
    # Sublayers that may go are a part of the target: a hundredth of it brings no model there.
    with pytest.raises(UserError, match=r"layers=0\.01"):
        refuse_unreachable(found, costs, 0.99, rules(layers=0.01, least=4))
    refuse_unreachable(found, costs, 0.99, rules(layers=1.0))


def test_whole_sublayers_go_as_near_to_their_share_as_they_come():
    found, costs = ground(kv_heads=4)
    names = [s.name for s in found]
    whole = {s.name: costs.whole[s.name] + s.part.units * costs.unit[s.name] for s in found}
    order = [1, 0, 2, 3]
    layers = {name: torch.tensor(float(order.index(n)) * whole[name]) for n, name in enumerate(names)}
    for share in (0.2, 0.5, 0.7):
        gates = choose(found, Worth(random_worth(found).units, layers), costs, share, rules(layers=1.0))
        best = min(range(5), key=lambda k: abs(sum(whole[names[n]] for n in order[:k]) - share * costs.total))
        assert set(gates.layers) == {names[n] for n in order[:best]}


def test_one_ranking_for_all_is_the_cheapest_way_to_the_share():
    found, costs = ground(kv_heads=4)
    found = found[:2]
    heads = found[0]
    worth = random_worth(found)
    gates = choose(found, worth, costs, 0.0, rules(together=True))
    assert not closed(gates, heads)
    ratio = torch.cat([worth.units[s.name] / costs.unit[s.name] for s in found])
    gates = choose(found, worth, costs, 0.3, rules(together=True, least=0))
    shut = torch.cat([gates.units[s.name] for s in found]) == 0
    assert ratio[shut].max() < ratio[~shut].min()


def test_heads_come_as_near_as_any_set_of_them_could():
    found, costs = ground(kv_heads=4)
    heads = [s for s in found if s.kind == "heads"]
    weight = costs.unit[heads[0].name]
    both = sum(costs.unit[s.name] * s.part.units for s in found)
    own = sum(costs.unit[s.name] * s.part.units for s in heads)
    for share in (0.15, 0.3, 0.55):
        gates = choose(found, random_worth(found), costs, share, rules())
        shut, need = sum(len(closed(gates, s)) for s in heads), share * costs.total * own / both
        best = min(abs(len(c) * weight - need) for n in range(7) for c in combinations(range(8), n))
        assert abs(shut * weight - need) == pytest.approx(best)
