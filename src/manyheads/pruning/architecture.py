"""What pruning has left of a model, as a plain file beside its weights: a model is built from it, then loaded strictly.

    {"format": "manyheads architecture 1",
     "sublayers": {"encoder.blocks.0.read_own": {"kind": "heads", "of": 8, "kept": [0, 3]},
                   "encoder.blocks.0.think": {"kind": "neurons", "of": 512, "kept": [5, 17, …]},
                   "encoder.blocks.1.read_own": {"kind": "heads", "of": 8, "kept": null}}}

`kept` null: the sublayer is gone. []: of a sublayer without units, the bias of its last projection is left.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.model.layers import Part, Residual
from manyheads.pruning.keep import keep
from manyheads.pruning.sites import residuals

FORMAT = "manyheads architecture 1"
FILE = "arch.json"


@dataclass(frozen=True)
class Architecture:
    """sublayers: by name, the kind of its units, how many it began with, and which are kept."""

    sublayers: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, model: nn.Module) -> "Architecture":
        """Of a model that was made whole and has been pruned since."""
        return cls({name: _entry(module) for name, module in residuals(model).items()})

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return all(entry["kept"] is not None and len(entry["kept"]) == entry["of"] for entry in self.sublayers.values())

    def content(self) -> dict[str, Any]:
        return {"format": FORMAT, "sublayers": self.sublayers}

    def write(self, path: Path) -> None:
        atomic.write_text(path, json.dumps(self.content()) + "\n")


def read(path: Path) -> Architecture:
    """A UserError where the file is none."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError as problem:
        raise UserError(f"{path} is not there; name the arch.json of a pruned run.") from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise UserError(f"{path} cannot be read as an architecture: {problem}.") from problem


def parse(content: Any, where: str) -> Architecture:
    """From plain values, which may be a stranger's; `where` they stand is told in the UserError."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{where} is no architecture of a pruned model: it lacks the format '{FORMAT}'.")
    sublayers = content.get("sublayers")
    if not isinstance(sublayers, dict):
        raise UserError(f"{where} is no architecture of a pruned model: it names no sublayers.")
    for name, entry in sublayers.items():
        reason = _wrong(entry)
        if reason is not None:
            raise UserError(f"{where}: {name} {reason}.")
    return Architecture(dict(sublayers))


def narrow(model: nn.Module, architecture: Architecture, where: str = "The architecture") -> None:
    """Makes a model, built whole, as small as `architecture` says; what its weights are does not matter.

    Raises UserError, with `where` it stands, if it was written of another model.
    """
    found = residuals(model)
    if set(found) != set(architecture.sublayers):
        odd = sorted(set(found) ^ set(architecture.sublayers))[0]
        raise UserError(
            f"{where} is of another model: {odd} is in one of both alone. Leave out what changes the model."
        )
    for name, residual in found.items():
        entry = architecture.sublayers[name]
        own = (residual.kind, residual.of)
        if own != (entry["kind"], entry["of"]):
            there, here = f"{entry['of']} {entry['kind']}", f"{residual.of} {residual.kind}"
            raise UserError(f"{where} is of another model: {name} has {there} there and {here} here.")
        try:
            keep(residual, entry["kept"])
        except ValueError as problem:
            raise UserError(f"{where}: {name} cannot be built, since {problem}.") from problem


def _entry(residual: Residual) -> dict[str, Any]:
    inner = residual.inner
    kept = None if inner is None else list(inner.kept) if isinstance(inner, Part) else []
    return {"kind": residual.kind, "of": residual.of, "kept": kept}


def _wrong(entry: Any) -> str | None:
    if not isinstance(entry, dict) or entry.get("kind") not in ("heads", "neurons"):
        return "is neither of heads nor of neurons"
    kept, of = entry.get("kept"), entry.get("of")
    if type(of) is not int or of < 1:
        return f"has no whole number of units: {of}"
    if kept is None:
        return None
    whole = isinstance(kept, list) and all(type(unit) is int and 0 <= unit < of for unit in kept)
    return None if whole and kept == sorted(set(kept)) else f"keeps no ascending units below {of}: {str(kept)[:60]}"
