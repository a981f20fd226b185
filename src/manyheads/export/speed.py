"""How long models take for the same input, in turns, so that whatever else the machine does meets all of them."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

TURNS, WARM = 31, 3


def milliseconds(models: dict[str, Callable[..., Tensor]], sample: tuple[Tensor, ...]) -> dict[str, float]:
    """The median of TURNS for each, after WARM more."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(WARM + TURNS):
            for name, model in models.items():
                taken[name].append(_once(model, sample))
    return {name: 1e3 * median(found[WARM:]) for name, found in taken.items()}


def _once(model: Callable[..., Tensor], sample: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    model(*sample)
    return time.perf_counter() - start
