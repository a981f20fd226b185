"""What this machine can do and has left, measured when first asked: ceilings of time, and free memory."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from manyheads.training.cost import matmul_ceiling

COPIED = {"cpu": 32 << 20, "cuda": 1 << 30}
"""Bytes that are copied to learn how fast memory is: more than the caches hold."""

CALLS = 200
"""Small operations that are timed for what calling one costs, forward and backward."""


@dataclass(frozen=True)
class Machine:
    """flops: operations a second of a large matrix product. moved: bytes a second of a copy, read and written. call:
    seconds that an operation takes at least.
    """

    flops: float
    moved: float
    call: float


GROUP = Path("/sys/fs/cgroup")
GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Files of a control group: its limit, what it uses, and of that the pages of files by this name."""


@cache
def machine(device: torch.device, precision: str) -> Machine:
    """Measured once in a process: a run that is out of memory asks again, and has no room to measure in."""
    return Machine(matmul_ceiling(device, precision), _moved(device), _call(device))


def memory(device: torch.device) -> int:
    """Bytes that this process could still take: free on a GPU, else available and within the control group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo", encoding="ascii") as lines:
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    return min([available, *_group()])


def _group() -> list[int]:
    """What the control group leaves (v2, then v1); nothing where none limits."""
    found = []
    for limit, used, parts, pages in GROUPS:
        with suppress(OSError, ValueError, KeyError):
            most, now = (int((GROUP / name).read_text()) for name in (limit, used))
            # Pages of files count as used, but are given back when they are needed.
            lines = dict(line.split() for line in (GROUP / parts).read_text().splitlines())
            found.append(max(0, most - now + int(lines[pages])))
    return found


def _moved(device: torch.device) -> float:
    source = torch.ones(COPIED[device.type] // 4, device=device)
    goal = torch.empty_like(source)
    return 2 * COPIED[device.type] / _best(lambda: goal.copy_(source), device)


def _call(device: torch.device) -> float:
    """Half of all calls of a step are in its backward, so both are timed."""
    x = torch.ones(8, device=device, requires_grad=True)

    def chain() -> None:
        y = x
        for _ in range(CALLS):
            y = y * 1.0
        y.sum().backward()

    return _best(chain, device) / (2 * CALLS)


def _best(call, device: torch.device) -> float:
    best = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return best
