"""Backward in two kernels, so that one program sums each gradient in one order: no atomics, the same bits always.

`queries` walks over keys and writes dQ and, on its way, Δ = Σ out · dout, which `keys` needs. `keys` walks over queries
and writes dK and dV, summed over all query heads that share them (FlashAttention-2, Dao 2023, alg. 2, split in two).
"""

import triton
import triton.language as tl

from manyheads.attention.kernels.triton.softmax_forward import facts, placed, span
from manyheads.attention.kernels.triton.softmax_parts import (
    NUMBERS,
    allowed,
    biased,
    kept,
    load_row,
    load_rows,
    log2_units,
    own_documents,
    sigmoid,
    store_rows,
)


@triton.jit(do_not_specialize=NUMBERS)
def queries(
    Q, K, V, OUT, DOUT, LSE, DELTA, DQ, SLOPES, SHIFT, SEED, LENGTHS, OFFSETS, DOCUMENTS, BOUNDS, INDEX, ORDER,
    sqb, sqh, sqn, skb, skg, skm, svb, svg, svm, sob, soh, son, sgb, sgh, sgn, swb, swh, swn,
    stb, sth, stn, sdb, slb, slh,
    H, GROUP, N, M, OFFSET, width, dilation, first, scale, dropout, unit,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DILATED: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """One program: dQ of BM queries of one head. `unit` is 1/√d."""
    row, tile = placed(ORDER, N, H, slb, slh, BM)
    b, h = tl.cast(row // H, tl.int64), tl.cast(row % H, tl.int64)
    g = h // GROUP
    start = tile * BM
    i = start + tl.arange(0, BM)
    offset, length, own, inside = facts(b, i, LENGTHS, OFFSETS, DOCUMENTS, sdb, M, OFFSET)
    position = i + offset
    slope = log2_units(tl.load(SLOPES + h)) if SLOPES is not None else 0.0
    seed = tl.load(SEED) if DROPOUT else 0
    if DOCUMENTS is not None:
        DOCUMENTS += b * sdb
    q = load_rows(Q + b * sqb + h * sqh, start, sqn, N, BM, D, BD, True)
    dout = load_rows(DOUT + b * sgb + h * sgh, start, sgn, N, BM, D, BD, True)
    if SHIFT is None:
        level = tl.load(LSE + tl.cast(row, tl.int64) * N + i, mask=i < N, other=float("inf"))
        out = load_rows(OUT + b * sob + h * soh, start, son, N, BM, D, BD, True)
        delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
        tl.store(DELTA + tl.cast(row, tl.int64) * N + i, delta, mask=i < N)
    else:
        level = log2_units(tl.load(SHIFT + b * stb + h * sth + i * stn, mask=i < N, other=0.0))
        delta = level
    begin, middle, end = span(
        BOUNDS, b, h, tile, slb, slh, start, offset, length, N, width * dilation, first,
        BM, BN, CAUSAL, WINDOW, DOCUMENTS is not None,
    )  # fmt: skip
    K += b * skb + g * skg
    V += b * svb + g * svg
    dq = tl.zeros([BM, BD], tl.float32)
    dq = _queries(
        dq, q, dout, level, delta, K, V, INDEX, begin, middle, skm, svm, M, length, i, position, slope,
        DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
        D, BD, BN, CAUSAL, WINDOW, DILATED, DROPOUT, SHIFT is not None, SLOPES is not None, False,
    )  # fmt: skip
    dq = _queries(
        dq, q, dout, level, delta, K, V, INDEX, middle, end, skm, svm, M, length, i, position, slope,
        DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
        D, BD, BN, CAUSAL, WINDOW, DILATED, DROPOUT, SHIFT is not None, SLOPES is not None, True,
    )  # fmt: skip
    store_rows(DQ + b * swb + h * swh, start, swn, N, dq * unit, BM, D, BD)


@triton.jit
def _queries(
    dq, q, dout, level, delta, K, V, INDEX, begin, end, skm, svm, M, length, i, position, slope,
    DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
    D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DILATED: tl.constexpr, DROPOUT: tl.constexpr, SIGMOID: tl.constexpr, SLOPED: tl.constexpr, CHECKED: tl.constexpr,
):  # fmt: skip
    """Adds to dQ what comes from the keys of steps [begin, end)."""
    for step in range(begin, end):
        tile = step if INDEX is None else tl.load(INDEX + step)
        start = tile * BN
        j = (start + tl.arange(0, BN))[None, :]
        k = load_rows(K, start, skm, M, BN, D, BD, CHECKED)
        v = load_rows(V, start, svm, M, BN, D, BD, CHECKED)
        x = tl.dot(q, tl.trans(k), input_precision="ieee")
        p = weights(x, position[:, None], j, level[:, None], slope, scale, SIGMOID, SLOPED)
        if CHECKED:
            other = tl.load(DOCUMENTS + j, mask=j < M, other=0) if DOCUMENTS is not None else j
            seen = allowed(
                position[:, None], j, length, own[:, None], inside[:, None], other, width, dilation, first,
                CAUSAL, DOCUMENTS is not None, WINDOW, DILATED,
            )  # fmt: skip
            p = tl.where(seen, p, 0.0)
        dp = tl.dot(dout, tl.trans(v), input_precision="ieee")
        if DROPOUT:
            dp = tl.where(kept(seed, row, i[:, None], j, dropout), dp / (1 - dropout), 0.0)
        ds = p * (1 - p) * dp if SIGMOID else p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    return dq


@triton.jit(do_not_specialize=NUMBERS)
def keys(
    Q, K, V, DOUT, LSE, DELTA, DK, DV, SLOPES, SHIFT, SEED, LENGTHS, OFFSETS, DOCUMENTS, BOUNDS, INDEX, ORDER,
    sqb, sqh, sqn, skb, skg, skm, svb, svg, svm, sgb, sgh, sgn, swb, swg, swm, sxb, sxg, sxm,
    stb, sth, stn, sdb, slb, slh, srb, srg,
    H, GROUP, N, M, OFFSET, width, dilation, first, scale, dropout, unit,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DILATED: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """One program: dK and dV of BN keys of one key-value head. EVEN: BM divides n."""
    row, tile = _placed(ORDER, M, H // GROUP, srb, srg, BN)
    b, g = tl.cast(row // (H // GROUP), tl.int64), tl.cast(row % (H // GROUP), tl.int64)
    start = tile * BN
    j = start + tl.arange(0, BN)
    offset = tl.cast(tl.load(OFFSETS + b), tl.int32) if OFFSETS is not None else OFFSET
    length = tl.cast(tl.minimum(tl.load(LENGTHS + b), M), tl.int32) if LENGTHS is not None else M
    seed = tl.load(SEED) if DROPOUT else 0
    if DOCUMENTS is not None:
        DOCUMENTS += b * sdb
    other = tl.load(DOCUMENTS + j, mask=j < M, other=0) if DOCUMENTS is not None else j
    k = load_rows(K + b * skb + g * skg, start, skm, M, BN, D, BD, True)
    v = load_rows(V + b * svb + g * svg, start, svm, M, BN, D, BD, True)
    dk = tl.zeros([BN, BD], tl.float32)
    dv = tl.zeros([BN, BD], tl.float32)
    for member in range(0, GROUP):
        h = g * GROUP + member
        slope = log2_units(tl.load(SLOPES + h)) if SLOPES is not None else 0.0
        begin, end, before, behind = _span(
            BOUNDS, b, h, tile, slb, slh, start, offset, length, N, M, width * dilation, first,
            BM, BN, CAUSAL, WINDOW, DOCUMENTS is not None,
        )  # fmt: skip
        at = b * H + h
        level = LSE + at * N if SHIFT is None else SHIFT + b * stb + h * sth
        dk, dv = _keys(
            dk, dv, k, v, Q + b * sqb + h * sqh, DOUT + b * sgb + h * sgh, level, DELTA + at * N, INDEX,
            begin, end, before, behind, sqn, sgn, stn, N, M, offset, length, j, slope, DOCUMENTS, other,
            width, dilation, first, scale, seed, at, dropout,
            D, BD, BM, CAUSAL, WINDOW, DILATED, DROPOUT, SHIFT is not None, SLOPES is not None, not EVEN,
        )  # fmt: skip
    store_rows(DK + b * swb + g * swg, start, swm, M, dk * unit, BN, D, BD)
    store_rows(DV + b * sxb + g * sxg, start, sxm, M, dv, BN, D, BD)


@triton.jit
def _keys(
    dk, dv, k, v, Q, DOUT, LEVEL, DELTA, INDEX, begin, end, before, behind, sqn, sgn, stn, N, M, offset, length, j,
    slope, DOCUMENTS, other, width, dilation, first, scale, seed, row, dropout,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DILATED: tl.constexpr, DROPOUT: tl.constexpr, SIGMOID: tl.constexpr, SLOPED: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """Adds to dK and dV what comes from the queries of steps [begin, end); scores are transposed: (keys, queries).

    One loop that asks in each step whether to check: two loops would need more registers than there are.
    """
    for step in range(begin, end):
        tile = step if INDEX is None else tl.load(INDEX + step)
        start = tile * BM
        i = (start + tl.arange(0, BM))[None, :]
        position = i + offset
        q = load_rows(Q, start, sqn, N, BM, D, BD, GUARD)
        dout = load_rows(DOUT, start, sgn, N, BM, D, BD, GUARD)
        if SIGMOID:
            level = log2_units(load_row(LEVEL, i * stn, i, N, 0.0, GUARD))
        else:
            level = load_row(LEVEL, i, i, N, float("inf"), GUARD)
        x = tl.dot(k, tl.trans(q), input_precision="ieee")
        p = weights(x, position, j[:, None], level, slope, scale, SIGMOID, SLOPED)
        if (step < before) | (step >= behind):
            own, inside = position, position
            if DOCUMENTS is not None:
                own, inside = own_documents(DOCUMENTS, position, M)
            seen = allowed(
                position, j[:, None], length, own, inside, other[:, None], width, dilation, first,
                CAUSAL, DOCUMENTS is not None, WINDOW, DILATED,
            )  # fmt: skip
            p = tl.where(seen, p, 0.0)
        used, keep = p, p
        if DROPOUT:
            keep = kept(seed, row, i, j[:, None], dropout)
            used = tl.where(keep, p / (1 - dropout), 0.0)
        dv = tl.dot(used.to(dout.dtype), dout, dv, input_precision="ieee")
        dp = tl.dot(v, tl.trans(dout), input_precision="ieee")
        if DROPOUT:
            dp = tl.where(keep, dp / (1 - dropout), 0.0)
        if SIGMOID:
            ds = p * (1 - p) * dp
        else:
            ds = p * (dp - load_row(DELTA, i, i, N, 0.0, GUARD))
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee")
    return dk, dv


@triton.jit
def weights(x, position, j, level, slope, scale, SIGMOID: tl.constexpr, SLOPED: tl.constexpr):
    """The weights once more, from raw scores x; `level` is the log-sum-exp, or the sigmoid's shift."""
    if SIGMOID:
        x = biased(x, position, j, slope, scale) if SLOPED else x * scale
        p = sigmoid(x + level)
    elif SLOPED:
        p = tl.exp2(biased(x, position, j, slope, scale) - level)
    else:
        p = tl.exp2(x * scale - level)
    return p


@triton.jit
def _placed(ORDER, M, G, srb, srg, BN: tl.constexpr):
    """(row of batch and key-value head, tile of keys) of this program, the longest first: if causal, the first keys."""
    program = tl.program_id(0)
    tiles = tl.cdiv(M, BN)
    if ORDER is None:
        row = program // tiles
        tile = program % tiles
    else:
        rows = tl.num_programs(0) // tiles
        row = program % rows
        tile = tl.load(ORDER + (row // G) * srb + (row % G) * srg + program // rows)
    return row, tile


@triton.jit
def _span(
    BOUNDS, b, h, tile, slb, slh, start, offset, length, N, M, near, first,
    BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """(begin, end, before, behind): the steps, of which those before `before` and from `behind` on need checks."""
    if BOUNDS is None:
        end = tl.cdiv(N, BM)
        last = tl.minimum(start + BN, M) - 1
        begin, before = 0, 0
        if CAUSAL:
            begin = tl.minimum(tl.maximum(start - offset, 0) // BM, end)
            before = tl.minimum(tl.cdiv(tl.maximum(last - offset, 0), BM), end)
        if WINDOW:
            low = tl.maximum(start - offset - near, 0) // BM
            high = tl.cdiv(tl.maximum(last - offset + near + 1, 0), BM)
            begin = tl.where(first > 0, begin, tl.maximum(begin, low))
            end = tl.where(first > 0, end, tl.minimum(end, high))
        if WINDOW or PACKED:
            before = end
        # Padding among the keys: check everything; nothing but padding: read nothing.
        begin = tl.where(start < length, begin, end)
        before = tl.where(last < length, before, end)
        behind = end
    else:
        at = BOUNDS + (b * slb + h * slh + tile) * 3
        begin, behind, end = tl.load(at), tl.load(at + 1), tl.load(at + 2)
        before = begin
    return begin, end, before, behind
