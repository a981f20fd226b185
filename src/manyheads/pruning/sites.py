"""Where a model can be pruned: its sublayers, by the names that its weights have."""

from dataclasses import dataclass

from torch import nn

from manyheads.attention.base import Attention
from manyheads.errors import UserError
from manyheads.model.layers import MultiHead, Part, Residual


@dataclass(frozen=True)
class Site:
    """A sublayer that has units: `residual`, called `name` in the model."""

    name: str
    residual: Residual

    @property
    def part(self) -> Part:
        return self.residual.inner

    @property
    def kind(self) -> str:
        return self.part.kind

    @property
    def block(self) -> str:
        """The name of the layer that it belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def per_group(self) -> int:
        """Units that stand together: query heads of one key-value head."""
        part = self.part
        return part.units // part.attention.kv_heads if isinstance(part, MultiHead) else 1


def sites(model: nn.Module) -> list[Site]:
    """All that have units, in the order of the model's modules."""
    return [Site(name, module) for name, module in residuals(model).items() if isinstance(module.inner, Part)]


def residuals(model: nn.Module) -> dict[str, Residual]:
    """All sublayers that began with units, also those of which pruning has left nothing, by name."""
    found = ((name, module) for name, module in model.named_modules() if isinstance(module, Residual))
    return {name: module for name, module in found if module.kind is not None}


def refuse_uncut(found: list[Site]) -> None:
    """Raises UserError for an attention that has weights for each head and no rule which of them stay."""
    for attention in (site.part.attention for site in found if isinstance(site.part, MultiHead)):
        own = [name for name, weight in attention.named_parameters() if attention.heads in weight.shape]
        if own and attention.heads > 1 and type(attention).keep is Attention.keep:
            name = type(attention).__name__
            raise UserError(
                f"{name}.{own[0]} may hold a value for each of {attention.heads} heads, and {name} has no "
                "keep(heads, kv_heads) that takes those of the kept ones: define it (docs/add_an_attention.md), or set "
                "pruning.heads=none."
            )
