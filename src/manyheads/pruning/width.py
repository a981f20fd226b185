"""A narrower residual stream: some of its dimensions are cut out of all that writes to it, norms it or reads it.

Heads, neurons and whatever else is inside a sublayer keep their sizes, and embeddings their scale. Exact where the
dimensions that go are zero throughout: the mean square over n dimensions that RMSNorm divides by is that of the k
others times k / n, which goes into its weight and its eps. LayerNorm moves zeros away from zero, so models that have it
are refused. Where something was written to what goes (waves of positions always write), the rest has to learn anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manyheads.errors import UserError
from manyheads.model import aggregate, pool, ways
from manyheads.model.bag import BagOfWords
from manyheads.model.embed import Embedding
from manyheads.model.head import Head
from manyheads.model.layers import Constant, FeedForward, MultiHead, SwiGLU
from manyheads.model.patches import KnownPatch, PatchEmbedding
from manyheads.model.revin import RevIN
from manyheads.model.shapes import Shape
from manyheads.position.base import Position
from manyheads.position.learned import Learned
from manyheads.pruning.keep import Cut, Origin


@dataclass(frozen=True)
class Side:
    """How a weight meets the stream: which of its axes is the width, and whether it writes."""

    axis: int
    writes: bool = False
    norms: bool = False


READS, MAKES, ADDS, NORMS, APART = Side(1), Side(0, writes=True), Side(-1, writes=True), Side(0, norms=True), None
"""Weights of a map from the stream and to it, what is added as it is (a bias, rows of a table), norms, and the rest."""

SIDES: dict[type[nn.Module], dict[str, Side | None]] = {
    Embedding: {"table.weight": ADDS},
    Learned: {"table.weight": ADDS},
    Head: {"weight": READS},
    MultiHead: {"q.weight": READS, "kv.weight": READS, "out.weight": MAKES, "out.bias": ADDS}
    | dict.fromkeys(("q.bias", "kv.bias"), APART),
    SwiGLU: {"gate.weight": READS, "up.weight": READS, "down.weight": MAKES},
    FeedForward: {"up.weight": READS, "up.bias": APART, "down.weight": MAKES, "down.bias": ADDS},
    Constant: {"bias": ADDS},
    nn.RMSNorm: {"weight": NORMS},
    pool.Attention: {"query.weight": READS},
    aggregate.Aggregate: {"classify.weight": READS, "classify.bias": APART},
    aggregate.Attention: {"content.weight": READS, "gate.weight": READS}
    | dict.fromkeys(("content.bias", "gate.bias", "weigh.weight"), APART),
    BagOfWords: {"table": APART},
    RevIN: {"log_scale": APART, "shift": APART},
    PatchEmbedding: {"values.weight": MAKES, "values.bias": ADDS},
    KnownPatch: {"weigh.weight": MAKES},
    ways.Way: {"head.weight": READS, "head.bias": APART, "effect.weight": APART},
    ways.AtOnce: {"straight.weight": APART},
    ways.Answered: {"places": ADDS, "queries": ADDS},
}
"""By kind of module, all weights that it has, by their names within it."""


@torch.no_grad()
def narrow_width(model: nn.Module, kept: Sequence[int]) -> dict[str, Origin]:
    """Leaves these dimensions of the residual stream, by their present places, ascending; in place.

    Returns where each parameter comes from, by its name. Raises UserError, and leaves the model as it is, where a part
    of it cannot be narrowed.
    """
    refuse_width(model, kept)
    shape, sides, before = stream(model), _sides(model), dict(model.named_parameters(remove_duplicate=False))
    origins = {name: _origin(name, weight, sides[name], kept, shape.dim) for name, weight in before.items()}
    made: dict[int, nn.Parameter] = {}
    for name, weight in before.items():
        if origins[name].cut is not None:
            _put(model, name, made.setdefault(id(weight), _parameter(weight, origins[name])))
    for name, side in sides.items():
        if side is NORMS:
            norm = model.get_submodule(name.rpartition(".")[0])
            norm.normalized_shape, norm.eps = (len(kept),), _eps(norm) * shape.dim / len(kept)
    for module in model.modules():
        if isinstance(module, Position):
            module.keep(tuple(kept))
    shape.dims = tuple(shape.dims[dim] for dim in kept)
    return origins


@torch.no_grad()
def quietest(model: nn.Module, count: int) -> tuple[int, ...]:
    """The `count` dimensions to which least is written, ascending, by the squared norm of the weights that write.

    Of tables counts what one of their rows writes, the mean over all.
    """
    loud = torch.zeros(stream(model).dim, dtype=torch.float64)
    for name, side in _sides(model).items():
        if side is not None and side.writes:
            rows = model.get_parameter(name).double().cpu().movedim(side.axis, 0).square() * _gain(model, name)
            rows = rows.reshape(len(rows), -1)
            loud += rows.mean(1) if side is ADDS else rows.sum(1)
    return tuple(sorted(loud.argsort(stable=True)[:count].tolist()))


def refuse_width(model: nn.Module, kept: Sequence[int]) -> None:
    """Raises UserError where a part of the model cannot be narrowed, and ValueError where `kept` are no dimensions."""
    _sides(model)
    dim = stream(model).dim
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < dim:
        raise ValueError(f"the width keeps no ascending dimensions below {dim}: {list(kept)}")


def stream(model: nn.Module) -> Shape | None:
    """The body, whose width is the stream's; None in a module without one."""
    return next((module for module in model.modules() if isinstance(module, Shape)), None)


