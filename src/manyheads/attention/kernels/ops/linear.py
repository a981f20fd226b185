"""Linear attention as custom operators of torch, so that torch.compile and autograd take the Triton kernels.

`attend` is differentiable once; a second derivative is refused by torch. Tensors: q (b, h, n, e), k (b, g, m, e),
v (b, g, m, d), all of one type, with unit last stride; g divides h.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from manyheads.attention.kernels.triton import linear as kernels

INTERPRETED = not isinstance(kernels.forward, triton.JITFunction)


@dataclass(frozen=True)
class Config:
    """How one kernel is launched. full: up to this (padded) size of the side that one program holds whole.

    tile: of the other side; chunk: positions a step; warps and stages (of prefetch): Triton's own.
    """

    full: int
    tile: int
    chunk: int
    warps: int
    stages: int


# Held whole: features in `forward` and `back_values`, values in the others. More than 256 features come without
# causality alone (they are made before the kernel), which needs far fewer registers. Chosen by compiling for sm_90a,
# not yet timed: no register spills at 16 bits but for some bytes; causal fp32 kernels of heads of 256 spill hundreds.
TABLE: dict[tuple[str, int], tuple[Config, ...]] = {
    ("collect_keys", 16): (Config(64, 64, 64, 4, 3), Config(128, 128, 64, 8, 3), Config(256, 64, 64, 8, 3)),
    ("collect_queries", 16): (Config(64, 64, 64, 4, 3), Config(128, 128, 64, 8, 2), Config(256, 64, 64, 8, 2)),
    ("forward", 16): (
        Config(64, 64, 64, 4, 3),
        Config(128, 64, 64, 8, 2),
        Config(256, 32, 16, 8, 1),
        Config(512, 64, 64, 8, 2),
    ),
    ("back_queries", 16): (Config(64, 64, 64, 4, 2), Config(128, 64, 64, 8, 3), Config(256, 32, 64, 8, 2)),
    ("back_features", 16): (Config(64, 64, 64, 8, 2), Config(128, 32, 64, 8, 3), Config(256, 16, 16, 8, 1)),
    ("back_values", 16): (
        Config(64, 64, 64, 4, 2),
        Config(128, 32, 64, 8, 3),
        Config(256, 16, 16, 8, 1),
        Config(512, 64, 64, 8, 2),
    ),
    ("collect_keys", 32): (Config(64, 16, 16, 8, 1), Config(128, 16, 16, 8, 1), Config(256, 32, 32, 8, 1)),
    ("collect_queries", 32): (Config(64, 16, 16, 8, 1), Config(128, 16, 16, 8, 1), Config(256, 32, 32, 8, 1)),
    ("forward", 32): (
        Config(64, 16, 16, 8, 1),
        Config(128, 16, 16, 8, 1),
        Config(256, 16, 16, 8, 1),
        Config(512, 16, 32, 8, 1),
    ),
    ("back_queries", 32): (Config(64, 16, 16, 8, 1), Config(128, 16, 16, 8, 1), Config(256, 16, 16, 8, 1)),
    ("back_features", 32): (Config(64, 16, 16, 8, 1), Config(128, 16, 16, 8, 1), Config(256, 16, 16, 8, 1)),
    ("back_values", 32): (
        Config(64, 16, 16, 8, 1),
        Config(128, 16, 16, 8, 1),
        Config(256, 16, 16, 8, 1),
        Config(512, 16, 32, 8, 1),
    ),
}
UNIT = max(config.chunk for rows in TABLE.values() for config in rows)
"""Segments are whole multiples of it, so that every kernel's chunks divide them."""
BLOCK = 1024
"""Numbers that one program of `accumulate` sums."""
DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def _bits(dtype: torch.dtype) -> int:
    return dtype.itemsize * 8


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


@dataclass(frozen=True)
class Plan:
    """A kernel's tiles (BE, BD) for features of size E and values of size D, and its configuration."""

    config: Config
    be: int
    bd: int

    def blocks(self) -> dict[str, int]:
        """The constants and options that a launch takes."""
        return {
            "BE": self.be,
            "BD": self.bd,
            "CHUNK": self.config.chunk,
            "num_warps": self.config.warps,
            "num_stages": self.config.stages,
        }


