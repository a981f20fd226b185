"""Gates drawn for a model, and the same model made by plain arithmetic on its weights: what a gate means."""

import math
from typing import Any

import torch
from families import answers
from torch import Tensor, nn

from manyheads.model.layers import MultiHead
from manyheads.pruning.gates import Gates
from manyheads.pruning.sites import Site, sites

CASES = ("units", "soft", "none left", "gone", "open", "one left")
"""What happens to a sublayer: some units closed, some soft; the whole soft, too; no unit left; closed as a whole."""


def draw(model: nn.Module, turn: int, within: bool = False) -> Gates:
    """Another case for every sublayer, the first one by `turn`. within: heads go within groups, evenly."""
    units, layers, dice = {}, {}, torch.Generator().manual_seed(turn)
    for at, site in enumerate(sites(model)):
        case = CASES[(at + turn) % len(CASES)]
        units[site.name] = _units(site, case, within, dice)
        if case in ("soft", "gone"):
            layers[site.name] = torch.tensor(0.7 if case == "soft" else 0.0, dtype=torch.float64)
    return Gates(units, layers)


def _units(site: Site, case: str, within: bool, dice: torch.Generator) -> Tensor:
    count, each = site.part.units, site.per_group
    z = 0.2 + 1.5 * torch.rand(count, generator=dice, dtype=torch.float64)
    z[torch.rand(count, generator=dice) < 0.3] = 1.0
    if case == "open":
        return torch.ones(count)
    if case == "none left":
        return torch.zeros(count)
    rank = torch.rand(count // each, each, generator=dice)
    if not within:
        rank = rank[:, :1]  # a group stands or falls together
    axis = int(within)
    left = 1 if case == "one left" else max(1, rank.size(axis) // 2)
    # Of the groups, or of each group, so many are left.
    open_ = rank.argsort(axis).argsort(axis) < left
    return z * open_.expand(-1, each).flatten()


@torch.no_grad()
def weigh_by_hand(model: nn.Module, gates: Gates) -> None:
    """Multiplies weights of the whole model so that it does what a gated one does: the definition of a gate."""
    for site in sites(model):
        part, whole = site.part, gates.layers.get(site.name, torch.tensor(1.0))
        size = part.attention.head_dim if isinstance(part, MultiHead) else 1
        for unit, z in enumerate(gates.units[site.name].tolist()):
            part.last.weight[:, unit * size : (unit + 1) * size] *= z
        for weight in part.last.parameters():
            weight *= whole.item()


def differ(kind: str, one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two models' answers, as a share of the answers' size; without end where words do."""
    return apart(answers(kind, one), answers(kind, other))


def apart(first: dict[str, Any], second: dict[str, Any]) -> float:
    assert first.keys() == second.keys()
    worst = 0.0
    for name, wanted in first.items():
        found = second[name]
        if isinstance(wanted, list):
            worst = worst if found == wanted else math.inf
            continue
        assert found.shape == wanted.shape
        assert found.isfinite().all()
        worst = max(worst, float((found - wanted).abs().max() / wanted.square().mean().sqrt()))
    return worst
