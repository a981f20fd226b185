"""Linear attention in Triton: out_i = φ(q_i)ᵀ S_i / (φ(q_i)ᵀ z_i + eps), with S = Σ φ(k_j) v_jᵀ and z = Σ φ(k_j).

A sequence is cut into segments of `span` positions. `collect_keys` sums S and z of each segment, `accumulate` turns the
sums into what each segment starts from, and `forward` then walks through a segment chunk by chunk with S and z in
registers: pairs within the chunk by a masked product, everything before it by S. Keys and values are so read twice and
no state is written per chunk. The backward does the same: `back_queries` walks forwards with S; `back_keys` backwards,
once for dk and once for dv, with dS = Σ φ(q_i) dout_iᵀ / den_i (`collect_queries`, `accumulate`). Without causality S
and dS are one sum.

With out = num / den the gradient of the normaliser needs one number a query: delta_i = dout_i · out_i.
    dφ(q_i) = (S_i dout_i − delta_i z_i) / den_i            dv_j = Σ_i φ(q_i)·φ(k_j) dout_i / den_i
    dφ(k_j) = Σ_i φ(q_i) (dout_i · v_j − delta_i) / den_i

E, D: sizes of a feature and a value vector. BE, BD: the tile of them that one program holds, padded to powers of two.
GAIN: power of two by which weights of queries grow and states shrink before they are rounded to 16 bits; 1 but for
fp16, where weights around 1/n would be subnormal and sums over n overflow.
ELU: φ(x) = elu(x) + 1 is applied here; otherwise q and k are features already.
UPCAST: round to bf16, but multiply in fp32: Triton's interpreter gets products of bf16 wrong in silence.
States are records of fp32: Sᵀ (D, E), then z (E); values then enter every product as they lie in memory.
Strides are in elements, of row, head and position; the last is 1.
"""

import triton
import triton.language as tl


