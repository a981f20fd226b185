"""What the processes of a run found, put together; alone, each function gives back what it was given."""

from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

Key, Value = TypeVar("Key"), TypeVar("Value")


def gathered(found: dict[Key, Value]) -> dict[Key, Value]:
    """What all ranks have; by its key, such as the number of a row, nothing counts twice."""
    if not _several():
        return found
    parts: list[dict[Key, Value]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, found)
    return {key: value for part in parts for key, value in part.items()}


def add_up(sums: Tensor) -> None:
    """In place: the sum over all ranks."""
    if _several():
        dist.all_reduce(sums)


def processes() -> int:
    """How many share the work."""
    return dist.get_world_size() if _several() else 1


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
