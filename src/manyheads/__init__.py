"""Choose an attention mechanism and prove the choice on your own data and hardware."""

from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line answers without waiting for torch.
    if name in __all__:
        from manyheads import load

        return getattr(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
