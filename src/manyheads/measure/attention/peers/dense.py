"""Dense attention as torch itself offers it."""

from contextlib import nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from manyheads.attention.mask import Mask
from manyheads.measure.attention.built import Built, qkv
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.definitions import softmax
from manyheads.measure.attention.peers.registry import peer
from manyheads.measure.attention.work import pairs, softmax_work

YARDSTICK = "sdpa"


def _sdpa(shape: Shape, backend: SDPBackend | None = None) -> Built:
    kv_heads = shape.kv_heads or shape.heads
    q, k, v = qkv(shape, kv_heads)
    mask = Mask(shape.length, shape.length, causal=shape.causal)

    def call(state: None):
        with nullcontext() if backend is None else sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v, is_causal=shape.causal, enable_gqa=kv_heads != shape.heads)

    work = softmax_work(shape, pairs(mask, shape.heads, shape.batch), kv_heads)
    return Built([q, k, v], call, work, definition=lambda q, k, v: softmax(q, k, v, mask))


@peer(YARDSTICK, grouped=True)
def sdpa(shape: Shape) -> Built:
    """torch's choice."""
    return _sdpa(shape)


@peer("sdpa_flash2", devices=("cuda",), grouped=True)
def flash2(shape: Shape) -> Built:
    """FlashAttention-2, as built into torch."""
    return _sdpa(shape, SDPBackend.FLASH_ATTENTION)


@peer("sdpa_cudnn", devices=("cuda",), grouped=True)
def cudnn(shape: Shape) -> Built:
    return _sdpa(shape, SDPBackend.CUDNN_ATTENTION)


@peer("sdpa_efficient", devices=("cuda",), grouped=True)
def efficient(shape: Shape) -> Built:
    return _sdpa(shape, SDPBackend.EFFICIENT_ATTENTION)
