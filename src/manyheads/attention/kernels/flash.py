"""Our own Triton kernels: forward and backward in tiles that skip what nobody looks at, on CUDA devices."""

import os
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.attention.bias import Bias
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.window import Window
from manyheads.attention.tiles import Tiles, tiles

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SIZES = (16, 256)
BLOCKS = (0, 64, 32, 16)
"""Longest tile to try where a pattern has blocks of its own; 0 leaves it to the table."""
FEW = 16
"""So few queries (cached decoding) read so little that lists cost more than they save."""
KERNELS = ("forward", "queries", "keys")


def why_not(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> str | None:
    device, dtype, d = q.device.type, _dtype(q), q.size(-1)
    if find_spec("triton") is None:
        return "attention.kernel=flash needs Triton, which is not installed here; take attention.kernel=blocked."
    if device != "cuda" and not _interpreting():
        return f"attention.kernel=flash needs a CUDA device, but q is on {device}; take attention.kernel=blocked."
    if dtype not in DTYPES:
        return f"attention.kernel=flash computes in bf16, fp16 and fp32, not {dtype}; take attention.kernel=reference."
    if not SIZES[0] <= d <= SIZES[1]:
        low, high = SIZES
        return f"attention.kernel=flash takes heads of size {low} to {high}, not {d}; take attention.kernel=sdpa."
    if isinstance(bias, Tensor):
        return "attention.kernel=flash takes no bias of one number per pair; take attention.kernel=sdpa."
    trained = {"bias's slopes": bias and bias.slopes, "shift": shift}
    for name, x in trained.items():
        if x is not None and x.requires_grad and torch.is_grad_enabled():
            return f"attention.kernel=flash gives the {name} no gradient; take attention.kernel=reference."
    if mask.pattern is not None and _block(q, mask) is None:
        return (
            f"attention.kernel=flash cannot cut {type(mask.pattern).__name__} into tiles that are seen wholly or not "
            "at all; make its blocks multiples of 16, or take attention.kernel=blocked."
        )
    return None


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    bias: Bias | None,
    dropout: float,
    shift: Float[Tensor, "#b #h n"] | None,
) -> Float[Tensor, "b h n d"]:
    """softmax(q kᵀ / √d + bias) v, or with `shift` sigmoid(q kᵀ / √d + bias + shift) v, over the allowed keys."""
    from manyheads.attention.kernels.ops.flash import flash_forward

    q, k, v = (x.to(_dtype(q)) for x in (q, k, v))
    lists, block, window = _lists(q, k, v, mask, dropout > 0 or shift is not None)
    offsets, offset = (mask.offset, 0) if isinstance(mask.offset, Tensor) else (None, mask.offset)
    documents = None if mask.documents is None else mask.documents.contiguous()
    # One number from torch's generator, so that a seeded run repeats; on the device, so that nobody waits for it.
    seed = torch.randint(2**62, (1,), device=q.device) if dropout else None
    slopes = None if bias is None else bias.slopes
    facts = (slopes, shift, seed, mask.lengths, offsets, documents)
    return flash_forward(q, k, v, *facts, lists, block, mask.causal, offset, window, dropout)[0]


def _dtype(q: Tensor) -> torch.dtype:
    """What to compute in: like every matrix product, autocast's type where it is on."""
    device = q.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else q.dtype


def _interpreting() -> bool:
    """Whether Triton runs on the CPU, for tests; asked without importing it where nobody wants that."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return False
    from manyheads.attention.kernels.ops.flash import INTERPRETING

    return INTERPRETING


def _lists(q: Tensor, k: Tensor, v: Tensor, mask: Mask, busy: bool) -> tuple[list[Tensor], int, list[int]]:
    """Lists of tiles, the longest tile they allow, and the window to check within them; empty for plain masks."""
    if mask.pattern is None and mask.documents is None:
        return [], 0, []
    window = (
        [mask.pattern.width, mask.pattern.dilation, mask.pattern.globals] if isinstance(mask.pattern, Window) else []
    )
    # Lists have a length that only the data decide: a compiled graph would break there.
    if (window or mask.pattern is None) and (torch.compiler.is_compiling() or mask.queries <= FEW):
        return [], 0, window
    block = _block(q, mask) or 0
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    kernels = KERNELS if trained else KERNELS[:1]
    found = [_list(_tiles(kernel, q, mask, block, busy or bool(window)), kernel, k.size(1), mask) for kernel in kernels]
    return [x for one in found for x in one], block, window


def _list(made: Tiles, kernel: str, groups: int, mask: Mask) -> tuple[Tensor, Tensor, Tensor]:
    """Bounds, index and order of the tiles of one kernel; for `keys` by tile of keys."""
    made = made.transposed if kernel == "keys" else made
    heads = made.bounds.size(1)
    # The kernel of dK and dV takes all heads of a group in one program.
    shared = groups if kernel == "keys" and heads > 1 else heads
    return made.bounds, made.index, mask.once(("longest first", made, shared), lambda: _order(made.bounds, shared))


def _order(bounds: Tensor, heads: int) -> Tensor:
    """(R, heads, T): the tiles of each row and head, those with most to read first."""
    work = (bounds[..., 2] - bounds[..., 0]).unflatten(1, (heads, -1)).sum(2)
    return work.argsort(dim=-1, descending=True, stable=True).int()


def _tiles(kernel: str, q: Tensor, mask: Mask, block: int, busy: bool) -> Tiles:
    from manyheads.attention.kernels.ops.flash import config

    sizes = config(kernel, q, block, busy)
    return tiles(mask, q.size(1), sizes.queries, sizes.keys, q.device)


def _block(q: Tensor, mask: Mask) -> int | None:
    """The longest tile for which the pattern needs no check within tiles; None: there is none. Windows are checked."""
    if mask.pattern is None or isinstance(mask.pattern, Window):
        return 0
    fitting = (block for block in BLOCKS if not any(_tiles(name, q, mask, block, False).ragged for name in KERNELS))
    return mask.once(("flash block", q.size(1), q.size(-1), q.dtype, q.device), lambda: next(fitting, None))
