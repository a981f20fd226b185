"""A gate weighs along its axis, and is nowhere while it has no value."""

import pytest
import torch
from families import attention, build

from manyheads.model.gate import Gate
from manyheads.pruning.gates import put, take_off
from manyheads.pruning.sites import sites


def plain(x: torch.Tensor, z: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Number by number."""
    out = x.clone()
    for place in torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).tolist():
        out[tuple(place)] *= z if axis is None else z[place[axis]]
    return out


@pytest.mark.parametrize(("axis", "units"), [(-3, 3), (-1, 5), (None, None)])
def test_it_weighs_what_stands_at_a_place_of_its_axis(axis, units):
    x, gate = torch.randn(2, 3, 4, 5, dtype=torch.float64), Gate(axis)
    gate.z = torch.rand((units,) if units else (), dtype=torch.float64)
    torch.testing.assert_close(gate(x), plain(x, gate.z, axis), rtol=1e-15, atol=0)


def test_without_a_value_it_hands_on_the_very_tensor():
    x = torch.randn(2, 3)
    assert Gate(-1)(x) is x


def test_it_is_no_weight_and_changes_no_name():
    gate = Gate(-1)
    gate.z = torch.ones(3)
    assert not list(gate.parameters())
    assert not gate.state_dict()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_its_type_and_place_are_those_of_what_it_weighs(dtype):
    gate = Gate(-1)
    gate.z = torch.tensor([0.0, 0.5, 1.0])
    assert gate(torch.ones(2, 3, dtype=dtype)).dtype == dtype
    assert gate(torch.ones(2, 3, dtype=dtype, device="meta")).device.type == "meta"


def test_its_gradient_is_the_sum_of_what_it_let_through():
    x, gate = torch.randn(2, 3, 4, 5, dtype=torch.float64), Gate(-3)
    gate.z = leaf = torch.rand(3, dtype=torch.float64).requires_grad_()
    weights = torch.randn_like(x)
    (gate(x) * weights).sum().backward()
    expected = torch.stack([(x[:, h] * weights[:, h]).sum() for h in range(3)])
    torch.testing.assert_close(leaf.grad, expected)


def test_it_tells_how_many_are_open():
    gate = Gate(-1)
    assert gate.extra_repr() == ""
    gate.z = torch.tensor([0.0, 0.3, 1.0])
    assert gate.extra_repr() == "open=2 of 3"


def test_a_model_with_gates_has_the_names_it_had_without_them():
    """Checkpoints of before and after are the same, and load into each other."""
    model = build("translation", "encoder_decoder", attention("dense"), "alibi", "vaswani2017")
    names = list(model.state_dict())
    assert not [name for name in names if "gate." in name and name.endswith("z")]
    weighed = opened(model)
    put(model, weighed)
    assert list(model.state_dict()) == names
    model.load_state_dict(model.state_dict())
    take_off(model)
    assert all(site.part.unit_gate.z is None and site.residual.gate.z is None for site in sites(model))


def opened(model):
    from manyheads.pruning.gates import Gates

    found = sites(model)
    return Gates({s.name: torch.ones(s.part.units) for s in found}, {s.name: torch.tensor(1.0) for s in found})


def test_the_names_of_the_weights_are_those_of_old_checkpoints():
    """As they were before there were gates: no run of an older version is lost."""
    model = build("language_model", "decoder_only", attention("dense"), "rope", "modern", layers=1)
    layer = "decoder.blocks.0"
    own = [f"{layer}.read_own.{part}.weight" for part in ("inner.q", "inner.kv", "inner.out", "norm")]
    think = [f"{layer}.think.{part}.weight" for part in ("inner.gate", "inner.up", "inner.down", "norm")]
    assert sorted(model.state_dict()) == sorted(
        ["embed.table.weight", "head.weight", *own, *think, "decoder.norm.weight"]
    )
