"""Weights, gradients and optimizer state shared out among all processes: torch's FSDP2, through Lightning.

What a run leaves is what one device leaves: one file with whole tensors under the usual names, so that any number of
processes goes on with it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

STEPS = ("training_step", "validation_step")
"""Where a task computes: inside them, and there alone, its own weights are whole."""


class FSDP2(ModelParallelStrategy):
    """Fully sharded data parallelism over all processes of all nodes (Zhao et al. 2023; torch's `fully_shard`).

    A task calls `shard` in its `configure_model`. Each block is gathered where it computes and given back behind it.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        # Lightning would shard across nodes alone, and leave the GPUs of a node to tensor parallelism.
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def shard(self, task: LightningModule, blocks: Iterable[nn.Module]) -> None:
        """Shares out each of `blocks` by itself, and what remains of `task` as one part."""
        mesh = self.device_mesh["data_parallel"]
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(task, mesh=mesh)
        for name in STEPS:
            register_fsdp_forward_method(task, name)

    def on_validation_start(self) -> None:
        """Gathers all weights: ranks differ in how many batches they score and how many words they write, so that none
        may wait for another within a batch.
        """
        self.lightning_module.set_reshard_after_forward(False)
        for part in _parts(self.lightning_module):
            part.unshard()

    def on_validation_end(self) -> None:
        for part in _parts(self.lightning_module):
            part.reshard()
            # The task's own part stays whole between its forward and its backward, which follow each other.
            part.set_reshard_after_forward(part is not self.lightning_module, recurse=False)

    def teardown(self) -> None:
        super().teardown()
        self._reset_optimizers_and_schedulers()  # whose memory the evaluation needs: it has all weights on each device

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As one device has it: numbered in the order of the optimizer's groups. Rank 0 alone has it."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_optimizer_state_dict(self.model, _plain(optimizer), options=options)
        return _numbered(state) if self.is_global_zero else {}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Every rank reads the file, and takes its own part of each tensor."""
        checkpoint = torch.load(self.broadcast(checkpoint_path), map_location="cpu", weights_only=True, mmap=True)
        own = self.model.state_dict()
        weights = {name: _part(value, own.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.model.load_state_dict(weights)
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            _load(_plain(optimizer), state)
        return checkpoint


def _parts(task: LightningModule) -> list[FSDPModule]:
    return [module for module in task.modules() if isinstance(module, FSDPModule)]


def _plain(optimizer: Optimizer | LightningOptimizer) -> Optimizer:
    return optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer


def _load(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """An optimizer's state as one device has it."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weights = dict(zip(numbers, _weights(optimizer), strict=True))
    parts = {
        number: {name: _part(value, weights[number]) for name, value in kept.items()}
        for number, kept in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _part(whole: Any, like: Any) -> Any:
    """This rank's part of a tensor, shared out as `like` is; what is not of its shape, such as a count, stays whole."""
    if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    # src_data_rank=None: everybody has the whole, so nothing is sent.
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _numbered(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state by names of parameters, as `Optimizer.state_dict` has it: by numbers, from 0."""
    names = [name for group in state["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbers[name]: kept for name, kept in state["state"].items()}, "param_groups": groups}
