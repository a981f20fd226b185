"""Whatever happens in a contestant is its result."""

from typing import Any

from manyheads.errors import UserError
from manyheads.measure.attention.built import Cannot


def told(key: str, error: Exception) -> dict[str, Any]:
    """The row of a case that raised: refused where it said so itself, failed otherwise."""
    if isinstance(error, Cannot | UserError):
        return {"key": key, "status": "refused", "reason": str(error)}
    words = " ".join(str(error).split())[:300]
    return {"key": key, "status": "failed", "reason": f"{type(error).__name__}: {words}"}
