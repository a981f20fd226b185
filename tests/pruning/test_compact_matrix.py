"""compact = gated = weights multiplied by hand, for every family, shape, attention, position and block."""

from copy import deepcopy

import pytest
import torch
from families import ATTENTIONS, BLOCKS, CELLS, POSITIONS, answers, attention, build, grown, loss
from gated import CASES, apart, draw, weigh_by_hand

from manyheads.errors import UserError
from manyheads.pruning.architecture import Architecture, narrow, parse
from manyheads.pruning.compact import compact
from manyheads.pruning.gates import put

SLACK = 1e-10
"""Of the answers' size, in float64."""

ONE = [
    (*cell, name, POSITIONS[(at + 2 * row) % len(POSITIONS)], BLOCKS[(at + row // 2) % len(BLOCKS)], at + 2 * row)
    for row, name in enumerate(ATTENTIONS)
    for at, cell in enumerate(CELLS)
    if (at + row) % 3 == 0
]
"""Every attention in every third cell, each time with another position, block and turn of gates."""

ALL = [
    (*cell, name, POSITIONS[(at + row + 3 * turn) % len(POSITIONS)], block, at + row + turn)
    for at, cell in enumerate(CELLS)
    for row, name in enumerate(ATTENTIONS)
    for turn, block in enumerate(BLOCKS)
]
"""Every attention in every cell with every block; each pair of attention and position in several cells."""


def check(kind: str, shape: str, name: str, position: str, block: str, turn: int) -> None:
    model = grown(build(kind, shape, attention(name), position, block))
    gates = draw(model, turn % len(CASES), within=turn % 2 == 1)
    by_hand, small, plain = deepcopy(model), deepcopy(model), deepcopy(model)
    weigh_by_hand(by_hand, gates)
    put(model, gates)
    put(small, gates)
    try:
        whole = answers(kind, plain)
    except UserError as refused:
        compact(small)
        with pytest.raises(UserError, match=str(refused)[:30]):
            answers(kind, small)
        return
    wanted = answers(kind, by_hand)
    assert apart(wanted, whole) > 1e-3, "gates have a say"
    assert apart(wanted, answers(kind, model)) < SLACK
    origins = compact(small)
    assert apart(wanted, answers(kind, small)) < SLACK
    fits(model, small, origins, kind)
    again = loaded(small, build(kind, shape, attention(name), position, block))
    assert torch.equal(loss(kind, again), loss(kind, small))


def fits(gated: torch.nn.Module, small: torch.nn.Module, origins: dict, kind: str) -> None:
    """Weights that are left come from where their origin says, and their gradients are those of the gated model."""
    before = dict(gated.named_parameters(remove_duplicate=False))
    after = dict(small.named_parameters(remove_duplicate=False))
    assert set(origins) == set(after)
    assert sum(w.numel() for w in small.parameters()) < sum(w.numel() for w in gated.parameters())
    for model in (gated, small):
        loss(kind, model).backward()
    for name, origin in origins.items():
        old, new = before[origin.old], after[name]
        torch.testing.assert_close(new.detach(), origin.of(old.detach()), rtol=1e-12, atol=0)
        if new.grad is not None:
            wanted = origin.of(old.grad, power=-1)
            torch.testing.assert_close(new.grad, wanted, rtol=0, atol=SLACK * float(1 + wanted.abs().max()))


def loaded(small: torch.nn.Module, fresh: torch.nn.Module) -> torch.nn.Module:
    """A new model, narrowed by what is written of the small one, with its weights."""
    narrow(fresh, parse(Architecture.of(small).content(), "here"))
    fresh.double().eval().load_state_dict(small.state_dict())
    return fresh


@pytest.mark.parametrize("case", ONE, ids=lambda case: "-".join(map(str, case)))
def test_compact_is_gated(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(map(str, case)))
def test_compact_is_gated_everywhere(case):
    check(*case)