@triton.jit
def _place(tiles, heads, segments):
    """This program's tile, head, segment and row; neighbours share keys and values, which L2 then holds."""
    rest = tl.program_id(0)
    tile = rest % tiles
    rest = rest // tiles
    head = rest % heads
    rest = rest // heads
    return tile, head, rest % segments, (rest // segments).to(tl.int64)


@triton.jit
def _limit(lengths, b, m, HAS_LENGTHS: tl.constexpr):
    """How many keys of row b are real."""
    if HAS_LENGTHS:
        return tl.minimum(tl.load(lengths + b).to(tl.int32), m)
    else:
        return m


@triton.jit
def _rows(x, start, stride, end, columns, CHUNK: tl.constexpr, WIDTH: tl.constexpr, WHOLE: tl.constexpr):
    """Positions start … start + CHUNK of x (CHUNK, columns); zero from `end` on and beyond WIDTH."""
    rows = tl.arange(0, CHUNK)
    x += tl.cast(start, tl.int64) * stride
    inside = (start + rows < end)[:, None]
    if not WHOLE:
        inside = inside & (columns < WIDTH)[None, :]
    return tl.load(x + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _store(x, tile, start, stride, end, columns, CHUNK: tl.constexpr, WIDTH: tl.constexpr, WHOLE: tl.constexpr):
    rows = tl.arange(0, CHUNK)
    x += tl.cast(start, tl.int64) * stride
    inside = (start + rows < end)[:, None]
    if not WHOLE:
        inside = inside & (columns < WIDTH)[None, :]
    tl.store(x + rows[:, None] * stride + columns[None, :], tile.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _phi(x, ELU: tl.constexpr):
    """φ in fp32. Zeros beyond a tile's edge become φ(0): harmless in queries, whose partners there are zero."""
    phi = x.to(tl.float32)
    if ELU:
        # The power that is not chosen may be infinite; NaN is kept, which a minimum would hide.
        phi = tl.where(phi > 0, phi + 1, tl.exp(phi))
    return phi


@triton.jit
def _phi_keys(x, start, end, columns, CHUNK: tl.constexpr, WIDTH: tl.constexpr, WHOLE: tl.constexpr, ELU: tl.constexpr):
    """φ of rows of `_rows` in fp32; zero from `end` on and beyond WIDTH.

    Edges are factors, not a mask: the compiler would carry a mask of the whole tile through its prefetching.
    """
    phi = _phi(x, ELU)
    if ELU:
        phi *= (start + tl.arange(0, CHUNK) < end).to(tl.float32)[:, None]
        if not WHOLE:
            phi *= (columns < WIDTH).to(tl.float32)[None, :]
    return phi


@triton.jit
def _chain(gradient, phi, ELU: tl.constexpr):
    """The gradient of x from that of φ(x): elu' = e^x = φ below 0, and 1 above."""
    if ELU:
        gradient = gradient * tl.minimum(phi, 1.0)
    return gradient


@triton.jit
def _dot(x, y, UPCAST: tl.constexpr):
    if UPCAST:
        x = x.to(tl.float32)
        y = y.to(tl.float32)
    return tl.dot(x, y, input_precision="ieee")


@triton.jit
def _load_state(record, es, ds, E: tl.constexpr, D: tl.constexpr):
    """Sᵀ (ds, es) and z (es) of a record."""
    inside = (ds < D)[:, None] & (es < E)[None, :]
    state = tl.load(record + ds[:, None] * E + es[None, :], mask=inside, other=0.0)
    return state, tl.load(record + E * D + es, mask=es < E, other=0.0)


@triton.jit
def _store_state(record, state, z, es, ds, E: tl.constexpr, D: tl.constexpr):
    inside = (ds < D)[:, None] & (es < E)[None, :]
    tl.store(record + ds[:, None] * E + es[None, :], state, mask=inside)
    tl.store(record + E * D + es, z, mask=es < E)


@triton.jit(do_not_specialize=["m", "segments", "span"])
def collect_keys(
    k, v, sums, lengths,
    k_b, k_h, k_n, v_b, v_h, v_n,
    m, heads, segments, span,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr,
    ELU: tl.constexpr, HAS_LENGTHS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """S and z of one segment of keys of one key-value head, for a tile of features. heads: of keys."""
    tile, head, segment, b = _place((E + BE - 1) // BE, heads, segments)
    es = tile * BE + tl.arange(0, BE)
    ds = tl.arange(0, BD)
    k += b * k_b + head.to(tl.int64) * k_h
    v += b * v_b + head.to(tl.int64) * v_h
    limit = _limit(lengths, b, m, HAS_LENGTHS)
    state = tl.zeros([BD, BE], tl.float32)
    z = tl.zeros([BE], tl.float32)
    for start in range(segment * span, tl.minimum((segment + 1) * span, limit), CHUNK):
        keys = _rows(k, start, k_n, limit, es, CHUNK, E, E % BE == 0)
        keys = _phi_keys(keys, start, limit, es, CHUNK, E, E % BE == 0, ELU).to(k.dtype.element_ty)
        values = _rows(v, start, v_n, limit, ds, CHUNK, D, D == BD)
        state += _dot(tl.trans(values), keys, UPCAST)
        z += tl.sum(keys.to(tl.float32), 0)
    _store_state(sums + ((b * heads + head) * segments + segment) * (E * D + E), state, z, es, ds, E, D)


@triton.jit(do_not_specialize=["n", "segments", "span"])
def collect_queries(
    q, out, grad, inverse, delta, sums,
    q_b, q_h, q_n, o_b, o_h, o_n, g_b, g_h, g_n,
    n, heads, group, segments, span,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr,
    ELU: tl.constexpr, GAIN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dS and dz (× GAIN) of one segment of queries, summed over the query heads that share a key-value head; `delta`.

    heads: of keys; query head = key-value head · group + member.
    """
    tile, head, segment, b = _place((E + BE - 1) // BE, heads, segments)
    es = tile * BE + tl.arange(0, BE)
    ds = tl.arange(0, BD)
    q += b * q_b
    out += b * o_b
    grad += b * g_b
    state = tl.zeros([BD, BE], tl.float32)
    z = tl.zeros([BE], tl.float32)
    first = segment * span
    steps = tl.cdiv(tl.minimum(first + span, n) - first, CHUNK)
    # One loop over members and chunks, not two, so that loads are prefetched across both.
    for step in range(0, group * steps):
        start = first + step % steps * CHUNK
        member = tl.cast(head * group + step // steps, tl.int64)
        i = start + tl.arange(0, CHUNK)
        at = (b * heads * group + member) * n + i
        queries = _rows(q + member * q_h, start, q_n, n, es, CHUNK, E, E % BE == 0)
        queries = _phi(queries, ELU).to(q.dtype.element_ty).to(tl.float32)
        gradients = _rows(grad + member * g_h, start, g_n, n, ds, CHUNK, D, D == BD)
        outputs = _rows(out + member * o_h, start, o_n, n, ds, CHUNK, D, D == BD)
        share = tl.sum(gradients.to(tl.float32) * outputs.to(tl.float32), 1)
        tl.store(delta + at, share, mask=(i < n) & (tile == 0))
        queries *= (tl.load(inverse + at, mask=i < n, other=0.0) * GAIN)[:, None]
        state += _dot(tl.trans(gradients), queries.to(q.dtype.element_ty), UPCAST)
        z -= tl.sum(queries * share[:, None], 0)
    _store_state(sums + ((b * heads + head) * segments + segment) * (E * D + E), state, z, es, ds, E, D)


@triton.jit(do_not_specialize=["segments", "first", "step"])
def accumulate(sums, states, size, segments, first, step, TOTAL: tl.constexpr, BLOCK: tl.constexpr):
    """What each segment starts from: the sum of those before it, counted from `first` by `step` (1 or −1).

    sums (rows, segments, size) → states, the same shape and in place if wished; with TOTAL the sum of all (rows, size).
    """
    blocks = tl.cdiv(size, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    at = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    carry = tl.zeros([BLOCK], tl.float32)
    for index in range(0, segments):
        slot = (row * segments + first + index * step) * size + at
        found = tl.load(sums + slot, mask=at < size, other=0.0)
        if not TOTAL:
            tl.store(states + slot, carry, mask=at < size)
        carry += found
    if TOTAL:
        tl.store(states + row * size + at, carry, mask=at < size)


@triton.jit(do_not_specialize=["n", "m", "segments", "span", "eps"])
def forward(
    q, k, v, out, inverse, states, lengths,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_h, o_n,
    n, m, heads, group, segments, span, eps,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, CAUSAL: tl.constexpr,
    ELU: tl.constexpr, HAS_LENGTHS: tl.constexpr, GAIN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """out, and inverse = 1 / den (0 where nothing is seen), of one segment of queries for a tile of value columns."""
    dtype: tl.constexpr = q.dtype.element_ty
    tile, head, segment, b = _place((D + BD - 1) // BD, heads, segments)
    shared = (head // group).to(tl.int64)
    es = tl.arange(0, BE)
    ds = tile * BD + tl.arange(0, BD)
    q += b * q_b + head.to(tl.int64) * q_h
    k += b * k_b + shared * k_h
    v += b * v_b + shared * v_h
    out += b * o_b + head.to(tl.int64) * o_h
    inverse += (b * heads + head) * n
    record = b * (heads // group) + shared
    if CAUSAL:
        record = record * segments + segment
    state, z = _load_state(states + record * (E * D + E), es, ds, E, D)
    limit = _limit(lengths, b, m, HAS_LENGTHS)
    rows = tl.arange(0, CHUNK)
    for start in range(segment * span, tl.minimum((segment + 1) * span, n), CHUNK):
        queries = _rows(q, start, q_n, n, es, CHUNK, E, E == BE)
        queries = _phi(queries, ELU).to(dtype)
        mass = tl.sum(queries.to(tl.float32) * z[None, :], 1)
        if CAUSAL:
            keys = _rows(k, start, k_n, limit, es, CHUNK, E, E == BE)
            keys = _phi_keys(keys, start, limit, es, CHUNK, E, E == BE, ELU).to(dtype)
            values = _rows(v, start, v_n, limit, ds, CHUNK, D, D % BD == 0)
            z += tl.sum(keys.to(tl.float32), 0)
            weights = _dot(queries, tl.trans(keys), UPCAST)
            weights = tl.where(rows[:, None] >= rows[None, :], weights, 0.0)
            mass += tl.sum(weights, 1)
        found = _dot(queries, tl.trans((state * (1.0 / GAIN)).to(dtype)), UPCAST)
        if CAUSAL:
            found += _dot((weights * (1.0 / GAIN)).to(dtype), values, UPCAST)
            state += _dot(tl.trans(values), keys, UPCAST)
        # A query that sees nothing must give zeros, and zeros to the backward too; 1 / eps would be a huge factor.
        share = tl.where((limit > 0) & (mass + eps != 0), 1.0 / (mass + eps), 0.0)
        _store(out, found * (share * GAIN)[:, None], start, o_n, n, ds, CHUNK, D, D % BD == 0)
        tl.store(inverse + start + rows, share, mask=(start + rows < n) & (tile == 0))


@triton.jit(do_not_specialize=["n", "m", "segments", "span"])
def back_queries(
    q, k, v, grad, inverse, delta, states, dq, lengths,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_n, dq_b, dq_h, dq_n,
    n, m, heads, group, segments, span,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, CAUSAL: tl.constexpr,
    ELU: tl.constexpr, HAS_LENGTHS: tl.constexpr, GAIN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dq of one segment of queries for a tile of features; `states` are those of `forward`, `segments` too."""
    dtype: tl.constexpr = q.dtype.element_ty
    tile, head, segment, b = _place((E + BE - 1) // BE, heads, segments)
    shared = (head // group).to(tl.int64)
    es = tile * BE + tl.arange(0, BE)
    ds = tl.arange(0, BD)
    q += b * q_b + head.to(tl.int64) * q_h
    k += b * k_b + shared * k_h
    v += b * v_b + shared * v_h
    grad += b * g_b + head.to(tl.int64) * g_h
    dq += b * dq_b + head.to(tl.int64) * dq_h
    record = b * (heads // group) + shared
    if CAUSAL:
        record = record * segments + segment
    state, z = _load_state(states + record * (E * D + E), es, ds, E, D)
    limit = _limit(lengths, b, m, HAS_LENGTHS)
    rows = tl.arange(0, CHUNK)
    for start in range(segment * span, tl.minimum((segment + 1) * span, n), CHUNK):
        i = start + rows
        at = (b * heads + head) * n + i
        gradients = _rows(grad, start, g_n, n, ds, CHUNK, D, D == BD)
        share = tl.load(delta + at, mask=i < n, other=0.0)
        found = _dot(gradients, (state * (1.0 / GAIN)).to(dtype), UPCAST) * GAIN
        found -= share[:, None] * z[None, :]
        if CAUSAL:
            keys = _rows(k, start, k_n, limit, es, CHUNK, E, E % BE == 0)
            keys = _phi_keys(keys, start, limit, es, CHUNK, E, E % BE == 0, ELU).to(dtype)
            values = _rows(v, start, v_n, limit, ds, CHUNK, D, D == BD)
            pull = _dot(gradients, tl.trans(values), UPCAST) - share[:, None]
            pull = tl.where(rows[:, None] >= rows[None, :], pull, 0.0)
            found += _dot(pull.to(dtype), keys, UPCAST)
            state += _dot(tl.trans(values), keys, UPCAST)
            z += tl.sum(keys.to(tl.float32), 0)
        found *= tl.load(inverse + at, mask=i < n, other=0.0)[:, None]
        queries = _rows(q, start, q_n, n, es, CHUNK, E, E % BE == 0)
        found = _chain(found, _phi(queries, ELU), ELU)
        _store(dq, found, start, dq_n, n, es, CHUNK, E, E % BE == 0)


@triton.jit
def _fold(
    q, grad, inverse, delta, start, q_n, g_n, n, own, given, state, z, es, ds,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, ELU: tl.constexpr,
    FEATURES: tl.constexpr, GAIN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Adds one query head's chunk to `given`, its keys' own gradients, and to what earlier chunks get (dS, dz).

    own: the chunk's values (for dφ(k)) or features of keys (for dv).
    """
    dtype: tl.constexpr = q.dtype.element_ty
    rows = tl.arange(0, CHUNK)
    inside = start + rows < n
    queries = _phi(_rows(q, start, q_n, n, es, CHUNK, E, E % BE == 0), ELU).to(dtype)
    gradients = _rows(grad, start, g_n, n, ds, CHUNK, D, D % BD == 0)
    scale = tl.load(inverse + start + rows, mask=inside, other=0.0) * GAIN
    scaled = queries.to(tl.float32) * scale[:, None]
    if FEATURES:
        share = tl.load(delta + start + rows, mask=inside, other=0.0)
        z -= tl.sum(scaled * share[:, None], 0)
        pairs = (_dot(own, tl.trans(gradients), UPCAST) - share[None, :]) * scale[None, :]
        pairs = tl.where(rows[None, :] >= rows[:, None], pairs, 0.0).to(dtype)
        given += _dot(pairs, queries, UPCAST)
    else:
        pairs = _dot(own, tl.trans(queries), UPCAST) * scale[None, :]
        pairs = tl.where(rows[None, :] >= rows[:, None], pairs, 0.0).to(dtype)
        given += _dot(pairs, gradients, UPCAST)
    state += _dot(tl.trans(gradients), scaled.to(dtype), UPCAST)
    return given, state, z


@triton.jit(do_not_specialize=["n", "m", "segments", "span"])
def back_keys(
    q, k, v, grad, inverse, delta, sums, dx, lengths,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_n, dx_b, dx_h, dx_n,
    n, m, heads, group, segments, span,
    E: tl.constexpr, D: tl.constexpr, BE: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, CAUSAL: tl.constexpr,
    ELU: tl.constexpr, HAS_LENGTHS: tl.constexpr, FEATURES: tl.constexpr, ALONE: tl.constexpr, GAIN: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """dk (FEATURES, a tile of features, all values) or dv (a tile of values, all features) of one segment of keys.

    Summed over the query heads that share them. heads: of keys. ALONE: one query head a key-value head, so that the
    chunks are the inner loop, whose loads the compiler prefetches. One program for both would spill registers.
    """
    dtype: tl.constexpr = q.dtype.element_ty
    tile, head, segment, b = _place((E + BE - 1) // BE if FEATURES else (D + BD - 1) // BD, heads, segments)
    es = tl.arange(0, BE)
    ds = tl.arange(0, BD)
    if FEATURES:
        es += tile * BE
    else:
        ds += tile * BD
    shared = head.to(tl.int64)
    q += b * q_b + shared * group * q_h
    grad += b * g_b + shared * group * g_h
    k += b * k_b + shared * k_h
    v += b * v_b + shared * v_h
    dx += b * dx_b + shared * dx_h
    inverse += (b * heads + shared) * group * n
    delta += (b * heads + shared) * group * n
    record = b * heads + shared
    if CAUSAL:
        record = record * segments + segment
    state, z = _load_state(sums + record * (E * D + E), es, ds, E, D)
    limit = _limit(lengths, b, m, HAS_LENGTHS)
    rows = tl.arange(0, CHUNK)
    first = segment * span
    length = n if CAUSAL else m
    steps = tl.cdiv(tl.minimum(first + span, length) - first, CHUNK)
    for step in range(0, steps):
        start = first + (steps - 1 - step) * CHUNK
        before = (state * (1.0 / GAIN)).to(dtype)
        if FEATURES:
            own = _rows(v, start, v_n, limit, ds, CHUNK, D, D % BD == 0)
            given = _dot(own, before, UPCAST) * GAIN + z[None, :]
        else:
            own = _rows(k, start, k_n, limit, es, CHUNK, E, E % BE == 0)
            own = _phi_keys(own, start, limit, es, CHUNK, E, E % BE == 0, ELU).to(dtype)
            given = _dot(own, tl.trans(before), UPCAST) * GAIN
        if CAUSAL:
            if ALONE:
                given, state, z = _fold(
                    q, grad, inverse, delta, start, q_n, g_n, n, own, given, state, z, es, ds,
                    E, D, BE, BD, CHUNK, ELU, FEATURES, GAIN, UPCAST,
                )  # fmt: skip
            else:
                for member in range(0, group):
                    one = tl.cast(member, tl.int64)
                    given, state, z = _fold(
                        q + one * q_h, grad + one * g_h, inverse + one * n, delta + one * n,
                        start, q_n, g_n, n, own, given, state, z, es, ds,
                        E, D, BE, BD, CHUNK, ELU, FEATURES, GAIN, UPCAST,
                    )  # fmt: skip
        given *= 1.0 / GAIN
        if FEATURES:
            keys = _rows(k, start, k_n, limit, es, CHUNK, E, E % BE == 0)
            given = _chain(given, _phi(keys, ELU), ELU) * (start + rows < limit).to(tl.float32)[:, None]
            _store(dx, given, start, dx_n, m, es, CHUNK, E, E % BE == 0)
        else:
            _store(dx, given, start, dx_n, m, ds, CHUNK, D, D % BD == 0)
