"""How queries read keys."""

from manyheads.attention.load import load
from manyheads.attention.mask import Mask

__all__ = ["Mask", "load"]
