"""A run's folder: what it was asked, where it ran, how it ended. Reports read these files and nothing else."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from manyheads import atomic
from manyheads.errors import UserError

PACKAGES = ("torch", "lightning", "hydra-core", "datasets", "tokenizers", "torchmetrics", "triton", "sacrebleu")


class Record:
    """`metrics.json` in the making: written whole at the start, at the end, and when a run fails."""

    def __init__(self, folder: Path, cfg: DictConfig, choices: dict[str, str]) -> None:
        self.folder = folder
        # A resumed run keeps what it knew until it knows better.
        before = read_metrics(folder) if cfg.resume is not None and (folder / "metrics.json").exists() else {}
        self.content: dict[str, Any] = {
            "status": "running",
            "reason": None,
            "data": choices["data"],
            "data_contents": None,
            "model": choices["model"],
            "attention": choices["attention"],
            "attention_used": None,
            "position": choices["position"],
            "seed": cfg.seed,
            "weights": None,
            "train": {},
            "val": {},
            "test": {},
            "baseline": {},
            "signatures": {},
            "cost": {},
            "objective": None,
            **before,
        }

    def update(self, **parts: Any) -> None:
        self.content.update(parts)

    def close(self, status: str, reason: str | None = None) -> None:
        """Writes the file; `status` is running, finished, failed, interrupted or pruned."""
        self.update(status=status, reason=reason)
        text = json.dumps(_plain(self.content), indent=2, ensure_ascii=False)
        atomic.write_text(self.folder / "metrics.json", text + "\n")


def _plain(value: Any) -> Any:
    """Tensors as numbers; what is no number in JSON as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_config(folder: Path, cfg: DictConfig) -> None:
    """config.yaml, without any interpolation."""
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    atomic.write_text(folder / "config.yaml", OmegaConf.to_yaml(resolved))


def write_overrides(folder: Path, overrides: list[str]) -> None:
    """overrides.yaml: the command of the first start, by which `resume=auto` knows its own."""
    atomic.write_text(folder / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))


def read_choices(folder: Path) -> dict[str, str]:
    """Which yaml each group was taken from at the first start; of what pruned another run, as that one has it."""
    path = folder / ".hydra" / "hydra.yaml"
    try:
        base = OmegaConf.load(folder / "config.yaml").get("prunes")
        return dict(OmegaConf.load(path).hydra.runtime.choices) if base is None else read_choices(Path(base))
    except (OSError, YAMLError, AttributeError) as problem:
        raise UserError(f"{path} cannot be read, so this run cannot go on: {problem}.") from problem


def write_environment(folder: Path) -> None:
    text = json.dumps(environment(), indent=2)
    atomic.write_text(folder / "environment.json", text + "\n")


def environment() -> dict[str, Any]:
    """What a reader needs to run the same again."""
    return {
        "command": shlex.join([sys.executable, *sys.argv]),
        "git": _git("rev-parse", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": platform.platform(),
        "device": device_name(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def device_name(device: torch.device | None = None) -> str:
    """The name of `device`, or of the accelerator if there is one, else of the processor."""
    if torch.cuda.is_available() and (device is None or device.type == "cuda"):
        return torch.cuda.get_device_name(device)
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a run; a UserError where there is none or it is broken."""
    path = folder / "metrics.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise UserError(f"{folder} is not a run's folder: it has no metrics.json.") from problem
    except json.JSONDecodeError as problem:
        raise UserError(f"{path} is no whole JSON file: {problem}.") from problem
