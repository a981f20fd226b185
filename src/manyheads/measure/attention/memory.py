"""Peak memory of one call, over what was there before it, and a limit that turns too much into an error."""

import ctypes
import gc
import resource
from collections.abc import Callable

import torch

MIB = 1 << 20


def extra(call: Callable[[], object], device: torch.device) -> float:
    """MiB: resident memory of this process on a CPU (Linux), the allocator's on a GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = _fresh()
    call()
    return max(0.0, _status("VmHWM") - before)


def _fresh() -> float:
    """Gives freed memory back, starts the peak anew, and says what is resident (MiB)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as counters:
        counters.write("5")
    return _status("VmRSS")


def _status(key: str) -> float:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def free(device: torch.device) -> float:
    """MiB that a new process could take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / MIB
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def limit(mib: float, device: torch.device) -> None:
    """From here on an allocation that would add more than this fails, in this process alone."""
    if device.type == "cuda":
        share = mib * MIB / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
        return
    ceiling = int((_status("VmSize") + mib) * MIB)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, resource.getrlimit(resource.RLIMIT_AS)[1]))
