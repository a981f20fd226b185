"""A gradient reaches every parameter that is to be trained."""

import torch

from manyheads.preflight.findings import Finding
from manyheads.preflight.precision import Precision
from manyheads.preflight.subjects.base import Subject


def gradients(subject: Subject, precision: Precision) -> Finding:
    """No parameter is left out, none gets zeros throughout, and all gradients are finite."""
    wanted = {name: p for name, p in subject.model.named_parameters() if p.requires_grad}
    loss = subject.loss()
    # Without autocast, as a training calls it; and not `backward`, which would leave gradients behind, and wake what
    # listens for them.
    with torch.autocast(loss.device.type, enabled=False):
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    grads = dict(zip(wanted, found, strict=True))
    # A table's rows of words that did not occur are zero; a whole table of them is not.
    missing = [name for name, grad in grads.items() if (grad is None or not grad.any()) and subject.learns(name)]
    broken = [name for name, grad in grads.items() if grad is not None and not grad.isfinite().all()]
    if missing:
        return Finding("gradients", False, f"no gradient reaches {_some(missing)}, so it would never learn")
    if broken:
        return Finding("gradients", False, f"the gradient of {_some(broken)} is not finite")
    return Finding("gradients", True, f"a gradient reaches all {len(grads)} parameters")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
