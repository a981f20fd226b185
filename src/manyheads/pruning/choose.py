"""Which units go, given how much each is worth and what it costs: the least worth for its cost first.

Units that must go together are a slot: the query heads of a key-value head; or, where heads go within groups, the j-th
weakest head of every group, so that all groups keep as many.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.errors import UserError
from manyheads.pruning.cost import Costs
from manyheads.pruning.gates import Gates
from manyheads.pruning.sites import Site


@dataclass(frozen=True)
class Worth:
    """How much units (units,) and whole sublayers () are worth, by the name of their site; missing layers stay."""

    units: dict[str, Tensor]
    layers: dict[str, Tensor]


@dataclass(frozen=True)
class Rules:
    """What may be closed.

    heads: `groups`, a key-value head with all that read it; `within`, as many query heads of each; `none`.
    neurons: whether those of feed-forward parts may be closed.
    layers: which share of what goes is whole sublayers.
    least: slots of a sublayer that stay; 0 lets a sublayer go, unit by unit.
    together: one ranking for heads and neurons; else each kind gives the same share of itself.
    """

    heads: str
    neurons: bool
    layers: float
    least: int
    together: bool

    def admits(self, site: Site) -> bool:
        return self.heads != "none" if site.kind == "heads" else self.neurons


@dataclass(frozen=True)
class _Slots:
    """Of one site: the units of each slot (s, k), ascending by worth, and the worth of each."""

    site: Site
    members: Int[Tensor, "s k"]
    worth: Float[Tensor, "s"]


def choose(
    sites: list[Site],
    worth: Worth,
    costs: Costs,
    share: float,
    rules: Rules,
    closed: frozenset[str] = frozenset(),
) -> Gates:
    """Gates of 0 and 1, so that `share` of `costs.total` goes: at least that, where the rules leave so much to close.

    closed: sublayers that go in any case.
    """
    closed = closed | _layers(worth, costs, share * rules.layers, sites)
    need = share * costs.total - sum(_whole(site, costs) for site in sites if site.name in closed)
    open_ = [site for site in sites if site.name not in closed]
    gates = {site.name: torch.ones(site.part.units) for site in sites}
    slots = [_slots(site, worth.units[site.name], rules) for site in open_ if rules.admits(site)]
    for slot, units in _closed(slots, costs, need, rules):
        gates[slot.site.name][units] = 0.0
    return Gates(gates, {name: torch.tensor(0.0) for name in closed})


def most(sites: list[Site], costs: Costs, share: float, rules: Rules) -> float:
    """No more than this can go: what units can give, and what whole sublayers are asked to, which is within half a
    sublayer of their part of `share`.
    """
    worth = Worth({site.name: torch.zeros(site.part.units) for site in sites}, {})
    gates = choose(sites, worth, costs, 1.0, replace(rules, layers=0.0))
    units = costs.share(gates.kept())
    if not rules.layers:
        return units
    if rules.together:  # which sublayers go is learnt, with no part of the target set aside for them
        return 1.0
    largest = max((_whole(site, costs) for site in sites), default=0.0) / max(costs.total, 1e-30)
    return min(1.0, units + share * rules.layers + largest / 2)


def refuse_unreachable(sites: list[Site], costs: Costs, share: float, rules: Rules) -> None:
    """Raises UserError where the rules do not leave enough to close."""
    found = most(sites, costs, share, rules)
    if share > found + 1e-9:
        raise UserError(
            f"pruning.target={share:g} cannot be reached: heads={rules.heads}, neurons={rules.neurons}, "
            f"layers={rules.layers:g} and least={rules.least} leave at most {found:.3f} of the prunable {costs.base} "
            "to close; ask for less, or allow more."
        )


def _layers(worth: Worth, costs: Costs, share: float, sites: list[Site]) -> frozenset[str]:
    """Sublayers that go whole, the least worth for their cost first, as long as they come nearer to the share."""
    whole = {site.name: _whole(site, costs) for site in sites if site.name in worth.layers}
    order = sorted(whole, key=lambda name: (_for_cost(float(worth.layers[name]), max(whole[name], 1e-30)), name))
    closed, gone, need = set(), 0.0, share * costs.total
    for name in order:
        if abs(gone + whole[name] - need) >= abs(gone - need):
            break
        closed.add(name)
        gone += whole[name]
    return frozenset(closed)


def _for_cost(worth: float, cost: float) -> float:
    """What is worth less than nothing goes the sooner the dearer it is."""
    return worth * cost if worth < 0 else worth / cost


def _whole(site: Site, costs: Costs) -> float:
    return costs.whole[site.name] + site.part.units * costs.unit[site.name]


def _slots(site: Site, worth: Float[Tensor, "u"], rules: Rules) -> _Slots:
    units, each = torch.arange(site.part.units), site.per_group
    members = units.view(-1, each) if site.kind == "heads" else units.view(-1, 1)
    if site.kind == "heads" and rules.heads == "within":
        order = worth.view(-1, each).argsort(dim=1, stable=True)
        members = members.gather(1, order).t()
    found = worth[members].mean(1)
    order = found.argsort(stable=True)
    return _Slots(site, members[order], found[order])


def _closed(slots: list[_Slots], costs: Costs, need: float, rules: Rules) -> list[tuple[_Slots, Int[Tensor, "k"]]]:
    """Units to close, by their site, so that `need` goes."""
    if rules.together:
        return _ranked(slots, costs, need, rules.least, nearest=False)
    heads = [s for s in slots if s.site.kind == "heads"]
    neurons = [s for s in slots if s.site.kind == "neurons"]
    wholes = [sum(_weight(s, costs) * len(s.worth) for s in kind) for kind in (heads, neurons)]
    if not neurons:
        return _ranked(heads, costs, need, rules.least, nearest=False)
    # Heads are coarse: they come as near as they can to their share, and neurons make up for the rest.
    first = _ranked(heads, costs, need * wholes[0] / (sum(wholes) or 1.0), rules.least, nearest=True)
    gone = sum(costs.unit[slot.site.name] * len(units) for slot, units in first)
    return first + _ranked(neurons, costs, need - gone, rules.least, nearest=False)


def _ranked(
    slots: list[_Slots], costs: Costs, need: float, least: int, nearest: bool
) -> list[tuple[_Slots, Int[Tensor, "k"]]]:
    free = [(s, max(0, len(s.worth) - least)) for s in slots]
    if need <= 0 or not any(n for _, n in free):
        return []
    cost = torch.cat([torch.full((n,), _weight(s, costs), dtype=torch.float64) for s, n in free])
    value = torch.cat([s.worth[:n].double() for s, n in free])
    paid = cost.clamp(min=1e-30)
    order = torch.where(value < 0, value * paid, value / paid).argsort(stable=True)
    gone = cost[order].cumsum(0)
    count = int((gone < need * (1 - 1e-12)).sum()) + 1
    if nearest and (count > len(gone) or _before(gone, count, need)):
        count -= 1
    going: Bool[Tensor, "s"] = torch.zeros(len(order), dtype=torch.bool)
    going[order[:count]] = True
    parts = going.split([n for _, n in free])
    return [(s, s.members[:n][part].flatten()) for (s, n), part in zip(free, parts, strict=True)]


def _before(gone: Tensor, count: int, need: float) -> bool:
    """Whether one slot less comes nearer to `need`."""
    under = float(gone[count - 2]) if count > 1 else 0.0
    return need - under < float(gone[count - 1]) - need


def _weight(slots: _Slots, costs: Costs) -> float:
    return costs.unit[slots.site.name] * slots.members.size(1)
