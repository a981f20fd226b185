"""Costs in weights. Tables that others share are in no sublayer, so none is counted."""

from torch import nn

from manyheads.pruning.cost_line import Line, half, kv_stays, through
from manyheads.pruning.keep import own_cuts
from manyheads.pruning.sites import Site


def weight_line(site: Site, heads: str) -> Line:
    part = site.part
    made = {name: _count(part.get_submodule(name)) for name in part.makes}
    fixed = made.pop("kv") if kv_stays(site, heads) else 0
    grows = sum(made.values()) + part.last.weight.numel()
    return Line(grows / part.units, float(fixed + beyond(site))) + _owned(site, heads)


def beyond(site: Site) -> int:
    """The bias of the last projection, and the norm of a pre-norm sublayer, which goes with it."""
    bias, residual = site.part.last.bias, site.residual
    return (0 if bias is None else bias.numel()) + (_count(residual.norm) if residual.pre_norm else 0)


def _owned(site: Site, heads: str) -> Line:
    """What an attention has of its own: cut as `keep` would, a part of it may be of no head."""
    fewer = half(site, heads)
    left = sum(cut.places.numel() for cut in own_cuts(site.part, fewer).values()) if fewer else 0
    attention = getattr(site.part, "attention", None)
    return through(site.part.units, 0 if attention is None else _count(attention), len(fewer), left)


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
