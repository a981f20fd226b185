"""Which attentions the contract's tests run over: each file of conf/attention, and the dense one with every kernel."""

from copy import deepcopy
from functools import cache
from pathlib import Path

from manyheads.attention import load
from manyheads.attention.base import Attention
from manyheads.attention.kernels.registry import names

CONF = Path(__file__).parents[2] / "conf" / "attention"
HEADS, HEAD_DIM = 4, 8

made = cache(load)


def attentions() -> list[str]:
    return sorted(file.stem for file in CONF.glob("*.yaml")) + [f"dense:{kernel}" for kernel in names()]


def build(name: str, kv_heads: int | None = 2, **overrides) -> Attention:
    """The attention `name` (or `name:kernel`) in float64, in evaluation."""
    name, _, kernel = name.partition(":")
    overrides |= {"kernel": kernel} if kernel else {}
    return deepcopy(made(name, HEADS, HEAD_DIM, kv_heads=kv_heads, **overrides)).double().eval()
