"""Which kernel would compute each attention of a model here, and why those before it would not."""

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.doctor.checks import Findings
from manyheads.errors import UserError
from manyheads.estimate.estimate import device_of
from manyheads.estimate.step import AUTOCAST, TRUE
from manyheads.preflight.heads import Seat, seats

SECTION = "environment"
LENGTH = 48
"""Tokens of the rows that are asked about: no kernel is too slow for them."""


def kernels(model: nn.Module, cfg: DictConfig, packed: bool, found: Findings) -> None:
    """packed: whether rows hold several documents each, as a language model's do."""
    device, precision = device_of(cfg), str(cfg.trainer.precision)
    dtype = AUTOCAST.get(precision) or TRUE.get(precision) or torch.float32
    told: set[tuple[str, str]] = set()
    for seat in seats(model):
        light, words, details = _asked(seat, dtype, device, packed)
        if (light, words) not in told:
            told.add((light, words))
            found.add(SECTION, "kernel", light, words, layer=seat.name, **details)


def _asked(seat: Seat, dtype: torch.dtype, device: torch.device, packed: bool) -> tuple[str, str, dict]:
    attention = seat.attention.to(device)
    limit = getattr(seat.bias, "limit", None) or LENGTH
    n = min(LENGTH, limit)
    q, k, v = (x.requires_grad_() for x in seat.draw(2, n, n, dtype, device))
    mask = seat.mask(n, n, **_said(n, device, packed and not seat.cross))
    try:
        attention.attend(q, k, v, mask, seat.bias)
    except UserError as problem:
        return "red", f"{_name(attention)} cannot run here: {problem}", {}
    asked, used = getattr(attention, "kernel", None), attention.used
    others = _others(seat, q, k, mask)
    details = {"used": used, "why_not": others}
    if asked in (None, "any") or asked == used.rpartition(":")[2]:
        more = f" ({'; '.join(f'{name}: {why}' for name, why in others.items())})" if asked == "any" and others else ""
        return "green", f"{_name(attention)} is computed by {used}{more}.", details
    why = others.get(asked, "it cannot run on these inputs")
    return "yellow", f"attention.kernel={asked} falls back to {used}, which is as exact: {why}.", details


def _others(seat: Seat, q: Tensor, k: Tensor, mask: Mask) -> dict[str, str]:
    """Kernels of the same rule that cannot run, and why."""
    attention, choice = seat.attention, getattr(seat.attention, "choice", None)
    if choice is None:
        return {}
    if hasattr(attention, "shift"):
        mask = mask.within(attention.pattern)
        given = (mask, seat.bias, attention.shift(mask, q))
    else:
        given = (mask, attention.feature())
    asked = ((name, why_not(q, k, *given)) for name, why_not, _ in choice.kernels)
    return {name: reason.rstrip(".") for name, reason in asked if reason is not None}


def _said(n: int, device: torch.device, packed: bool) -> dict[str, Tensor]:
    """Of two rows, the second is shorter; packed rows are full, and hold two documents each."""
    if packed:
        return {"documents": (torch.arange(n, device=device) * 2 // n).expand(2, n)}
    return {"lengths": torch.tensor([n, n - n // 3], device=device)}


def _name(attention: nn.Module) -> str:
    pattern = getattr(attention, "pattern", None)
    return type(attention).__name__ + (f" with {type(pattern).__name__}" if pattern is not None else "")
