"""From states to words, and the loss of a vocabulary without ever holding all its scores.

Scores of 4,096 tokens over 10,000 words are 160 MB: written, read and differentiated as one tensor, they cost more
than the whole model. Here slices that fit the cache are scored, weighed and differentiated in one go (the idea of the
fused cross-entropies of Liger and of Wijmans et al. 2024).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SLICE_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
"""Scores of one slice in fp32. On a CPU, temporaries from 32 MiB on are mapped anew each time and cost page faults."""


@dataclass(frozen=True)
class Scored:
    """Sums over `count` tokens: the loss with label smoothing, the plain negative log-likelihood, correct guesses."""

    loss: Tensor
    nll: Tensor
    correct: Tensor
    count: int


class Head(nn.Module):
    """A score for every word; its table may be that of the embedding (tied)."""

    def __init__(self, dim: int, vocabulary: int, table: nn.Parameter | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, dim)) if table is None else table

    def forward(self, states: Float[Tensor, "... dim"]) -> Float[Tensor, "... vocabulary"]:
        return nn.functional.linear(states, self.weight)

    def loss(self, states: Float[Tensor, "t dim"], labels: Int[Tensor, "t"], smoothing: float) -> Scored:
        """Cross-entropy against (1 − ε) · label + ε / V, summed (Szegedy et al. 2016, section 7)."""
        loss, nll, correct = SlicedCrossEntropy.apply(states, self.weight, labels, smoothing)
        return Scored(loss, nll, correct, labels.numel())


class SlicedCrossEntropy(torch.autograd.Function):
    """Sums of loss, negative log-likelihood and hits; gradients are made in the forward pass, slice by slice."""

    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, labels: Tensor, smoothing: float):
        kind, wanted = states.device.type, any(ctx.needs_input_grad[:2])
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        x, w = states.to(dtype), weight.to(dtype)
        rows = max(1, SLICE_BYTES.get(kind, 256 << 20) // (4 * weight.size(0)))
        totals = torch.zeros(3, dtype=torch.promote_types(dtype, torch.float32), device=x.device)
        grads = (torch.empty_like(x), torch.zeros_like(w, dtype=totals.dtype)) if wanted else None
        for part in range(0, x.size(0), rows):
            here = slice(part, part + rows)
            gradient = _score(x[here] @ w.t(), labels[here], smoothing, totals)
            if grads is not None:
                gradient = gradient.to(dtype)
                torch.mm(gradient, w, out=grads[0][here])
                grads[1].addmm_(gradient.t(), x[here]) if dtype == totals.dtype else grads[1].add_(
                    gradient.t() @ x[here]
                )
        if grads is not None:
            ctx.save_for_backward(*grads)
            ctx.dtypes = states.dtype, weight.dtype
        loss, nll, correct = totals.unbind()
        ctx.mark_non_differentiable(nll, correct)
        return loss, nll, correct

    @staticmethod
    def backward(ctx, grad: Tensor, *unused):
        by_states, by_weight = ctx.saved_tensors
        return (by_states * grad).to(ctx.dtypes[0]), (by_weight * grad).to(ctx.dtypes[1]), None, None


def _score(
    scores: Float[Tensor, "t vocabulary"],
    labels: Int[Tensor, "t"],
    smoothing: float,
    totals: Float[Tensor, "3"],
) -> Float[Tensor, "t vocabulary"]:
    """Adds this slice to the totals; returns the gradient of its summed loss by the scores."""
    scores = scores.to(totals.dtype)
    words, top, label = scores.size(1), scores.amax(1, keepdim=True), labels.unsqueeze(1)
    chosen, everything = scores.gather(1, label), scores.sum(1, keepdim=True)
    # The label is the guess where nothing scores higher, so no argmax is needed.
    totals[2] += (chosen >= top).sum()
    odds = scores.sub_(top).exp_()
    total = odds.sum(1, keepdim=True)
    normaliser = total.log() + top
    nll = (normaliser - chosen).sum()
    totals[1] += nll
    totals[0] += (1 - smoothing) * nll + smoothing * (normaliser - everything / words).sum()
    gradient = odds.div_(total).sub_(smoothing / words)
    return gradient.scatter_add_(1, label, torch.full_like(chosen, smoothing - 1))
