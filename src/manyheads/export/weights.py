"""Weights in a safetensors file: no pickle, and tensors that several names share stand in it once."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as packed
from torch import Tensor

from manyheads.errors import UserError

FILE, INT8 = "model.safetensors", "model.int8.safetensors"


def save(weights: dict[str, Tensor], path: Path) -> dict[str, str]:
    """Writes them; the names that were left out, each with the one that it shares its numbers with."""
    shared = _shared(weights)
    kept = {name: x.detach().cpu().contiguous() for name, x in weights.items() if name not in shared}
    path.write_bytes(packed(kept))  # safetensors' own files are for their owner alone
    return shared


def read(path: Path, shared: dict[str, str]) -> dict[str, Tensor]:
    try:
        found = load_file(path)
        return found | {name: found[other] for name, other in shared.items()}
    except FileNotFoundError as problem:
        raise UserError(f"{path} is not there: name the folder of a complete export.") from problem
    except (SafetensorError, KeyError, OSError) as problem:
        raise UserError(f"{path} is damaged ({problem}); export the model again.") from problem


def _shared(weights: dict[str, Tensor]) -> dict[str, str]:
    first: dict[tuple, str] = {}
    owners = {name: first.setdefault(_place(name, x), name) for name, x in weights.items()}
    return {name: owner for name, owner in owners.items() if name != owner}


def _place(name: str, x: Tensor) -> tuple:
    """The same for names of the same numbers."""
    return (x.data_ptr(), x.shape, x.stride(), x.dtype) if x.numel() else (name,)
