"""The flash kernels as operators: `manyheads::flash_forward` and its backward, opaque to torch.compile.

Arguments are tensors and numbers alone. `lists` holds (bounds, index, order) of tiles for the forward and, where
gradients are wanted, for the kernels of dQ and of dK and dV; it is empty for masks that need no lists. `block` is the
longest tile that these lists allow, 0 for no limit.
"""

import math

import torch
import triton
from torch import Tensor
from triton.runtime.jit import JITFunction

from manyheads.attention.kernels.ops import tuned
from manyheads.attention.kernels.triton import softmax_backward, softmax_decode, softmax_forward

INTERPRETING = not isinstance(softmax_forward.forward, JITFunction)
"""Whether the kernels run on the CPU, one program after the other: TRITON_INTERPRET=1 when Triton was imported."""

KERNELS = ("forward", "queries", "keys")


@torch.library.custom_op("manyheads::flash_forward", mutates_args=())
def flash_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor | None,
    shift: Tensor | None,
    seed: Tensor | None,
    lengths: Tensor | None,
    offsets: Tensor | None,
    documents: Tensor | None,
    lists: list[Tensor],
    block: int,
    causal: bool,
    offset: int,
    window: list[int],
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """out (b, h, n, d) and, for softmax, the log-sum-exp of each query's scores (b, h, n) in units of log2."""
    call = _Call(q, k, v, slopes, shift, seed, lengths, offsets, documents, block, causal, offset, window, dropout)
    out, lse = _outputs(_exact(q), shift)
    if call.empty:
        return out.zero_().to(q.dtype), lse.fill_(math.inf)
    splits = 0 if lists else call.splits()
    if splits:
        call.decode(out, lse, splits)
    else:
        call.forward(out, lse, lists[:3])
    return out.to(q.dtype), lse


@flash_forward.register_fake
def _(q, k, v, slopes, shift, *rest):
    return _outputs(q, shift)