def _sides(model: nn.Module) -> dict[str, Side | None]:
    """How each weight meets the stream, by its name. Raises UserError where that is not known of one."""
    found: dict[str, Side | None] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.LayerNorm):
            raise UserError(
                f"The width cannot be cut: {prefix} is a LayerNorm, which depends on how many dimensions there are; "
                "take model/block=modern."
            )
        for kind, sides in SIDES.items():
            if isinstance(module, kind):
                found |= {f"{prefix}.{name}" if prefix else name: side for name, side in sides.items()}
    # What an attention owns belongs to its heads, norms of them included.
    inside = [f"{name}.attention." for name, module in model.named_modules() if isinstance(module, MultiHead)]
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    found |= {name: APART for name in names if name.startswith(tuple(inside))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise UserError(f"The width cannot be cut: nobody knows how {unknown[0]} meets the residual stream.")
    return {name: found[name] for name in names}


def _origin(name: str, weight: Tensor, side: Side | None, kept: Sequence[int], dim: int) -> Origin:
    if side is APART:
        return Origin(name)
    # Several states side by side are read by as many blocks of columns.
    blocks = torch.arange(0, weight.size(side.axis), dim).unsqueeze(1)
    cut = Cut(side.axis, (blocks + torch.tensor(kept)).flatten())
    scale = torch.tensor((dim / len(kept)) ** 0.5, dtype=torch.float64) if side is NORMS else None
    return Origin(name, cut, scale)


def _parameter(weight: nn.Parameter, origin: Origin) -> nn.Parameter:
    return nn.Parameter(origin.of(weight.detach()).clone(), requires_grad=weight.requires_grad)


def _put(model: nn.Module, name: str, weight: nn.Parameter) -> None:
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    setattr(module, own, weight)
    if isinstance(module, nn.Linear) and own == "weight":
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.size(1)


def _eps(norm: nn.RMSNorm) -> float:
    return torch.finfo(norm.weight.dtype).eps if norm.eps is None else norm.eps


def _gain(model: nn.Module, name: str) -> float:
    """By which square what a weight writes is multiplied."""
    owner = model.get_submodule(name.removesuffix(".table.weight")) if name.endswith(".table.weight") else None
    return owner.scale**2 if isinstance(owner, Embedding) else 1.0
