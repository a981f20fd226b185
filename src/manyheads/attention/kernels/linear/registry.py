"""Kernels of feature maps by name: each module of this folder that has `attend` and `why_not` is one."""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from manyheads.errors import UserError

PREFERENCE = ("flash", "chunked", "reference")
"""Which kernel comes first where any will do; the specification last."""


@cache
def find(name: str) -> ModuleType:
    """The kernel called `name`; a UserError names the ones there are."""
    if name not in names():
        raise UserError(f"attention.kernel={name} is no kernel of this attention; choose any, {', '.join(names())}.")
    return import_module(f"{__package__}.{name}")


def names() -> list[str]:
    found = {module.name for module in pkgutil.iter_modules(import_module(__package__).__path__)}
    return [name for name in PREFERENCE if name in found]
