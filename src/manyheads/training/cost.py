"""What training costs: time, tokens, memory and arithmetic, measured on the run itself."""

import resource
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from manyheads.training.record import device_name


class Cost(Callback):
    """Counts tokens, seconds of training steps (loading included, validation not) and the arithmetic of the first step.

    Logs tokens per second and padding (share of padded cells) since the last time, learning rate and memory.
    """

    def __init__(self) -> None:
        self.totals = {"seconds": 0.0, "tokens": 0, "cells": 0}
        self._recent = dict(self.totals)
        self._since: float | None = None
        self.flops_per_token: float | None = None
        self.ceiling: float | None = None
        self._counter: FlopCounterMode | None = None
        self._device, self._processes = torch.device("cpu"), 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._device, self._processes = pl_module.device, trainer.world_size
        self.ceiling = matmul_ceiling(pl_module.device, trainer.precision)
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
        if self.flops_per_token is None:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.flops_per_token = self._counter.get_total_flops() / batch.tokens
            self._counter = None
        now = time.perf_counter()
        for counts in (self.totals, self._recent):
            counts["seconds"] += now - self._since
            counts["tokens"] += batch.tokens
            counts["cells"] += batch.cells
        self._since = now
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self._log(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        recent, self._recent = self._recent, dict.fromkeys(self._recent, 0)
        figures = {
            "train/tokens_per_second": self._processes * recent["tokens"] / max(recent["seconds"], 1e-9),
            "train/padding": 1 - recent["tokens"] / max(recent["cells"], 1),
            "train/memory_gib": peak_memory(self._device) / 2**30,
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        pl_module.log_dict(figures, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        known = {"flops_per_token": self.flops_per_token, "ceiling": self.ceiling, "processes": self._processes}
        return {"totals": dict(self.totals), **known}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.totals, self.flops_per_token = dict(state_dict["totals"]), state_dict["flops_per_token"]
        self.ceiling, self._processes = state_dict["ceiling"], state_dict["processes"]

    def summary(self, model: torch.nn.Module) -> dict[str, Any]:
        """The `cost` of metrics.json."""
        parameters = sum(p.numel() for p in model.parameters())
        seconds, tokens = self.totals["seconds"], self.totals["tokens"]
        # Processes share the work evenly: what this one counted stands for all.
        rate = self._processes * tokens / seconds if seconds else None
        flops = self.flops_per_token
        return {
            "parameters": parameters,
            "parameters_before_pruning": parameters,
            "train_seconds": seconds,
            "tokens_per_second": rate,
            "padding": 1 - tokens / self.totals["cells"] if self.totals["cells"] else None,
            "peak_memory_bytes": peak_memory(self._device),
            "flops_per_token": flops,
            "mfu": rate / self._processes * flops / self.ceiling if rate and flops and self.ceiling else None,
            "energy_joules": None,
            "device": device_name(self._device),
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: on the accelerator that is used, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matmul_ceiling(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product here and now, in the precision of the run: what MFU is of."""
    dtype = torch.bfloat16 if "bf16" in str(precision) else torch.float16 if "16" in str(precision) else torch.float32
    size = 1024 if device.type == "cpu" else 8192
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(4):
        _wait(device)
        begun = time.perf_counter()
        a @ a
        _wait(device)
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
