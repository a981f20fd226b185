"""Physically smaller sublayers: weights of closed units are cut out, open ones stay in their order."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor, nn

from manyheads.model.layers import Constant, MultiHead, Part, Residual


@dataclass(frozen=True)
class Cut:
    """What is left of a tensor: these places along this axis; without one, of all its numbers those at these places."""

    axis: int | None
    places: Int[Tensor, "..."]

    def of(self, x: Tensor) -> Tensor:
        places = self.places.to(x.device)
        return x.flatten()[places] if self.axis is None else x.index_select(self.axis, places)


@dataclass(frozen=True)
class Origin:
    """Where a parameter of a compact model comes from: `old`, cut, then weighed by `scale` (which broadcasts).

    first: what was done to it before.
    """

    old: str
    cut: Cut | None = None
    scale: Tensor | None = None
    first: "Origin | None" = None

    def of(self, x: Tensor, power: int = 1) -> Tensor:
        """The same of a tensor of the parameter's old shape, weighed by scale^power."""
        x = x if self.first is None else self.first.of(x, power)
        x = x if self.cut is None else self.cut.of(x)
        return x if self.scale is None else x * self.scale.to(x).pow(power)

    def behind(self, first: "Origin") -> "Origin":
        """Both, one after the other."""
        return replace(self, old=first.old, first=first)


def keep(residual: Residual, units: Sequence[int] | None) -> None:
    """Leaves these units of the sublayer, by their present places, ascending; None removes it.

    Raises ValueError where query heads would no longer divide evenly among key-value heads.
    """
    if units is None:
        residual.inner = None
        if residual.pre_norm:
            residual.norm = None  # nothing reads what it makes
        return
    part = residual.inner
    if len(units) == part.units:
        return
    if not len(units):
        keep_bias(residual)
        return
    for name, cut in cuts(part, units).items():
        _put(part, name, cut.of(part.get_parameter(name)))
    if isinstance(part, MultiHead):
        part.attention.keep(tuple(units), groups(part, units))
    part.kept = tuple(part.kept[unit] for unit in units)


def keep_bias(residual: Residual) -> None:
    """No unit is left; a bias of the last projection goes on being added."""
    bias = residual.inner.last.bias
    if bias is None:
        keep(residual, None)
    else:
        residual.inner = Constant(bias).train(residual.training)


def cuts(part: Part, units: Sequence[int]) -> dict[str, Cut]:
    """What keeping these units leaves of each weight of `part` that loses anything, by its name within the part."""
    rows, columns = _rows(part, units), torch.as_tensor(units)
    if isinstance(part, MultiHead):
        columns = _spread(units, part.attention.head_dim)
    found = {}
    for name in part.makes:
        found[f"{name}.weight"] = Cut(0, rows[name])
        if part.get_submodule(name).bias is not None:
            found[f"{name}.bias"] = Cut(0, rows[name])
    last = next(name for name, module in part.named_children() if module is part.last)
    return {**found, f"{last}.weight": Cut(1, columns)}


def own_cuts(part: Part, units: Sequence[int]) -> dict[str, Cut]:
    """The same of weights that an attention owns: what its `keep` does with them tells a copy that holds places."""
    if not isinstance(part, MultiHead) or next(part.attention.parameters(), None) is None:
        return {}
    copy = deepcopy(part.attention)
    for weight in copy.parameters():
        weight.data = torch.arange(weight.numel(), dtype=torch.float64).view(weight.shape)
    copy.keep(tuple(units), groups(part, units))
    return {f"attention.{name}": Cut(None, places.long()) for name, places in copy.named_parameters()}


def groups(part: MultiHead, units: Sequence[int]) -> tuple[int, ...]:
    """The key-value heads that these query heads read; a ValueError unless each is read by as many."""
    each = part.units // part.attention.kv_heads
    found = sorted({unit // each for unit in units})
    readers = {group: sum(unit // each == group for unit in units) for group in found}
    if len(set(readers.values())) > 1:
        raise ValueError(f"key-value heads would be read by different numbers of query heads: {readers}")
    return tuple(found)


def _rows(part: Part, units: Sequence[int]) -> dict[str, Tensor]:
    if not isinstance(part, MultiHead):
        return dict.fromkeys(part.makes, torch.as_tensor(units))
    size, own = part.attention.head_dim, part.attention.kv_heads
    read = groups(part, units)
    # Keys of all heads stand before the values of all.
    return {"q": _spread(units, size), "kv": _spread([*read, *(own + group for group in read)], size)}


def _spread(heads: Sequence[int], size: int) -> Int[Tensor, "k"]:
    """The rows of these heads, of `size` each."""
    return (torch.as_tensor(heads).unsqueeze(1) * size + torch.arange(size)).flatten()


def _put(part: nn.Module, name: str, value: Tensor) -> None:
    owner, _, own = name.rpartition(".")
    linear, old = part.get_submodule(owner), part.get_parameter(name)
    setattr(linear, own, nn.Parameter(value.detach().clone(), requires_grad=old.requires_grad))
    if own == "weight":
        linear.out_features, linear.in_features = value.shape
