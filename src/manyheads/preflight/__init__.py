"""Checks of the very model that is about to train, on inputs so small that they take milliseconds."""

from manyheads.preflight.examine import check, examine
from manyheads.preflight.findings import Finding

__all__ = ["Finding", "check", "examine"]
