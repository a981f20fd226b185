"""Forward: tiles of queries read the keys tile by tile and keep no weights (FlashAttention-2, Dao 2023, alg. 1)."""

import triton
import triton.language as tl

from manyheads.attention.kernels.triton.softmax_parts import (
    NUMBERS,
    allowed,
    biased,
    kept,
    load_rows,
    log2_units,
    own_documents,
    sigmoid,
    store_rows,
)


@triton.jit(do_not_specialize=NUMBERS)
def forward(
    Q, K, V, OUT, LSE, SLOPES, SHIFT, SEED, LENGTHS, OFFSETS, DOCUMENTS, BOUNDS, INDEX, ORDER,
    sqb, sqh, sqn, skb, skg, skm, svb, svg, svm, sob, soh, son, stb, sth, stn, sdb, slb, slh,
    H, GROUP, N, M, OFFSET, width, dilation, first, scale, dropout,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DILATED: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """One program: BM queries of one head. Writes OUT (b, h, n, d) and, for softmax, LSE (b, h, n) in units of log2."""
    row, tile = placed(ORDER, N, H, slb, slh, BM)
    b, h = tl.cast(row // H, tl.int64), tl.cast(row % H, tl.int64)
    g = h // GROUP
    start = tile * BM
    i = start + tl.arange(0, BM)
    offset, length, own, inside = facts(b, i, LENGTHS, OFFSETS, DOCUMENTS, sdb, M, OFFSET)
    position = i + offset
    slope = log2_units(tl.load(SLOPES + h)) if SLOPES is not None else 0.0
    shift = 0.0
    if SHIFT is not None:
        shift = log2_units(tl.load(SHIFT + b * stb + h * sth + i * stn, mask=i < N, other=0.0))
    seed = tl.load(SEED) if DROPOUT else 0
    if DOCUMENTS is not None:
        DOCUMENTS += b * sdb
    q = load_rows(Q + b * sqb + h * sqh, start, sqn, N, BM, D, BD, True)
    begin, middle, end = span(
        BOUNDS, b, h, tile, slb, slh, start, offset, length, N, width * dilation, first,
        BM, BN, CAUSAL, WINDOW, DOCUMENTS is not None,
    )  # fmt: skip
    K += b * skb + g * skg
    V += b * svb + g * svg
    acc = tl.zeros([BM, BD], tl.float32)
    total = tl.zeros([BM], tl.float32)
    top = tl.full([BM], float("-inf"), tl.float32)
    acc, total, top = read(
        acc, total, top, q, K, V, INDEX, begin, middle, skm, svm, M, length, i, position, slope, shift,
        DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
        D, BD, BN, CAUSAL, WINDOW, DILATED, DROPOUT, SHIFT is not None, SLOPES is not None, False,
    )  # fmt: skip
    acc, total, top = read(
        acc, total, top, q, K, V, INDEX, middle, end, skm, svm, M, length, i, position, slope, shift,
        DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
        D, BD, BN, CAUSAL, WINDOW, DILATED, DROPOUT, SHIFT is not None, SLOPES is not None, True,
    )  # fmt: skip
    if SHIFT is None:
        some = tl.where(total == 0, 1.0, total)
        acc = acc / some[:, None]
        # +∞ where nothing was seen: the backward's weights exp2(score − lse) are 0 there.
        lse = tl.where(total == 0, float("inf"), top + tl.log2(some))
        tl.store(LSE + tl.cast(row, tl.int64) * N + i, lse, mask=i < N)
    if DROPOUT:
        acc = acc / (1 - dropout)
    store_rows(OUT + b * sob + h * soh, start, son, N, acc, BM, D, BD)


@triton.jit
def placed(ORDER, N, H, slb, slh, BM: tl.constexpr):
    """(row of batch and head, tile of queries) of this program; the longest work comes first, so that the end is short.

    Plain masks: head after head, so that the heads of a group find their keys in the cache, and in each the last tile,
    which sees most, first. Lists: the longest of all heads first, for one global tile may outweigh a hundred others.
    """
    program = tl.program_id(0)
    tiles = tl.cdiv(N, BM)
    if ORDER is None:
        row = program // tiles
        tile = tiles - 1 - program % tiles
    else:
        rows = tl.num_programs(0) // tiles
        row = program % rows
        tile = tl.load(ORDER + (row // H) * slb + (row % H) * slh + program // rows)
    return row, tile


@triton.jit
def facts(b, i, LENGTHS, OFFSETS, DOCUMENTS, sdb, M, OFFSET):
    """What the mask says of row b: position of query 0, number of real keys, the queries' documents."""
    offset = tl.cast(tl.load(OFFSETS + b), tl.int32) if OFFSETS is not None else OFFSET
    length = tl.cast(tl.minimum(tl.load(LENGTHS + b), M), tl.int32) if LENGTHS is not None else M
    if DOCUMENTS is None:
        own, inside = i, i
    else:
        own, inside = own_documents(DOCUMENTS + b * sdb, i + offset, M)
    return offset, length, own, inside


@triton.jit
def span(
    BOUNDS, b, h, tile, slb, slh, start, offset, length, N, near, first,
    BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Steps [begin, middle) read key tiles that all queries of the tile see wholly, [middle, end) those to check.

    Without lists, documents are checked everywhere, and windows wherever they reach: `near` keys to each side, or, with
    positions that see all, everywhere.
    """
    if BOUNDS is None:
        low, whole, reach = 0, length, length
        until = tl.minimum(start + BM, N) + offset
        if CAUSAL:
            whole = tl.maximum(tl.minimum(length, start + offset + 1), 0)
            reach = tl.maximum(tl.minimum(length, until), 0)
        if WINDOW:
            low = tl.where(first > 0, 0, tl.maximum(start + offset - near, 0))
            reach = tl.where(first > 0, reach, tl.maximum(tl.minimum(reach, until + near), 0))
        if WINDOW or PACKED:
            whole = low
        begin, middle, end = low // BN, whole // BN, tl.cdiv(reach, BN)
    else:
        at = BOUNDS + (b * slb + h * slh + tile) * 3
        begin, middle, end = tl.load(at), tl.load(at + 1), tl.load(at + 2)
    return begin, middle, end


@triton.jit
def read(
    acc, total, top, q, K, V, INDEX, begin, end, skm, svm, M, length, i, position, slope, shift,
    DOCUMENTS, own, inside, width, dilation, first, scale, seed, row, dropout,
    D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DILATED: tl.constexpr, DROPOUT: tl.constexpr, SIGMOID: tl.constexpr, SLOPED: tl.constexpr, CHECKED: tl.constexpr,
):  # fmt: skip
    """Adds what the queries read in steps [begin, end): the sums of values and of weights, the greatest score."""
    for step in range(begin, end):
        tile = step if INDEX is None else tl.load(INDEX + step)
        start = tile * BN
        j = (start + tl.arange(0, BN))[None, :]
        k = load_rows(K, start, skm, M, BN, D, BD, CHECKED)
        x = tl.dot(q, tl.trans(k), input_precision="ieee")
        if SLOPED or SIGMOID:
            x = biased(x, position[:, None], j, slope, scale) if SLOPED else x * scale
        if CHECKED:
            other = tl.load(DOCUMENTS + j, mask=j < M, other=0) if DOCUMENTS is not None else j
            seen = allowed(
                position[:, None], j, length, own[:, None], inside[:, None], other, width, dilation, first,
                CAUSAL, DOCUMENTS is not None, WINDOW, DILATED,
            )  # fmt: skip
            x = tl.where(seen, x, float("-inf"))
        if SIGMOID:
            p = sigmoid(x + shift[:, None])
        else:
            factor = 1.0 if SLOPED else scale
            new = tl.maximum(top, tl.max(x, 1) * factor)
            # A row that has seen nothing yet: 0 instead of −∞, or −∞ − (−∞) would make NaN of it.
            level = tl.where(new == float("-inf"), 0.0, new) if CHECKED else new
            p = tl.exp2(x * factor - level[:, None])
            shrink = tl.exp2(top - level)
            total = total * shrink + tl.sum(p, 1)
            acc = acc * shrink[:, None]
            top = new
        if DROPOUT:
            p = tl.where(kept(seed, row, i[:, None], j, dropout), p, 0.0)
        v = load_rows(V, start, svm, M, BN, D, BD, CHECKED)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee")
    return acc, total, top
