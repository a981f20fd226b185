"""Learning rates over time, as factors of the optimizer's own; steps are optimizer steps.

All start with a linear warm-up over `warmup` steps. `total` is the length of the training, which the trainer knows;
None where only time bounds it.
"""

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from manyheads.errors import UserError


class InverseSqrt(LambdaLR):
    """√(warmup / step) after the warm-up (Vaswani et al. 2017, eq. 3, with its peak as the optimizer's rate)."""

    def __init__(self, optimizer: Optimizer, total: int | None, warmup: int) -> None:
        super().__init__(optimizer, partial(inverse_sqrt, warmup=warmup))


class Cosine(LambdaLR):
    """Half a cosine from the peak down to `floor` of it at the end (Loshchilov and Hutter 2017, eq. 5, no restarts)."""

    def __init__(self, optimizer: Optimizer, total: int | None, warmup: int, floor: float) -> None:
        if total is None:
            raise UserError("schedule=cosine has to know its end: set trainer.max_steps or trainer.max_epochs.")
        super().__init__(optimizer, partial(cosine, total=total, warmup=warmup, floor=floor))


class Constant(LambdaLR):
    """The peak, after the warm-up."""

    def __init__(self, optimizer: Optimizer, total: int | None, warmup: int) -> None:
        super().__init__(optimizer, partial(warm, warmup=warmup))


def warm(step: int, warmup: int) -> float:
    """Counts from 1, so that the first step moves."""
    return min(1.0, (step + 1) / max(1, warmup))


def inverse_sqrt(step: int, warmup: int) -> float:
    return min(warm(step, warmup), math.sqrt(max(1, warmup) / (step + 1)))


def cosine(step: int, total: int | None, warmup: int, floor: float) -> float:
    if step < warmup:
        return warm(step, warmup)
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
