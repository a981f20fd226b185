"""Few queries, long keys (cached decoding): the keys are split over programs, whose parts are then combined.

All query heads that share a key-value head are rows of one tile, so that each key is read once for the whole group
(FlashDecoding, Dao et al. 2023; grouping as in Ainslie et al. 2023).
"""

import triton
import triton.language as tl

from manyheads.attention.kernels.triton.softmax_forward import read
from manyheads.attention.kernels.triton.softmax_parts import NUMBERS, log2_units


@triton.jit(do_not_specialize=[*NUMBERS, "SPLITS"])
def split(
    Q, K, V, PART, LSE, SLOPES, SHIFT, LENGTHS, OFFSETS,
    sqb, sqh, sqn, skb, skg, skm, svb, svg, svm, stb, sth, stn,
    H, GROUP, N, M, OFFSET, SPLITS, scale,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """One program: all GROUP · N ≤ BM query rows of one key-value head over one share of the keys.

    PART (splits, b, h, n, d): what they read of the share, weighted within it; LSE (splits, b, h, n): its log-sum-exp.
    """
    program = tl.program_id(0)
    part, row = program % SPLITS, program // SPLITS
    groups = H // GROUP
    b, g = tl.cast(row // groups, tl.int64), tl.cast(row % groups, tl.int64)
    r = tl.arange(0, BM)
    there = r < GROUP * N
    h, i = g * GROUP + r // N, r % N
    offset = tl.cast(tl.load(OFFSETS + b), tl.int32) if OFFSETS is not None else OFFSET
    length = tl.cast(tl.minimum(tl.load(LENGTHS + b), M), tl.int32) if LENGTHS is not None else M
    slope = log2_units(tl.load(SLOPES + h, mask=there, other=0.0))[:, None] if SLOPES is not None else 0.0
    shift = 0.0
    if SHIFT is not None:
        shift = log2_units(tl.load(SHIFT + b * stb + h * sth + i * stn, mask=there, other=0.0))
    column = tl.arange(0, BD)
    inside = there[:, None] & (column < D)[None, :]
    q = tl.load(Q + b * sqb + (h * sqh + i * sqn)[:, None] + column[None, :], mask=inside, other=0.0)
    whole, reach = length, length
    if CAUSAL:
        whole = tl.maximum(tl.minimum(length, offset + 1), 0)
        reach = tl.maximum(tl.minimum(length, offset + N), 0)
    share = tl.cdiv(tl.cdiv(reach, BN), SPLITS)
    begin = part * share
    end = tl.minimum(begin + share, tl.cdiv(reach, BN))
    middle = tl.minimum(tl.maximum(whole // BN, begin), end)
    K += b * skb + g * skg
    V += b * svb + g * svg
    acc = tl.zeros([BM, BD], tl.float32)
    total = tl.zeros([BM], tl.float32)
    top = tl.full([BM], float("-inf"), tl.float32)
    acc, total, top = read(
        acc, total, top, q, K, V, None, begin, middle, skm, svm, M, length, i, i + offset, slope, shift,
        None, i, i, 0, 1, 0, scale, 0, row, 0.0,
        D, BD, BN, CAUSAL, False, False, False, SHIFT is not None, SLOPES is not None, False,
    )  # fmt: skip
    acc, total, top = read(
        acc, total, top, q, K, V, None, middle, end, skm, svm, M, length, i, i + offset, slope, shift,
        None, i, i, 0, 1, 0, scale, 0, row, 0.0,
        D, BD, BN, CAUSAL, False, False, False, SHIFT is not None, SLOPES is not None, True,
    )  # fmt: skip
    rows = tl.num_programs(0) // SPLITS // groups * H
    at = (tl.cast(part, tl.int64) * rows + b * H + h) * N + i
    if SHIFT is None:
        some = tl.where(total == 0, 1.0, total)
        acc = acc / some[:, None]
        # −∞ here: a share without keys weighs nothing when the parts are combined.
        tl.store(LSE + at, tl.where(total == 0, float("-inf"), top + tl.log2(some)), mask=there)
    tl.store(PART + (at * D)[:, None] + column[None, :], acc, mask=inside)


@triton.jit(do_not_specialize=["ROWS", "H", "N", "SPLITS"])
def combine(
    PART, PARTS, OUT, LSE, sob, soh, son, ROWS, H, N, SPLITS,
    D: tl.constexpr, BD: tl.constexpr, SIGMOID: tl.constexpr,
):  # fmt: skip
    """One program: one query. Weighs its parts by exp2 of their log-sum-exp; sigmoid weights just add up."""
    at = tl.cast(tl.program_id(0), tl.int64)
    column = tl.arange(0, BD)
    top = tl.full((), float("-inf"), tl.float32)
    if not SIGMOID:
        for part in range(0, SPLITS):
            top = tl.maximum(top, tl.load(PARTS + part * ROWS + at))
    level = tl.where(top == float("-inf"), 0.0, top)
    acc = tl.zeros([BD], tl.float32)
    total = tl.full((), 0.0, tl.float32)
    for part in range(0, SPLITS):
        place = tl.cast(part, tl.int64) * ROWS + at
        weight = 1.0 if SIGMOID else tl.exp2(tl.load(PARTS + place) - level)
        acc += weight * tl.load(PART + place * D + column, mask=column < D, other=0.0)
        total += weight
    if not SIGMOID:
        some = tl.where(total == 0, 1.0, total)
        acc = acc / some
        tl.store(LSE + at, tl.where(total == 0, float("inf"), level + tl.log2(some)))
    i, h, b = at % N, at // N % H, at // N // H
    tl.store(OUT + b * sob + h * soh + i * son + column, acc.to(OUT.dtype.element_ty), mask=column < D)
