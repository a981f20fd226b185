"""Looking at a model without leaving a trace: weights, buffers, modes and random states are as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """In evaluation while it lasts. Gradients are for `torch.autograd.grad`: nothing inside calls `backward`."""
    modes = {module: module.training for module in model.modules()}
    buffers = _buffers(model)
    dice = random.getstate(), np.random.get_state()
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(list(devices)):
            model.eval()
            yield
    finally:
        random.setstate(dice[0])
        np.random.set_state(dice[1])
        _restore(buffers)
        for module, training in modes.items():
            module.training = training


@contextmanager
def moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On another device while it lasts; parameters stay the same objects."""
    home = next(model.parameters()).device
    if home == device:
        yield
        return
    try:
        yield model.to(device)
    finally:
        model.to(home)


def _buffers(model: nn.Module) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """Each buffer with its owner, its name and a copy."""
    found = [(module, name, value) for module in model.modules() for name, value in module._buffers.items()]
    return [(module, name, value, value.clone()) for module, name, value in found if value is not None]


@torch.no_grad()
def _restore(buffers: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    for module, name, value, before in buffers:
        module._buffers[name] = value.copy_(before)
