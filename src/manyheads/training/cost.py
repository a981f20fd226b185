"""What training costs: time, tokens, memory, arithmetic and energy, measured on the run itself."""

import time
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from manyheads.training.energy import Energy
from manyheads.training.flops import Counter
from manyheads.training.memory import Growth, peak_memory
from manyheads.training.record import device_name
from manyheads.training.steptime import StepTime

COUNTED = (1, 10, 100, 1000)
"""Steps whose arithmetic is counted: batches differ in length, and counting one costs a fraction of its time."""


class Cost(Callback):
    """Counts tokens, seconds of training steps (loading included, validation not), and the arithmetic of a few of them.

    Logs tokens per second and padding (share of padded cells) since the last time, learning rate and memory.

    growth: what memory was before the model was made. predicted: what an estimate said of this run.
    """

    def __init__(self) -> None:
        self.totals = {"seconds": 0.0, "tokens": 0, "cells": 0}
        self._recent = dict(self.totals)
        self._since: float | None = None
        self.counted = {"steps": 0, "flops": 0.0, "tokens": 0}
        self.ceiling: float | None = None
        self.growth: Growth | None = None
        self.predicted: dict[str, float] | None = None
        self.time, self.energy = StepTime(), Energy()
        # By rank: the device, its peak and growth in bytes, and joules; filled in where a training ends.
        self.ranks: dict[int, dict[str, Any]] = {}
        self._counting = ExitStack()
        self._device, self._processes = torch.device("cpu"), 1

    @property
    def flops_per_token(self) -> float | None:
        return self.counted["flops"] / self.counted["tokens"] if self.counted["tokens"] else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._device, self._processes = pl_module.device, trainer.world_size
        self.ceiling = matmul_ceiling(pl_module.device, trainer.precision)
        self.time.use(pl_module.device)
        if self.growth is not None:
            self.growth.device = pl_module.device
        self.energy.begin(pl_module.device, speaks=trainer.local_rank == 0)
        self._since = time.perf_counter()
        self.time.begin()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
        self.time.mark("data")
        self.counted["steps"] += 1
        if self.counted["steps"] in COUNTED:
            self.time.leave_out()
            self._counter = Counter(pl_module)
            self._counting.enter_context(self._counter.counting())

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        self.time.mark("forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.time.mark("backward")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._stop_counting(batch.tokens)
        now = time.perf_counter()
        for counts in (self.totals, self._recent):
            counts["seconds"] += now - self._since
            counts["tokens"] += batch.tokens
            counts["cells"] += batch.cells
        self._since = now
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self._log(trainer, pl_module)
            self.energy.read()
        self.time.mark("optimizer")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.energy.read()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()
        self.time.begin()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the last checkpoint is written, which may be all that comes back of forked processes."""
        self.energy.read()
        self.ranks = _all(trainer.global_rank, self._own())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Nothing of a step that broke off stays behind."""
        self._counting.close()

    def _stop_counting(self, tokens: int) -> None:
        if self.counted["steps"] in COUNTED:
            self._counting.close()
            self.counted["flops"] += self._counter.total
            self.counted["tokens"] += tokens

    def _own(self) -> dict[str, Any]:
        """What this process alone knows."""
        return {
            "device": str(self._device),
            "peak": peak_memory(self._device),
            "growth": None if self.growth is None else self.growth.peak(),
            "joules": self.energy.joules,
            "source": self.energy.source,
        }

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        recent, self._recent = self._recent, dict.fromkeys(self._recent, 0)
        figures = {
            "cost/tokens_per_second": self._processes * recent["tokens"] / max(recent["seconds"], 1e-9),
            "cost/padding": 1 - recent["tokens"] / max(recent["cells"], 1),
            "cost/memory_bytes": float(peak_memory(self._device)),
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        pl_module.log_dict(figures, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        known = {"counted": dict(self.counted), "ceiling": self.ceiling, "processes": self._processes}
        measured = {"time": self.time.state_dict(), "joules": self.energy.joules, "ranks": self.ranks}
        return {"totals": dict(self.totals), **known, **measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # What an older version did not save starts at nothing.
        state_dict = {**self.state_dict(), **state_dict}
        self.totals, self.counted = dict(state_dict["totals"]), dict(state_dict["counted"])
        self.ceiling, self._processes = state_dict["ceiling"], state_dict["processes"]
        self.time.load_state_dict(state_dict["time"])
        self.energy.joules, self.ranks = state_dict["joules"], state_dict["ranks"]

    def summary(self, model: torch.nn.Module) -> dict[str, Any]:
        """The `cost` of metrics.json."""
        parameters = sum(p.numel() for p in model.parameters())
        seconds, tokens = self.totals["seconds"], self.totals["tokens"]
        # Processes share the work evenly: what this one counted stands for all.
        rate = self._processes * tokens / seconds if seconds else None
        flops = self.flops_per_token
        ranks = self.ranks or {0: self._own()}
        growths = [rank["growth"] for rank in ranks.values() if rank["growth"] is not None]
        joules = [rank["joules"] for rank in ranks.values() if rank["joules"] is not None]
        return {
            "parameters": parameters,
            "parameters_before_pruning": parameters,
            "train_seconds": seconds,
            "step_seconds": self.time.means(),
            "tokens_per_second": rate,
            "padding": 1 - tokens / self.totals["cells"] if self.totals["cells"] else None,
            "peak_memory_bytes": max(rank["peak"] for rank in ranks.values()),
            "peak_memory_by_device": {f"rank {n}, {rank['device']}": rank["peak"] for n, rank in ranks.items()},
            "growth_bytes": max(growths, default=None),
            "predicted": self.predicted,
            "flops_per_token": flops,
            "mfu": rate / self._processes * flops / self.ceiling if rate and flops and self.ceiling else None,
            "energy_joules": sum(joules) if joules else None,
            "energy_source": ranks[min(ranks)]["source"],
            "device": device_name(self._device),
        }


def _all(rank: int, own: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What each process knows, by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return {rank: own}
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return dict(enumerate(found))


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
