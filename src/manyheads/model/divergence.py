"""How far words are from a teacher's, without ever holding all scores of either (as head.py does for the loss)."""

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.model.head import SLICE_BYTES


class SlicedDivergence(torch.autograd.Function):
    """T² · KL(teacher ‖ student), both softened by the temperature T, summed over tokens (Hinton et al. 2015).

    Gradients are made in the forward pass, slice by slice; the teacher gets none.
    """

    @staticmethod
    def forward(
        ctx,
        states: Float[Tensor, "t dim"],
        weight: Float[Tensor, "vocabulary dim"],
        taught: Float[Tensor, "t width"],
        table: Float[Tensor, "vocabulary width"],
        temperature: float,
    ) -> Float[Tensor, ""]:
        kind, wanted = states.device.type, any(ctx.needs_input_grad[:2])
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        x, w, y, v = (part.to(dtype) for part in (states, weight, taught, table))
        total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=x.device)
        grads = (torch.empty_like(x), torch.zeros_like(w, dtype=total.dtype)) if wanted else None
        # Scores of both, and what is made of them: four slices at a time.
        rows = max(1, SLICE_BYTES.get(kind, 256 << 20) // (16 * weight.size(0)))
        for part in range(0, x.size(0), rows):
            here = slice(part, part + rows)
            gradient = _compare(x[here] @ w.t(), y[here] @ v.t(), temperature, total)
            if grads is not None:
                gradient = gradient.to(dtype)
                torch.mm(gradient, w, out=grads[0][here])
                grads[1].add_(gradient.t() @ x[here])
        if grads is not None:
            ctx.save_for_backward(*grads)
            ctx.dtypes = states.dtype, weight.dtype
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        by_states, by_weight = ctx.saved_tensors
        return (by_states * grad).to(ctx.dtypes[0]), (by_weight * grad).to(ctx.dtypes[1]), None, None, None


def _compare(
    scores: Float[Tensor, "t vocabulary"],
    taught: Float[Tensor, "t vocabulary"],
    temperature: float,
    total: Float[Tensor, ""],
) -> Float[Tensor, "t vocabulary"]:
    """Adds this slice to the total; returns the gradient of its sum by the scores, T · (q − p)."""
    log_q, log_p = ((x.to(total.dtype) / temperature).log_softmax(1) for x in (scores, taught))
    p = log_p.exp()
    total += temperature**2 * torch.linalg.vecdot(p, log_p.sub_(log_q)).sum()
    return log_q.exp_().sub_(p).mul_(temperature)
