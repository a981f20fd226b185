"""What was measured before, on this device and with these versions: one small file per environment."""

import hashlib
import json
import logging
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from manyheads import atomic
from manyheads.attention.race import Found
from manyheads.errors import UserError

log = logging.getLogger(__name__)


class Timings:
    """Measurements by their case, kept in `path`.

    Several processes may write: each adds its own to what it finds there, and the file is whole at any time. What is
    lost when two write at once is measured again.
    """

    def __init__(self, path: Path, environment: dict[str, Any]) -> None:
        self.path, self.environment = path, environment
        self.known: dict[str, Found] = self._read()
        self.told: set[str] = set()

    def add(self, case: str, found: Found) -> None:
        """A case in which nobody ran is known to this process alone: the next one may have more memory."""
        self.known = {**self._read(), **self.known, case: found}
        kept = {case: row for case, row in self.known.items() if timed(row)}
        content = {"environment": self.environment, "seconds": kept}
        try:
            atomic.write_text(self.path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except (OSError, UserError) as problem:
            log.warning("attention=auto cannot remember what it measured: %s", problem)

    def _read(self) -> dict[str, Found]:
        if not self.path.exists():
            return {}
        try:
            return _checked(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as problem:
            log.warning("attention=auto measures anew: %s cannot be read (%s)", self.path, problem)
            # Out of the way, so that it is told once.
            self.path.unlink(missing_ok=True)
            return {}


def _checked(content: Any) -> dict[str, Found]:
    found = content.get("seconds") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(row, dict) and _fits(row) for row in found.values()):
        raise ValueError("it holds no table of seconds")
    return found


def _fits(row: dict[str, Any]) -> bool:
    values = row.values()
    known = all(isinstance(value, str) or (isinstance(value, float) and value > 0) for value in values)
    return known and any(isinstance(value, float) for value in values)


def timed(row: Found) -> dict[str, float]:
    """The seconds of a row, without the reasons."""
    return {name: seconds for name, seconds in row.items() if not isinstance(seconds, str)}


def fastest(found: dict[str, float]) -> str:
    """Who took the least time."""
    return min(found, key=lambda name: found[name])


def tell(table: Timings, case: str) -> None:
    """Logs who was measured in this case, and who is chosen: once in a process."""
    if case in table.told:
        return
    table.told.add(case)
    found, times = table.known[case], timed(table.known[case])
    width, choice = max(map(len, found)), fastest(times) if times else "what can run, unmeasured,"
    lines = [f"  {name:{width}}  {s * 1e3:10.3f} ms" for name, s in sorted(times.items(), key=lambda item: item[1])]
    lines += [f"  {name:{width}}  {reason}" for name, reason in found.items() if isinstance(reason, str)]
    log.info("attention=auto takes %s for %s\n%s", choice, case, "\n".join(lines))


def timings(folder: str, device: torch.device) -> Timings:
    """The one table of this process for `device` and its present number of threads."""
    return _timings(folder, device, torch.get_num_threads())


@cache
def _timings(folder: str, device: torch.device, threads: int) -> Timings:
    environment = {"device": device_name(device), "threads": threads, **versions()}
    digest = hashlib.sha256(json.dumps(environment).encode()).hexdigest()[:16]
    return Timings(Path(folder) / "attention" / f"{digest}.json", environment)


@cache
def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def versions() -> dict[str, str]:
    """Of what computes; our own kernels change between releases, so their sources count as well."""
    found = {name: _version(name) for name in ("torch", "triton", "manyheads")}
    digest = hashlib.sha256()
    for source in sorted((Path(__file__).parent / "kernels").rglob("*.py")):
        digest.update(source.read_bytes())
    return {**found, "kernels": digest.hexdigest()[:16]}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
