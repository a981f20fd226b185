"""What computed the attention of a model."""

from torch import nn


def used(model: nn.Module) -> str:
    """Which kernels really computed, in the order of their layers."""
    names, inside = [], set()
    for module in model.modules():
        # An attention may hold others that it chose from.
        if hasattr(module, "why_not") and module not in inside:
            inside.update(module.modules())
            names += module.used.split("+")
    return "+".join(dict.fromkeys(names))
