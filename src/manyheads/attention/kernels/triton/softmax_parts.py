"""What the kernels of softmax and sigmoid attention share: loading rows, the mask, biases and dropout.

Scores are in units of log2: `scale` holds log2(e)/√d, so that weights are exp2 of them, which GPUs have as one
instruction. i counts queries, `position` is where they stand among the keys, j counts keys; they broadcast against each
other, so that the same code serves scores (queries, keys) and their transposes.
"""

import triton
import triton.language as tl

NUMBERS = ("H", "GROUP", "N", "M", "OFFSET", "width", "dilation", "first")
"""Arguments on whose values nothing is compiled: growing lengths would otherwise compile every kernel several times."""


@triton.jit
def load_rows(
    pointer, start, stride, limit, ROWS: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, GUARD: tl.constexpr
):
    """(ROWS, BD) from row `start` on: zeros beyond D columns and, where GUARD, beyond `limit` rows."""
    row = tl.arange(0, ROWS)
    column = tl.arange(0, BD)
    # 64 bits before the stride is multiplied: long sequences of many heads pass 2³¹ elements.
    at = pointer + tl.cast(start, tl.int64) * stride + (row[:, None] * stride + column[None, :])
    if GUARD and D < BD:
        found = tl.load(at, mask=(start + row < limit)[:, None] & (column < D)[None, :], other=0.0)
    elif GUARD:
        found = tl.load(at, mask=(start + row < limit)[:, None], other=0.0)
    elif D < BD:
        found = tl.load(at, mask=(column < D)[None, :], other=0.0)
    else:
        found = tl.load(at)
    return found


@triton.jit
def load_row(pointer, at, i, limit, other, GUARD: tl.constexpr):
    """Numbers of queries i, found at `at`; where GUARD, `other` for those beyond `limit`."""
    return tl.load(pointer + at, mask=i < limit, other=other) if GUARD else tl.load(pointer + at)


@triton.jit
def store_rows(pointer, start, stride, limit, value, ROWS: tl.constexpr, D: tl.constexpr, BD: tl.constexpr):
    """(ROWS, BD) to row `start` on, in the pointer's type; nothing beyond D columns and `limit` rows."""
    row = tl.arange(0, ROWS)
    column = tl.arange(0, BD)
    at = pointer + tl.cast(start, tl.int64) * stride + (row[:, None] * stride + column[None, :])
    inside = (start + row < limit)[:, None] & (column < D)[None, :]
    tl.store(at, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def own_documents(DOCUMENTS, position, M):
    """The document of each query, and whether it has one: positions outside the sequence belong to none."""
    inside = (position >= 0) & (position < M)
    return tl.load(DOCUMENTS + position, mask=inside, other=0), inside


@triton.jit
def allowed(
    position, j, length, own, inside, other, width, dilation, first,
    CAUSAL: tl.constexpr, PACKED: tl.constexpr, WINDOW: tl.constexpr, DILATED: tl.constexpr,
):  # fmt: skip
    """Whether the query at `position` may look at key j: `Mask.allowed`, with the closed form of a window.

    length: number of real keys; own, inside: the query's document; other: the key's; first: so many positions see all
    and are seen by all.
    """
    seen = j < length
    if CAUSAL:
        seen = seen & (j <= position)
    if PACKED:
        seen = seen & inside & (own == other)
    if WINDOW:
        distance = tl.abs(position - j)
        near = distance <= width * dilation
        if DILATED:
            near = near & (distance % dilation == 0)
        seen = seen & (near | (position < first) | (j < first))
    return seen


@triton.jit
def log2_units(x):
    """What is added to scores, in their unit."""
    return x.to(tl.float32) * 1.4426950408889634


@triton.jit
def biased(x, position, j, slope, scale):
    """Scaled scores less slope · |position − j|, the slope in units of log2 too."""
    return x * scale - slope * tl.abs(position - j).to(tl.float32)


@triton.jit
def kept(seed, row, i, j, share):
    """Which weights dropout keeps: a function of (seed, row of batch and head, query, key), so that it can be replayed.

    Philox counts up to 2¹²⁸ in four words, so no index overflows. Seven rounds pass BigCrush (Salmon et al. 2011).
    """
    zero = tl.cast(i * 0 + j * 0, tl.int32)
    bits, _, _, _ = tl.philox(seed, zero + j, zero + i, zero + tl.cast(row, tl.int32), zero, 7)
    return tl.uint_to_uniform_float(bits) >= share


@triton.jit
def sigmoid(t):
    """1 / (1 + 2^−t)."""
    return 1.0 / (1.0 + tl.exp2(-t))
