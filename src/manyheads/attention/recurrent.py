"""What an attention that decodes from a state (`Attention.recurrent`) is given before it has one.

Such an attention has `advance(q, k, v, state) -> (out, state)`. Each new token in turn, q (b, h, n, d) and k, v
(b, g, n, d), reads its own key and all before it. For those stands `state`: None (nothing), a `Prompt`, or what the
last call returned. A state that it returned has `rows(which)`, which keeps and orders rows.
"""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Prompt(NamedTuple):
    """Keys and values that stand before the first step; of each row, only the first `lengths` are real."""

    k: Float[Tensor, "b g m d"]
    v: Float[Tensor, "b g m d"]
    lengths: int | Int[Tensor, "b"]
