"""Provisional: parameters alone, until the whole of it is here."""

from dataclasses import dataclass

from manyheads.pruning.sites import sites


@dataclass(frozen=True)
class Costs:
    base: str
    unit: dict
    whole: dict
    units: dict

    @property
    def total(self):
        return sum(self.whole[n] + self.units[n] * self.unit[n] for n in self.unit)

    def of(self, kept):
        found = 0.0
        for n in self.unit:
            k = kept.get(n, self.units[n])
            found += 0.0 if k is None else self.whole[n] + k * self.unit[n]
        return found

    def share(self, kept):
        return 1 - self.of(kept) / self.total


def unit_costs(model, run, base, heads):
    unit, whole, units = {}, {}, {}
    for site in sites(model):
        part = site.part
        made = sum(p.numel() for name in part.makes for p in part.get_submodule(name).parameters())
        made += part.last.weight.numel()
        fixed = 0 if part.last.bias is None else part.last.bias.numel()
        if site.kind == "heads" and heads == "within" and site.per_group > 1:
            kv = sum(p.numel() for p in part.kv.parameters())
            made, fixed = made - kv, fixed + kv
        if site.residual.pre_norm:
            fixed += sum(p.numel() for p in site.residual.norm.parameters())
        unit[site.name], whole[site.name], units[site.name] = made / part.units, float(fixed), part.units
    return Costs(base, unit, whole, units)
