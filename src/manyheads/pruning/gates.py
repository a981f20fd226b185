"""The gates of a whole model at once: what they are, set and taken off."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from manyheads.errors import UserError
from manyheads.pruning.sites import Site, sites


@dataclass(frozen=True)
class Gates:
    """units: z of each unit (units,) by the name of its site. layers: z of whole sublayers (), where they have any."""

    units: dict[str, Tensor]
    layers: dict[str, Tensor] = field(default_factory=dict)

    def content(self) -> dict[str, dict[str, Tensor]]:
        """As plain values, for a checkpoint."""
        kept = {name: z.detach().cpu().clone() for name, z in self.units.items()}
        return {"units": kept, "layers": {name: z.detach().cpu().clone() for name, z in self.layers.items()}}

    def kept(self) -> dict[str, int | None]:
        """How many units of each site are open; None where its sublayer is closed."""
        return {name: self._kept(name, z) for name, z in self.units.items()}

    def _kept(self, name: str, z: Tensor) -> int | None:
        whole = self.layers.get(name)
        return None if whole is not None and whole == 0 else int((z != 0).sum())


def of_content(content: Mapping[str, Any]) -> Gates:
    return Gates(dict(content["units"]), dict(content["layers"]))


def opened(found: list[Site]) -> Gates:
    """All open."""
    return Gates({site.name: torch.ones(site.part.units) for site in found})


def put(model: nn.Module, gates: Gates) -> None:
    """Weighs every unit of `model`. Raises UserError where the gates are of another model."""
    found = {site.name: site for site in sites(model)}
    odd = sorted(set(found) ^ set(gates.units))
    if odd or any(gates.units[name].numel() != site.part.units for name, site in found.items()):
        reason = f"{odd[0]} is in one of both alone" if odd else "sizes differ"
        raise UserError(f"The gates are of another model: {reason}. Leave out what changes the model.")
    for name, site in found.items():
        device = next(site.part.parameters()).device
        # `to` on the same device is the same tensor: whoever asks for its gradient finds it there.
        site.part.unit_gate.z = gates.units[name].to(device)
        site.residual.gate.z = gates.layers[name].to(device) if name in gates.layers else None


def take_off(model: nn.Module) -> None:
    for site in sites(model):
        site.part.unit_gate.z = site.residual.gate.z = None
