"""From a gated model to one that is really smaller: open gates are folded into weights, closed units cut out.

Where a gate z is neither 0 nor 1 it is folded into the projection behind it, where its product is linear: into the
columns of the last projection for a head or a neuron, into all of it, bias included, for a whole sublayer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from manyheads.model.layers import MultiHead, Part
from manyheads.pruning.keep import Origin, cuts, groups, keep, own_cuts
from manyheads.pruning.sites import Site, sites
from manyheads.pruning.width import narrow_width, refuse_width


@torch.no_grad()
def compact(model: nn.Module, width: Sequence[int] | None = None) -> dict[str, Origin]:
    """Cuts out, in place, whatever gates have closed, folds in those that are open, and takes all gates off.

    width: the dimensions of the residual stream that are left, None for all (see `width`: the one cut here that changes
    results, unless nothing is written to what goes).
    Returns where each parameter of the smaller model comes from, by its name: what belongs to parameters elsewhere
    (an optimizer's moments, means of weights) follows by it. Heads of key-value groups must be closed evenly: else a
    ValueError, and the model is as it was. The model gives the same results as before, to rounding.
    """
    origins, found = {}, sites(model)
    if width is not None:
        refuse_width(model, width)
    for site in found:
        _refuse_uneven(site)
    for site in found:
        origins |= _compacted(site)
    origins = {name: origins.get(name, Origin(name)) for name, _ in model.named_parameters(remove_duplicate=False)}
    if width is None:
        return origins
    return {name: origin.behind(origins[name]) for name, origin in narrow_width(model, width).items()}


def closed_units(site: Site) -> list[int]:
    """Places of the units whose gate is 0."""
    z = site.part.unit_gate.z
    return [] if z is None else (z == 0).nonzero().flatten().tolist()


def _refuse_uneven(site: Site) -> None:
    closed = set(closed_units(site))
    left = [unit for unit in range(site.part.units) if unit not in closed]
    if isinstance(site.part, MultiHead) and left and not _gone(site):
        groups(site.part, left)


def _gone(site: Site) -> bool:
    z = site.residual.gate.z
    return z is not None and bool(z == 0)


def _compacted(site: Site) -> dict[str, Origin]:
    residual, part = site.residual, site.part
    gone, whole, z = _gone(site), _exact(residual.gate.z, part), _exact(part.unit_gate.z, part)
    residual.gate.z = part.unit_gate.z = None
    if gone:
        keep(residual, None)
        return {}
    open_ = list(range(part.units)) if z is None else z.nonzero().flatten().tolist()
    last = next(name for name, module in part.named_children() if module is part.last)
    origins = _origins(site, part, open_, _scales(part, last, whole, z, open_))
    keep(residual, open_)
    if residual.inner is None:
        return {}
    if residual.inner is not part:  # a bias is all that is left
        _weigh(residual.inner.bias, whole)
        return {f"{site.name}.inner.bias": Origin(f"{site.name}.inner.{last}.bias", None, whole)}
    for name, parameter in part.named_parameters():
        _weigh(parameter, origins[f"{site.name}.inner.{name}"].scale)
    return origins


def _exact(z: Tensor | None, part: Part) -> Tensor | None:
    """In which products of gates are no coarser than the weights that they are folded into."""
    return None if z is None else z.detach().to(torch.promote_types(z.dtype, part.last.weight.dtype))


def _origins(site: Site, part: Part, units: list[int], scales: Mapping[str, Tensor]) -> dict[str, Origin]:
    cut = {**cuts(part, units), **own_cuts(part, units)} if 0 < len(units) < part.units else {}
    names = {name: f"{site.name}.inner.{name}" for name, _ in part.named_parameters()}
    return {long: Origin(long, cut.get(name), scales.get(name)) for name, long in names.items()}


def _scales(part: Part, last: str, whole: Tensor | None, z: Tensor | None, units: list[int]) -> dict[str, Tensor]:
    """By what weights are multiplied, behind the cut; nothing where that is 1."""
    columns = None
    if z is not None and (z[units] != 1).any():
        columns = z[units].repeat_interleave(part.last.in_features // part.units)
    if whole is not None and whole != 1:
        columns = whole if columns is None else columns * whole
    else:
        whole = None
    scales = {f"{last}.weight": columns, f"{last}.bias": whole}
    return {name: scale for name, scale in scales.items() if scale is not None}


def _weigh(parameter: Tensor, scale: Tensor | None) -> None:
    if scale is not None:
        parameter.mul_(scale.to(parameter))
