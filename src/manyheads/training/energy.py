"""Energy of the machine while it trains, by the counters of its own hardware, or none.

A GPU counts the millijoules that its board has taken (NVML, the optional package nvidia-ml-py). Processors count
microjoules in /sys/class/powercap (RAPL), where the system lets users read them; it is the whole package's energy, that
of other programs included. Nothing is ever guessed from a load and a table: without a counter there is no number.
"""

from collections.abc import Callable
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")

Reader = Callable[[], float]


class Energy:
    """Adds up joules between `begin` and `read`. source: what counts, or why nothing does."""

    def __init__(self) -> None:
        self.joules: float | None = None
        self.source = "nothing was trained"
        self._counters: list[Counter] = []

    def begin(self, device: torch.device, speaks: bool) -> None:
        """speaks: whether this process counts for the processors of its machine; each counts for its own GPU."""
        if device.type == "cuda":
            self._counters, self.source = _board(device)
        elif speaks:
            self._counters, self.source = _packages(POWERCAP)
        else:
            self._counters, self.source = [], "another process of this machine counts"
        if self._counters and self.joules is None:
            self.joules = 0.0

    def read(self) -> None:
        """Often enough that no counter goes round more than once: every minute does."""
        for counter in self._counters:
            self.joules += counter.gone()


class Counter:
    """Joules since the last reading of a counter that starts again at `most` (None: never)."""

    def __init__(self, reader: Reader, most: float | None) -> None:
        self.reader, self.most = reader, most
        self.last = reader()

    def gone(self) -> float:
        now, before = self.reader(), self.last
        self.last = now
        return now - before if now >= before or self.most is None else now - before + self.most


def _board(device: torch.device) -> tuple[list[Counter], str]:
    try:
        import pynvml
    except ImportError:
        return [], "none: nvidia-ml-py is not installed (pip install nvidia-ml-py)"
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        board = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        counter = Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(board) / 1e3, None)
    except pynvml.NVMLError as problem:
        return [], f"none: NVML says {problem}"
    return [counter], "NVML: the GPU's board"


def _packages(place: Path) -> tuple[list[Counter], str]:
    """The packages (sockets) alone: cores and memory are parts of them, or counted twice."""
    domains = sorted(place.glob("*-rapl:*"))
    packages = [domain for domain in domains if domain.name.count(":") == 1]
    if not packages:
        return [], f"none: {place} shows no RAPL counter here"
    try:
        counters = [Counter(_joules(package), _joules(package, "max_energy_range_uj")()) for package in packages]
        names = [(package / "name").read_text("ascii").strip() for package in packages]
    except (OSError, ValueError) as problem:
        return [], f"none: {problem}"
    return counters, f"RAPL: {', '.join(names)}, other programs included"


def _joules(domain: Path, name: str = "energy_uj") -> Reader:
    return lambda: int((domain / name).read_text("ascii")) / 1e6
