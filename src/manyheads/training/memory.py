"""Memory that a training takes, as the system counts it: of a process, or of a GPU's allocator."""

import resource
from contextlib import suppress

import torch


class Growth:
    """How far memory grows from the moment at which this is made.

    On a CPU it is what the process holds without the pages of files: libraries are read in as they are first used,
    which is not the model's doing. Linux counts the most that was ever resident; the count is started anew here where
    the system allows it, so that a peak of the reading of data does not pass for one of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = self._now()
        self._restart()

    def peak(self) -> int | None:
        """Bytes; None where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        status = _status()
        if status is None or self.before is None:
            return None
        return max(0, status["VmHWM"] - status["RssFile"] - status["RssShmem"] - self.before)

    def _now(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        status = _status()
        return None if status is None else status["RssAnon"]

    def _restart(self) -> None:
        if self.device.type == "cuda":
            # Before anything is there, there is nothing to forget; and nobody is to touch the GPU who may yet fork.
            if torch.cuda.is_initialized():
                torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as counters:
            counters.write("5")


def peak_memory(device: torch.device) -> int:
    """Bytes since a `Growth` was begun: on the accelerator that is used, else of this process, libraries and all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Bytes that this process holds now; 0 where the system does not tell."""
    status = _status()
    return 0 if status is None else sum(status[name] for name in ("RssAnon", "RssFile", "RssShmem"))


def _status() -> dict[str, int] | None:
    """Bytes of this process by the kernel's names (Linux)."""
    wanted = ("VmHWM", "RssAnon", "RssFile", "RssShmem")
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as lines:
        found = {name: rest for name, _, rest in (line.partition(":") for line in lines) if name in wanted}
        if len(found) == len(wanted):
            return {name: int(rest.split()[0]) << 10 for name, rest in found.items()}
    return None
