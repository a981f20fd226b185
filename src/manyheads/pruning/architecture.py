"""What pruning has left of a model, as a plain file beside its weights: a model is built from it, then loaded strictly.

    {"format": "manyheads architecture 1",
     "sublayers": {"encoder.blocks.0.read_own": {"kind": "heads", "of": 8, "kept": [0, 3]},
                   "encoder.blocks.0.think": {"kind": "neurons", "of": 512, "kept": [5, 17, …]},
                   "encoder.blocks.1.read_own": {"kind": "heads", "of": 8, "kept": null}},
     "width": {"of": 256, "kept": [0, 1, 3, …]}}

`kept` null: the sublayer is gone. []: of a sublayer without units, the bias of its last projection is left. `width` is
there where dimensions of the residual stream are missing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.model.layers import Part, Residual
from manyheads.pruning.keep import keep
from manyheads.pruning.sites import residuals
from manyheads.pruning.width import narrow_width, stream

FORMAT = "manyheads architecture 1"
FILE = "arch.json"


@dataclass(frozen=True)
class Architecture:
    """sublayers: by name, the kind of its units, how many it began with, and which are kept.

    width: the same of the residual stream; None where it is whole.
    """

    sublayers: dict[str, dict[str, Any]]
    width: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: nn.Module) -> "Architecture":
        """Of a model that was made whole and has been pruned since."""
        return cls({name: _entry(module) for name, module in residuals(model).items()}, _width(model))

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        entries = [*self.sublayers.values(), *([self.width] if self.width else [])]
        return all(entry["kept"] is not None and len(entry["kept"]) == entry["of"] for entry in entries)

    def content(self) -> dict[str, Any]:
        width = {} if self.width is None else {"width": self.width}
        return {"format": FORMAT, "sublayers": self.sublayers, **width}

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
    width = content.get("width")
    reasons = {name: _wrong_kind(entry) or _wrong(entry) for name, entry in sublayers.items()}
    reasons["width"] = None if width is None else _wrong(width, least=1)
    for name, reason in reasons.items():
        if reason is not None:
            raise UserError(f"{where}: {name} {reason}.")
    return Architecture(dict(sublayers), width)


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
    if architecture.width is not None:
        _narrow_width(model, architecture.width, where)


def _narrow_width(model: nn.Module, width: dict[str, Any], where: str) -> None:
    if stream(model).of != width["of"]:
        raise UserError(
            f"{where} is of another model: it is {width['of']} dimensions wide there and {stream(model).of} here."
        )
    narrow_width(model, width["kept"])


def _width(model: nn.Module) -> dict[str, Any] | None:
    body = stream(model)
    return None if body is None or body.dim == body.of else {"of": body.of, "kept": list(body.dims)}


def _entry(residual: Residual) -> dict[str, Any]:
    inner = residual.inner
    kept = None if inner is None else list(inner.kept) if isinstance(inner, Part) else []
    return {"kind": residual.kind, "of": residual.of, "kept": kept}


def _wrong_kind(entry: Any) -> str | None:
    known = isinstance(entry, dict) and entry.get("kind") in ("heads", "neurons")
    return None if known else "is neither of heads nor of neurons"


def _wrong(entry: Any, least: int = 0) -> str | None:
    kept, of = (entry.get("kept"), entry.get("of")) if isinstance(entry, dict) else (None, None)
    if type(of) is not int or of < 1:
        return f"has no whole number of units: {of}"
    if kept is None and not least:
        return None
    whole = isinstance(kept, list) and all(type(unit) is int and 0 <= unit < of for unit in kept)
    if whole and kept == sorted(set(kept)) and len(kept) >= least:
        return None
    return f"keeps no ascending units below {of}: {str(kept)[:60]}"


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raises RuntimeError unless the names are the same: torch passes over those below a sublayer that is gone."""
    names = set(model.state_dict())
    if names != set(weights):
        raise RuntimeError(f"Names that only one has: {', '.join(sorted(names ^ set(weights))[:5])}.")
    model.load_state_dict(weights)
