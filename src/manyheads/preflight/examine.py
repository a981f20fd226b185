"""All checks of a model, one after the other."""

import logging
import time

import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.preflight.documents import documents
from manyheads.preflight.findings import Finding
from manyheads.preflight.gradients import gradients
from manyheads.preflight.heads import divide
from manyheads.preflight.kernels import kernels
from manyheads.preflight.leaks import future, padding, rows
from manyheads.preflight.precision import precision_of
from manyheads.preflight.scores import scores
from manyheads.preflight.subjects.families import subject_of
from manyheads.preflight.untouched import moved, untouched

log = logging.getLogger(__name__)

WHOLE = (future, padding, rows, gradients)
"""Checks of the model as one, for the families that are known."""

PARTS = (documents, scores, kernels)
"""Checks of the attention modules."""


def examine(model: nn.Module, precision: str | int, device: torch.device) -> list[Finding]:
    """What each check finds on `device`, where the model comes back from; `precision` is Lightning's name for it.

    Weights, buffers, modes and random states stay as they are to the bit. Precisions that convert the weights (such as
    bf16-true) are used for attention alone: converting there and back would round.
    A UserError comes from an attention that cannot run on what the model asks of it.
    """
    found = [divide(model)]
    if not found[0].ok:
        return found
    used = precision_of(precision)
    with moved(model, device), untouched(model):
        subject, own = subject_of(model), used.of(model)
        if subject is not None:
            with used.around(device):
                found += [look(subject, own) for look in WHOLE]
        found += [look(model, used) for look in PARTS]
    return found


def check(model: nn.Module, precision: str | int, device: torch.device) -> None:
    """Raises UserError with the first thing that is wrong."""
    begun = time.perf_counter()
    found = examine(model, precision, device)
    for finding in found:
        if not finding.ok:
            raise UserError(
                f"The check of {finding.name} before training failed: {finding.sentence} "
                "(preflight=false trains all the same)."
            )
    log.info("%d checks of the model passed.", len(found))
    log.debug("They took %.0f ms.", 1e3 * (time.perf_counter() - begun))
