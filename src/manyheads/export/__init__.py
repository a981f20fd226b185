"""Finished models for those who only use them: read back with `load`, or in formats that do without this package."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line answers without waiting for torch.
    if name in __all__:
        from manyheads.export import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
