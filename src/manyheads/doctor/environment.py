"""The machine: versions, devices, threads, and room on the disk and in memory."""

import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from omegaconf import DictConfig
from packaging.requirements import Requirement

from manyheads.doctor.checks import Findings
from manyheads.estimate.estimate import device_of
from manyheads.estimate.machine import memory
from manyheads.estimate.show import size
from manyheads.training.record import device_name

SECTION = "environment"
SHOWN = ("torch", "lightning", "hydra-core")

LITTLE = 1 << 30
"""Bytes on the disk below which a run of any size is near its end."""

RARE = ("avx512_bf16", "amx_bf16")
"""What a processor has that computes with bf16 by itself (/proc/cpuinfo)."""


def environment(cfg: DictConfig, found: Findings, waits: str | None) -> None:
    """waits: OMP_WAIT_POLICY as the user's shell has it."""
    _versions(found)
    _devices(cfg, found)
    _triton(found)
    _precision(cfg, found)
    _threads(found, waits)
    _disk(cfg, found)
    _memory(device_of(cfg), found)


def _memory(device: torch.device, found: Findings) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        device = torch.device("cpu")
    free = memory(device)
    light = "green" if free > LITTLE else "yellow"
    found.add(SECTION, "memory", light, f"{size(free)} of memory are free on the {device.type}.", free=free)


def _versions(found: Findings) -> None:
    have, wrong = {}, []
    for line in requires("manyheads") or []:
        asked = Requirement(line)
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        have[asked.name] = _version(asked.name)
        if have[asked.name] is None or not asked.specifier.contains(have[asked.name], prereleases=True):
            wrong.append(f"{asked.name} {have[asked.name] or 'is missing'} (wanted: {asked.specifier})")
    shown = ", ".join(f"{name} {have.get(name)}" for name in SHOWN)
    words = f"Python {platform.python_version()}, {shown}."
    if wrong:
        light = "red" if any("missing" in one for one in wrong) else "yellow"
        words += f" Not as pyproject.toml asks: {'; '.join(wrong)}: pip install -e . mends it."
    found.add(SECTION, "versions", light if wrong else "green", words, versions=have)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices(cfg: DictConfig, found: Findings) -> None:
    device, gpus = device_of(cfg), torch.cuda.device_count()
    asked = str(cfg.trainer.accelerator)
    light, words = "green", f"The run will be on {device_name(device)} ({device.type})."
    if device.type == "cuda" and not gpus:
        light, words = "red", f"trainer.accelerator={asked}, and torch finds no GPU here: take trainer=cpu."
    elif device.type == "cpu" and gpus:
        light, words = "yellow", f"The run will be on the CPU, and {gpus} GPU lies idle: take trainer=gpu."
    elif device.type == "cpu" and torch.version.cuda is None and Path("/dev/nvidia0").exists():
        light, words = "yellow", "There is a GPU, and this torch is built for CPUs alone: install its CUDA build."
    found.add(SECTION, "device", light, words, device=device.type, gpus=gpus)


def _triton(found: Findings) -> None:
    known = _version("triton")
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if known is None:
        light, words = "yellow", "Triton is not installed, so our own GPU kernels are not to be had."
    elif torch.cuda.is_available():
        light, words = "green", f"Triton {known} compiles our kernels for this GPU."
    elif interpreted:
        light, words = (
            "yellow",
            f"Triton {known} runs as an interpreter (TRITON_INTERPRET=1), thousands of times slower.",
        )
    else:
        light, words = "green", f"Triton {known} is there and has no GPU to compile for; torch's kernels compute."
    found.add(SECTION, "triton", light, words, version=known)


def _precision(cfg: DictConfig, found: Findings) -> None:
    asked, device = str(cfg.trainer.precision), device_of(cfg)
    if device.type == "cpu" and asked.startswith("16"):
        light = "red"
        words = f"trainer.precision={asked} is for GPUs: on a CPU take bf16-mixed or 32."
    elif device.type == "cpu" and asked.startswith("bf16") and not _computes_bf16():
        light = "yellow"
        words = f"trainer.precision={asked}: this processor has no bf16 of its own, so 32 is as fast or faster."
    else:
        light, words = "green", f"trainer.precision={asked} is at home on this device."
    found.add(SECTION, "precision", light, words)


def _computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True  # no Linux: nobody says
    return any(flag in flags for flag in RARE)


def _threads(found: Findings, waits: str | None) -> None:
    threads, cores = torch.get_num_threads(), _cores()
    facts = {"threads": threads, "cores": cores, "omp_wait_policy": waits}
    if waits is not None and waits.upper() != "PASSIVE":
        words = f"OMP_WAIT_POLICY={waits}: idle threads spin, up to 27 times slower on shared cores; set PASSIVE."
        found.add(SECTION, "threads", "yellow", words, **facts)
    elif threads > cores:
        words = f"{threads} threads share {cores:g} cores: set OMP_NUM_THREADS={max(1, int(cores))}."
        found.add(SECTION, "threads", "yellow", words, **facts)
    else:
        words = f"{threads} threads on {cores:g} cores; those that wait sleep."
        found.add(SECTION, "threads", "green", words, **facts)


def _cores() -> float:
    """That this process may use: its affinity, and what its control group gives."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else min(allowed, int(quota) / int(period))


def _disk(cfg: DictConfig, found: Findings) -> None:
    """Runs are written below paths.outputs, which a run makes where it is missing."""
    asked = Path(cfg.paths.outputs).expanduser().absolute()
    there = next(folder for folder in (asked, *asked.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as problem:
        words = (
            f"paths.outputs={cfg.paths.outputs} cannot be written ({there}: {problem.strerror}): name another folder."
        )
        found.add(SECTION, "disk", "red", words, folder=str(there))
        return
    free = shutil.disk_usage(there).free
    words = f"{size(free)} are free where runs are written ({there})."
    found.add(SECTION, "disk", "green" if free > LITTLE else "yellow", words, folder=str(there), free=free)
