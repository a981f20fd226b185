"""A gradient reaches every parameter that is to be trained."""

import torch
from torch import Tensor

from manyheads.preflight.findings import Finding
from manyheads.preflight.leaks import Subject
from manyheads.preflight.precision import Precision
from manyheads.preflight.samples import states


def gradients(subject: Subject, precision: Precision) -> Finding:
    """No parameter is left out, none gets zeros throughout, and all gradients are finite."""
    wanted = {name: p for name, p in subject.model.named_parameters() if p.requires_grad}
    loss = _loss(subject)
    # Without autocast, as a training calls it; and not `backward`, which would leave gradients behind, and wake what
    # listens for them.
    with torch.autocast(loss.device.type, enabled=False):
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    grads = dict(zip(wanted, found, strict=True))
    # A table's rows of words that did not occur are zero; a whole table of them is not.
    missing = [name for name, grad in grads.items() if grad is None or not grad.any()]
    broken = [name for name, grad in grads.items() if grad is not None and not grad.isfinite().all()]
    if missing:
        return Finding("gradients", False, f"no gradient reaches {_some(missing)}, so it would never learn")
    if broken:
        return Finding("gradients", False, f"the gradient of {_some(broken)} is not finite")
    return Finding("gradients", True, f"a gradient reaches all {len(grads)} parameters")


def _loss(subject: Subject) -> Tensor:
    """A loss of words where the model scores words, else any function that sees each number of the states."""
    model, dice = subject.model, torch.Generator().manual_seed(0)
    read = states(model, subject.sample)
    if hasattr(model, "head"):
        words = torch.randint(model.head.weight.size(0), (len(read),), generator=dice).to(read.device)
        return model.head.loss(read, words, smoothing=0.0).loss
    return (read * torch.randn(read.shape, generator=dice).to(read)).sum()


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
