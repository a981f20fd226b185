"""Kernels by name: each module of this folder that has `attend` and `why_not` is one."""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from manyheads.errors import UserError

SPARSE = ("flash", "blocked", "sdpa", "reference")
"""Which exact kernel takes over when the chosen one cannot run, where a pattern lets most keys be skipped."""

DENSE = ("sdpa", "flash", "blocked", "reference")
"""The same where every key may be needed: the library's own first, the specification last."""


@cache
def find(name: str) -> ModuleType:
    """The kernel called `name`; a UserError names the ones there are."""
    if name not in names():
        raise UserError(f"attention.kernel={name} is no kernel; choose one of {', '.join(names())}.")
    return import_module(f"{__package__}.{name}")


def names() -> list[str]:
    package = import_module(__package__)
    found = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return sorted(name for name in found if name != "registry")