@torch.library.custom_op("manyheads::flash_backward", mutates_args=())
def flash_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    slopes: Tensor | None,
    shift: Tensor | None,
    seed: Tensor | None,
    lengths: Tensor | None,
    offsets: Tensor | None,
    documents: Tensor | None,
    lists: list[Tensor],
    block: int,
    causal: bool,
    offset: int,
    window: list[int],
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV."""
    call = _Call(q, k, v, slopes, shift, seed, lengths, offsets, documents, block, causal, offset, window, dropout)
    dq, dk, dv = (_like(_exact(x)) for x in (q, k, v))
    if call.empty:
        return tuple(x.zero_().to(q.dtype) for x in (dq, dk, dv))
    dout, out = _unit(_exact(dout)), _unit(_exact(out))
    delta = torch.empty_like(lse)
    call.queries(dq, out, dout, lse, delta, lists[3:6])
    call.keys(dk, dv, dout, lse, delta, lists[6:9])
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)


@flash_backward.register_fake
def _(dout, q, k, v, *rest):
    return _like(q), _like(k), _like(v)


def _remember(ctx, inputs, output) -> None:
    *tensors, lists, block, causal, offset, window, dropout = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, out, lse, *lists)
    ctx.numbers = (block, causal, offset, window, dropout)
    # A list of tensors wants a list of gradients, and an empty list counts as one.
    ctx.shape = [[None] * len(x) if x == [] or x is lists else None for x in inputs[3:]]


def _gradients(ctx, dout, _):
    if dout is None:
        return None, None, None, *ctx.shape
    q, k, v, *facts, out, lse = ctx.saved_tensors[:11]
    lists = list(ctx.saved_tensors[11:])
    found = torch.ops.manyheads.flash_backward(dout, q, k, v, out, lse, *facts, lists, *ctx.numbers)
    return *found, *ctx.shape


def _refuse(ctx, *grads):
    raise NotImplementedError(
        "attention.kernel=flash has no second derivative; take attention.kernel=reference to differentiate twice."
    )


flash_forward.register_autograd(_gradients, setup_context=_remember)
flash_backward.register_autograd(_refuse)


def config(kernel: str, q: Tensor, block: int, busy: bool) -> tuned.Config:
    """The tile sizes that `kernel` will use for such queries; busy: with a window, dropout or sigmoid weights."""
    device = tuned.INTERPRETER if INTERPRETING else tuned.named(q.device)
    found = tuned.find(kernel, device, _padded(q.size(-1)), q.element_size(), busy)
    return tuned.smaller(found, block) if block else found


class _Call:
    """The arguments that every kernel shares, as it takes them."""

    def __init__(
        self, q, k, v, slopes, shift, seed, lengths, offsets, documents, block, causal, offset, window, dropout
    ):
        self.q, self.k, self.v = (_unit(_exact(x)) for x in (q, k, v))
        (self.b, self.h, self.n, self.d), (self.g, self.m) = q.shape, k.shape[1:3]
        self.size = _padded(self.d)
        self.group = self.h // self.g
        self.block = block
        self.shift = None if shift is None else shift.expand(self.b, self.h, self.n)
        # The kernels step through these one by one, so an expanded tensor has to be written out.
        slopes, lengths, offsets = (x if x is None else x.contiguous() for x in (slopes, lengths, offsets))
        self.row = {"SLOPES": slopes, "SHIFT": self.shift, "LENGTHS": lengths, "OFFSETS": offsets}
        self.row |= dict(zip(("stb", "sth", "stn"), _strides(self.shift), strict=True))
        self.row |= {"H": self.h, "GROUP": self.group, "N": self.n, "M": self.m, "OFFSET": offset}
        self.row |= {"scale": math.log2(math.e) / math.sqrt(self.d), "D": self.d, "BD": self.size, "CAUSAL": causal}
        width, dilation, first = window or (0, 1, 0)
        self.mask = {"SEED": seed, "DOCUMENTS": documents, "sdb": 0 if documents is None else documents.stride(0)}
        self.mask |= {
            "width": width,
            "dilation": dilation,
            "first": first,
            "WINDOW": bool(window),
            "DILATED": dilation > 1,
        }
        self.mask |= {"dropout": dropout, "DROPOUT": dropout > 0}
        self.busy = dropout > 0 or shift is not None or bool(window)
        self.plain = seed is None and documents is None and not window

    @property
    def empty(self) -> bool:
        """Nothing to compute."""
        return 0 in (self.b, self.h, self.n, self.m)

    def config(self, kernel: str) -> tuned.Config:
        return config(kernel, self.q, self.block, self.busy)

    def forward(self, out: Tensor, lse: Tensor, lists: list[Tensor]) -> None:
        config = self.config("forward")
        grid = (self.b * self.h * triton.cdiv(self.n, config.queries),)
        tensors = {"Q": self.q, "K": self.k, "V": self.v, "OUT": out, "LSE": lse}
        strides = _named("sq", "bhn", self.q) | _named("sk", "bgm", self.k) | _named("sv", "bgm", self.v)
        strides |= _named("so", "bhn", out)
        softmax_forward.forward[grid](
            **tensors, **strides, **self.row, **self.mask, **_lists(lists), **_options(config)
        )

    def queries(self, dq: Tensor, out: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, lists: list[Tensor]) -> None:
        config = self.config("queries")
        grid = (self.b * self.h * triton.cdiv(self.n, config.queries),)
        tensors = {"Q": self.q, "K": self.k, "V": self.v, "OUT": out, "DOUT": dout, "LSE": lse, "DELTA": delta}
        strides = _named("sq", "bhn", self.q) | _named("sk", "bgm", self.k) | _named("sv", "bgm", self.v)
        strides |= _named("so", "bhn", out) | _named("sg", "bhn", dout) | _named("sw", "bhn", dq)
        softmax_backward.queries[grid](
            **tensors, DQ=dq, unit=1 / math.sqrt(self.d), **strides, **self.row, **self.mask, **_lists(lists),
            **_options(config),
        )  # fmt: skip

    def keys(self, dk: Tensor, dv: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, lists: list[Tensor]) -> None:
        config = self.config("keys")
        grid = (self.b * self.g * triton.cdiv(self.m, config.keys),)
        tensors = {"Q": self.q, "K": self.k, "V": self.v, "DOUT": dout, "LSE": lse, "DELTA": delta, "DK": dk, "DV": dv}
        strides = _named("sq", "bhn", self.q) | _named("sk", "bgm", self.k) | _named("sv", "bgm", self.v)
        strides |= _named("sg", "bhn", dout) | _named("sw", "bgm", dk) | _named("sx", "bgm", dv)
        order = lists[2] if lists else None
        strides |= {"srb": _step(order, 0), "srg": _step(order, 1)}
        softmax_backward.keys[grid](
            **tensors, unit=1 / math.sqrt(self.d), EVEN=self.n % config.queries == 0, **strides, **self.row,
            **self.mask, **_lists(lists), **_options(config),
        )  # fmt: skip

    def splits(self) -> int:
        """Over how many programs to split the keys of each row and head; 0 where the queries are work enough."""
        config = self.config("split")
        tiles = triton.cdiv(self.m, config.keys)
        if not self.plain or self.group * self.n > config.queries or tiles < 4:
            return 0
        wanted = 2 * _processors(self.q.device) // (self.b * self.g)
        return max(1, min(tiles, wanted))

    def decode(self, out: Tensor, lse: Tensor, splits: int) -> None:
        config = self.config("split")
        parts = out.new_empty(splits, self.b, self.h, self.n, self.d, dtype=torch.float32)
        levels = out.new_empty(splits, self.b, self.h, self.n, dtype=torch.float32)
        strides = _named("sq", "bhn", self.q) | _named("sk", "bgm", self.k) | _named("sv", "bgm", self.v)
        softmax_decode.split[(self.b * self.g * splits,)](
            Q=self.q, K=self.k, V=self.v, PART=parts, LSE=levels, SPLITS=splits, **strides, **self.row,
            BM=max(16, triton.next_power_of_2(self.group * self.n)), BN=config.keys,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
        rows = self.b * self.h * self.n
        softmax_decode.combine[(rows,)](
            PART=parts, PARTS=levels, OUT=out, LSE=lse, **_named("so", "bhn", out), ROWS=rows, H=self.h, N=self.n,
            SPLITS=splits, D=self.d, BD=self.size, SIGMOID=self.shift is not None,
        )  # fmt: skip


def _padded(d: int) -> int:
    """tl.arange counts to powers of two alone."""
    return max(16, triton.next_power_of_2(d))


def _processors(device: torch.device) -> int:
    return 4 if INTERPRETING else torch.cuda.get_device_properties(device).multi_processor_count


def _exact(x: Tensor) -> Tensor:
    """Triton's interpreter computes bf16 wrongly, in silence: under it, bf16 becomes fp32."""
    return x.float() if INTERPRETING and x.dtype == torch.bfloat16 else x


