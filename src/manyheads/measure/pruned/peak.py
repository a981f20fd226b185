"""How much memory a model takes to compute a batch, in a process of its own; the least of several.

Counted from before the model is there: its weights and all that a forward pass makes. What reading a checkpoint took
beside is over by then and does not count.
"""

import ctypes
import gc
import pickle
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

from manyheads.data.batch import Batch
from manyheads.measure.pruned.sides import Origin, Side

TIMES = 3


def peaks(sides: dict[str, Side], batch: Batch, times: int) -> dict[str, int | None]:
    """Bytes, by side; None where the system does not tell."""
    import torch

    told = pickle.dumps(batch), sides["base"].device.type, torch.get_num_threads()
    found: dict[str, list[int | None]] = {name: [] for name in sides}
    for _ in range(times):
        for name, side in sides.items():
            found[name].append(_apart(side.origin, *told))
    return {name: None if None in taken else min(taken) for name, taken in found.items()}


def _apart(*told: Any) -> int | None:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(peak, *told).result()


def peak(origin: Origin, batch: bytes, device: str, threads: int) -> int | None:
    """Bytes of this process, at their most while the model computes the batch."""
    import torch

    from manyheads.measure.pruned.sides import load
    from manyheads.training.memory import Growth
    from manyheads.training.quiet import quiet_lightning

    quiet_lightning()
    torch.set_num_threads(threads)
    _tidy()
    begun = Growth(torch.device(device))
    side = load(origin, torch.device(device))
    _tidy()
    loaded = Growth(torch.device(device))
    side.forward(side.given(pickle.loads(batch)))
    grown = loaded.peak()
    return None if grown is None else max(0, grown + loaded.before - begun.before)


def _tidy() -> None:
    """Gives back what is free."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
