"""The numbers that a run computes with, from Lightning's name for them, and how far rounding may carry them apart."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Precision:
    """dtype: of what attention gets; mixed: weights stay fp32 and autocast chooses."""

    dtype: torch.dtype
    mixed: bool

    def of(self, model: nn.Module) -> "Precision":
        """What `model` computes with now: a precision that converts its weights has not done so yet."""
        return self if self.mixed else Precision(next(model.parameters()).dtype, False)

    def around(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, self.dtype) if self.mixed else nullcontext()

    @property
    def leak(self) -> float:
        """Largest change, as a share of a layer's output, where nothing should change: the same sums come out the
        same, but some kernels of GPUs add in changing order.
        """
        return max(4 * torch.finfo(self.dtype).eps, 1e-4)

    @property
    def shapes(self) -> float:
        """The same between batches of different shapes, whose sums are ordered otherwise, layer upon layer."""
        return rounding(self.dtype) ** 0.5

    @property
    def kernels(self) -> float:
        """The same between two exact kernels: tf32, which some use for fp32, rounds to 1e-3."""
        return max(4 * torch.finfo(self.dtype).eps, 2e-3)


def rounding(dtype: torch.dtype) -> float:
    """Relative rounding of a product of matrices in `dtype`."""
    coarse = dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
    return 2**-10 if coarse else torch.finfo(dtype).eps


def precision_of(name: str | int) -> Precision:
    """`trainer.precision` as Lightning spells it: 32, 16-mixed, bf16-true, …"""
    text = str(name)
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    dtype = next((dtype for word, dtype in kinds.items() if word in text), torch.float32)
    return Precision(dtype, "mixed" in text)