def _plan(name: str, dtype: torch.dtype, e: int, d: int) -> Plan:
    be, bd = _padded(e), _padded(d)
    by_value = name in ("forward", "back_values")
    config = next(c for c in TABLE[name, _bits(dtype)] if c.full >= (be if by_value else bd))
    return Plan(config, be, min(bd, config.tile)) if by_value else Plan(config, min(be, config.tile), bd)


def _split(length: int, programs: int, device: torch.device) -> tuple[int, int]:
    """(segments, positions in each) of a sequence, so that `programs` × segments fill the device once."""
    blocks = -(-length // UNIT)
    wanted = max(1, _resident(device) // programs)
    span = max(1, -(-blocks // wanted)) * UNIT
    return max(1, -(-length // span)), span


def _resident(device: torch.device) -> int:
    """How many programs run at a time: two a multiprocessor. The interpreter runs one; a few segments test the rest."""
    if device.type != "cuda":
        return 16
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def _flags(q: Tensor, elu: bool) -> dict:
    return {"ELU": elu, "UPCAST": INTERPRETED and q.dtype == torch.bfloat16}


def _gain(dtype: torch.dtype) -> int:
    return 1024 if dtype == torch.float16 else 1


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in x.stride()[:3]]


def _like_projections(x: Tensor, *shape: int) -> Tensor:
    """(b, heads, n, size) in the memory order (b, n, heads, size): what the projections around attention read."""
    b, heads, n, size = shape
    return x.new_empty(b, n, heads, size).transpose(1, 2)


def _readable(x: Tensor) -> Tensor:
    """x with unit last stride, and rows near enough that offsets within a chunk fit 32 bits."""
    return x if x.stride(-1) == 1 and x.stride(2) < 2**31 // UNIT else x.contiguous()


def _shape(q: Tensor, v: Tensor) -> tuple[int, ...]:
    """(b, h, g, n, m, e, d)"""
    return q.size(0), q.size(1), v.size(1), q.size(2), v.size(2), q.size(3), v.size(3)


def _query_split(q: Tensor, v: Tensor) -> tuple[int, int]:
    """Segments of `forward` and `back_queries`: those of the kernel with the fewer programs."""
    b, h, _, n, _, e, d = _shape(q, v)
    tiles = min(-(-d // _plan("forward", q.dtype, e, d).bd), -(-e // _plan("back_queries", q.dtype, e, d).be))
    return _split(n, b * h * tiles, q.device)


def _accumulate(sums: Tensor, backwards: bool, total: bool) -> Tensor:
    """sums (b, g, segments, size) → what each segment starts from; with `total` (b, g, 1, size), the sum of all."""
    b, g, segments, size = sums.shape
    if total and segments == 1:
        return sums
    states = sums.new_empty(b, g, 1, size) if total else sums
    first, step = (segments - 1, -1) if backwards else (0, 1)
    grid = (b * g * triton.cdiv(size, BLOCK),)
    kernels.accumulate[grid](sums, states, size, segments, first, step, TOTAL=total, BLOCK=BLOCK)
    return states


def _collect_keys(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, causal: bool, elu: bool) -> Tensor:
    """S and z that the segments of queries start from: (b, g, segments or 1, e · d + e)."""
    b, _, g, _, m, e, d = _shape(q, v)
    plan = _plan("collect_keys", q.dtype, e, d)
    tiles = -(-e // plan.be)
    segments, span = _query_split(q, v) if causal else _split(m, b * g * tiles, q.device)
    if causal and segments == 1:
        return q.new_zeros(b, g, 1, e * d + e, dtype=torch.float32)
    sums = q.new_empty(b, g, segments, e * d + e, dtype=torch.float32)
    kernels.collect_keys[(b * g * segments * tiles,)](
        k, v, sums, q if lengths is None else lengths, *_strides(k, v), m, g, segments, span,
        E=e, D=d, HAS_LENGTHS=lengths is not None, **_flags(q, elu), **plan.blocks(),
    )  # fmt: skip
    return _accumulate(sums, backwards=False, total=not causal)


@torch.library.custom_op("manyheads::linear_forward", mutates_args=())
def forward(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, causal: bool, elu: bool, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """out (b, h, n, d), 1 / denominator (b, h, n), and S, z before each segment of queries (b, g, segments, e · d + e).

    causal: query i sees the keys up to i. lengths (b,): how many keys of a row are real. elu: φ is elu + 1, not x.
    """
    out, inverse, _ = _empty_forward(q, k, v, lengths, causal, elu, eps)
    q, k, v = _readable(q), _readable(k), _readable(v)
    with torch.cuda.device_of(q):
        states = _collect_keys(q, k, v, lengths, causal, elu)
        _launch_forward(q, k, v, out, inverse, states, lengths, causal, elu, eps)
    return out, inverse, states


def _launch_forward(q, k, v, out, inverse, states, lengths, causal: bool, elu: bool, eps: float) -> None:
    b, h, g, n, m, e, d = _shape(q, v)
    plan = _plan("forward", q.dtype, e, d)
    segments, span = _query_split(q, v)
    kernels.forward[(b * h * segments * -(-d // plan.bd),)](
        q, k, v, out, inverse, states, q if lengths is None else lengths, *_strides(q, k, v, out),
        n, m, h, h // g, segments, span, eps,
        E=e, D=d, CAUSAL=causal, HAS_LENGTHS=lengths is not None, GAIN=_gain(q.dtype),
        **_flags(q, elu), **plan.blocks(),
    )  # fmt: skip


@forward.register_fake
def _empty_forward(q, k, v, lengths, causal, elu, eps) -> tuple[Tensor, Tensor, Tensor]:
    b, h, g, n, _, e, d = _shape(q, v)
    segments = _query_split(q, v)[0] if causal else 1
    return (
        _like_projections(q, b, h, n, d),
        q.new_empty(b, h, n, dtype=torch.float32),
        q.new_empty(b, g, segments, e * d + e, dtype=torch.float32),
    )


@torch.library.custom_op("manyheads::linear_backward", mutates_args=())
def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    inverse: Tensor,
    states: Tensor,
    lengths: Tensor | None,
    causal: bool,
    elu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv from the gradient of `out` and what `forward` gave."""
    dq, dk, dv = _empty_backward(grad, q, k, v, out, inverse, states, lengths, causal, elu)
    grad, q, k, v, out = (_readable(x) for x in (grad, q, k, v, out))
    with torch.cuda.device_of(q):
        sums, delta, split = _collect_queries(grad, q, v, out, inverse, causal, elu)
        _launch_queries(grad, q, k, v, inverse, delta, states, dq, lengths, causal, elu)
        for name, dx in (("back_features", dk), ("back_values", dv)):
            _launch_keys(name, grad, q, k, v, inverse, delta, sums, dx, lengths, causal, elu, split)
    return dq, dk, dv


def _collect_queries(grad, q, v, out, inverse, causal: bool, elu: bool) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """dS and dz that the segments of keys start from, delta (b, h, n), and those segments."""
    b, h, g, n, m, e, d = _shape(q, v)
    plan = _plan("collect_queries", q.dtype, e, d)
    tiles = -(-e // plan.be)
    segments, span = _split(n, b * g * tiles, q.device)
    delta = torch.empty_like(inverse)
    sums = q.new_empty(b, g, segments, e * d + e, dtype=torch.float32)
    kernels.collect_queries[(b * g * segments * tiles,)](
        q, out, grad, inverse, delta, sums, *_strides(q, out, grad), n, g, h // g, segments, span,
        E=e, D=d, GAIN=_gain(q.dtype), **_flags(q, elu), **plan.blocks(),
    )  # fmt: skip
    sums = _accumulate(sums, backwards=True, total=not causal)
    return sums, delta, (segments, span) if causal else _split(m, b * g * tiles, q.device)


def _launch_queries(grad, q, k, v, inverse, delta, states, dq, lengths, causal: bool, elu: bool) -> None:
    b, h, g, n, m, e, d = _shape(q, v)
    plan = _plan("back_queries", q.dtype, e, d)
    segments, span = _query_split(q, v)
    kernels.back_queries[(b * h * segments * -(-e // plan.be),)](
        q, k, v, grad, inverse, delta, states, dq, q if lengths is None else lengths, *_strides(q, k, v, grad, dq),
        n, m, h, h // g, segments, span,
        E=e, D=d, CAUSAL=causal, HAS_LENGTHS=lengths is not None, GAIN=_gain(q.dtype),
        **_flags(q, elu), **plan.blocks(),
    )  # fmt: skip


def _launch_keys(
    name: str, grad, q, k, v, inverse, delta, sums, dx, lengths, causal: bool, elu: bool, split: tuple[int, int]
) -> None:
    b, h, g, n, m, e, d = _shape(q, v)
    plan = _plan(name, q.dtype, e, d)
    tiles = -(-d // plan.bd) if name == "back_values" else -(-e // plan.be)
    segments, span = split
    kernels.back_keys[(b * g * segments * tiles,)](
        q, k, v, grad, inverse, delta, sums, dx, q if lengths is None else lengths,
        *_strides(q, k, v, grad, dx), n, m, g, h // g, segments, span,
        E=e, D=d, CAUSAL=causal, HAS_LENGTHS=lengths is not None, FEATURES=name == "back_features",
        ALONE=h == g, GAIN=_gain(q.dtype), **_flags(q, elu), **plan.blocks(),
    )  # fmt: skip


@backward.register_fake
def _empty_backward(grad, q, k, v, out, inverse, states, lengths, causal, elu) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(_like_projections(x, *x.shape) for x in (q, k, v))


def _remember(ctx, inputs, output) -> None:
    q, k, v, lengths, ctx.causal, ctx.elu, _ = inputs
    ctx.save_for_backward(q, k, v, *output, lengths)


def _gradients(ctx, grad: Tensor, *_) -> tuple:
    q, k, v, out, inverse, states, lengths = ctx.saved_tensors
    return *backward(grad, q, k, v, out, inverse, states, lengths, ctx.causal, ctx.elu), None, None, None, None


forward.register_autograd(_gradients, setup_context=_remember)


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, causal: bool, elu: bool, eps: float) -> Tensor:
    """Linear attention, differentiable by q, k and v; see `forward`."""
    return forward(q, k, v, lengths, causal, elu, eps)[0]


Variant = tuple[str, triton.JITFunction, dict[str, str], dict[str, object], dict[str, int]]


def variants() -> Iterator[Variant]:
    """(name, kernel, signature, constants, options) of every kernel and configuration, to be compiled without a device.

    Each at the largest sizes that its configuration serves. Pointers and strides (…_b, …_h, …_n) are to be taken as
    multiples of 16, as they are for head sizes that are.
    """
    for (name, bits), rows in TABLE.items():
        for dtype in (dtype for dtype in DTYPES if _bits(dtype) == bits):
            for full in (config.full for config in rows):
                for causal in _modes(name, full):
                    yield _variant(name, dtype, full, causal)
    yield "accumulate", kernels.accumulate, _signature(kernels.accumulate, "fp32"), {"TOTAL": False, "BLOCK": BLOCK}, {}


def _modes(name: str, full: int) -> tuple[bool, ...]:
    """Causal or not: no difference to what only sums, and more than 256 features are never causal."""
    if name.startswith("collect"):
        return (True,)
    return (True, False) if full <= 256 else (False,)


def _variant(name: str, dtype: torch.dtype, full: int, causal: bool) -> Variant:
    # The largest sizes: queries and keys have at most 256 entries where they are no features made before.
    e, d = (full, min(full, 256)) if name in ("forward", "back_values") else (min(full, 256), full)
    plan = _plan(name, dtype, e, d)
    kernel = kernels.back_keys if name in ("back_features", "back_values") else getattr(kernels, name)
    blocks = plan.blocks()
    options = {key: blocks.pop(key) for key in ("num_warps", "num_stages")}
    flags = {
        "CAUSAL": causal,
        "ELU": e <= 256,
        "HAS_LENGTHS": True,
        "ALONE": True,
        "FEATURES": name == "back_features",
        "GAIN": _gain(dtype),
        "UPCAST": False,
    }
    constants = {key: x for key, x in {"E": e, "D": d, **blocks, **flags}.items() if key in kernel.arg_names}
    label = f"linear {name} {DTYPES[dtype]} {e}x{d}{' causal' if causal else ''}"
    return label, kernel, _signature(kernel, DTYPES[dtype]), constants, options


FP32 = ("inverse", "delta", "sums", "states")
POINTERS = ("q", "k", "v", "out", "grad", "dq", "dx")


def _signature(kernel: triton.JITFunction, dtype: str) -> dict[str, str]:
    def of(name: str) -> str:
        if name in POINTERS:
            return f"*{dtype}"
        if name in FP32:
            return "*fp32"
        return {"lengths": "*i64", "eps": "fp32"}.get(name, "constexpr" if name.isupper() else "i32")

    return {name: of(name) for name in kernel.arg_names}
