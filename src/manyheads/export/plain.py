"""From plain values, which may be a stranger's, to what they describe: classes of manyheads and torch.nn alone."""

import inspect
from functools import partial
from importlib import import_module
from typing import Any

from manyheads.errors import UserError

TRUSTED = ("manyheads.", "torch.nn.")


def make(node: Any) -> Any:
    """The object that `_target_` names, with the other keys as arguments; a factory of it where `_partial_` is true."""
    if isinstance(node, list):
        return [make(child) for child in node]
    if not isinstance(node, dict):
        return node
    made = {key: make(child) for key, child in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return made
    target = _class(node["_target_"])
    return partial(target, **made) if node.get("_partial_") else target(**made)


def _class(name: Any) -> type:
    module, _, own = str(name).rpartition(".")
    try:
        found = getattr(import_module(module), own) if f"{module}.".startswith(TRUSTED) else None
    except (ImportError, AttributeError):
        found = None
    # Where a class is defined counts, not the name by which it was reached: modules hold the modules they import.
    if not inspect.isclass(found) or not f"{found.__module__}.".startswith(TRUSTED):
        raise UserError(f"An exported model asks for {name}; it may only be made of classes of manyheads and torch.nn.")
    return found