def _fits(x: Tensor) -> bool:
    """Its last stride is 1, and its rows are near enough for 32-bit offsets within a tile."""
    return x.stride(-1) == 1 and x.stride(-2) < 2**22


def _unit(x: Tensor) -> Tensor:
    return x if _fits(x) else x.contiguous()


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x) if _fits(x) else x.new_empty(x.shape)


def _outputs(q: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    # In q's own layout, so that a caller who had transposed it gets his layout back for nothing.
    lse = q.new_empty(q.shape[:3] if shift is None else (0,), dtype=torch.float32)
    return _like(q), lse


def _named(prefix: str, axes: str, x: Tensor) -> dict[str, int]:
    return dict(zip((prefix + axis for axis in axes), x.stride()[:3], strict=True))


def _strides(x: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if x is None else x.stride()


def _lists(lists: list[Tensor]) -> dict[str, Tensor | int | None]:
    """Bounds in steps of their three numbers."""
    bounds, index, order = lists or (None, None, None)
    return {
        "BOUNDS": bounds, "INDEX": index, "ORDER": order, "slb": _step(bounds, 0) // 3, "slh": _step(bounds, 1) // 3
    }  # fmt: skip


def _step(x: Tensor | None, axis: int) -> int:
    """The stride of an axis, 0 where all share its one entry."""
    return 0 if x is None or x.size(axis) == 1 else x.stride(axis)


def _options(config: tuned.Config) -> dict[str, int]:
    return {"BM": config.queries, "BN": config.keys, "num_warps": config.warps, "num_stages": config.stages}
