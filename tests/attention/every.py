"""Which attentions the contract's tests run over."""

from manyheads.attention.kernels.registry import names
from manyheads.attention.softmax import Softmax

HEADS, HEAD_DIM = 4, 8


def attentions() -> list[str]:
    return names()


def build(name: str, kv_heads: int | None = 2, **overrides):
    settings = {"dropout": 0.0, "strict": False} | overrides
    return Softmax(HEADS, HEAD_DIM, kv_heads=kv_heads, kernel=name, **settings).double().eval()
