"""Scores are scaled: queries and keys of unit variance give scores of unit variance, whatever the size of the heads."""

import torch
from torch import Tensor, nn

from manyheads.attention.exact import Exact
from manyheads.attention.mask import Mask
from manyheads.preflight.findings import Finding
from manyheads.preflight.heads import Seat, seats
from manyheads.preflight.precision import Precision

KEYS = 12
LOW, HIGH = 0.5, 2.0
"""Variances that pass: without 1/√d it is d, with 1/d instead it is 1/d."""


@torch.no_grad()
def scores(model: nn.Module, precision: Precision) -> Finding:
    """The scores are read off the weights, so whatever kernel computes them is what is checked."""
    device, found, without = next(model.parameters()).device, {}, []
    for seat in seats(model):
        if isinstance(seat.attention, Exact):
            found[seat.name] = _variance(seat, device)
        else:
            without.append(type(seat.attention).__name__)
    for name, variance in found.items():
        if not LOW < variance < HIGH:
            words = f"{name} gives unit queries and keys scores of variance {variance:.3g}: are they scaled by 1/√d?"
            return Finding("scores", False, words)
    told = [f"{', '.join(dict.fromkeys(without))} has no scores"] if without else []
    told += [f"unit queries and keys give scores of variance {max(found.values()):.2f}"] if found else []
    return Finding("scores", True, "; ".join(told))


def _variance(seat: Seat, device: torch.device) -> float:
    """Variance of the scores, compared with q·k/√d of the same draws so that chance has no say."""
    q, k, _ = seat.draw(1, KEYS, KEYS, torch.float32, device)
    mask = seat.mask(KEYS, KEYS)
    seen = mask.within(seat.attention.pattern).dense(seat.attention.heads, device).expand(1, q.size(1), KEYS, KEYS)
    had = _centred(_logits(_weights(seat, q, k, mask), seat, mask), seen)
    group = q.size(1) // k.size(1)
    wanted = _centred(q @ k.repeat_interleave(group, 1).transpose(-2, -1) / q.size(-1) ** 0.5, seen)
    return float(had.square().sum() / wanted.square().sum())


def _weights(seat: Seat, q: Tensor, k: Tensor, mask: Mask) -> Tensor:
    """The weights (1, h, n, m): row j of the batch has a 1 as value j and 0 elsewhere, so that it returns weight j."""
    v = torch.zeros(KEYS, *k.shape[1:], device=k.device)
    at = torch.arange(KEYS)
    v[at, :, at] = 1
    out = seat.attention.attend(*(x.expand(KEYS, *x.shape[1:]).contiguous() for x in (q, k)), v, mask)
    return out[..., 0].permute(1, 2, 0).unsqueeze(0)


def _logits(weights: Tensor, seat: Seat, mask: Mask) -> Tensor:
    """Scores up to a number per query: what softmax or sigmoid made the weights of."""
    weights = weights.double().clamp(min=1e-30, max=1 - 1e-15)
    softmax = seat.attention.shift(mask.within(seat.attention.pattern), weights) is None
    return weights.log() if softmax else weights.logit()


def _centred(x: Tensor, seen: Tensor) -> Tensor:
    """x less its mean over the keys that a query sees, 0 elsewhere."""
    mean = (x * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp(min=1)
    return (x - mean) * seen
