"""Linear attention and random features of others. Rules differ in their feature map; work is of the same kind."""

import contextlib
import io

from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.measure.attention.built import Built, qkv
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.definitions import linear
from manyheads.measure.attention.peers.registry import peer
from manyheads.measure.attention.work import linear_work

BUCKET = 64
"""The function's own default: the bucket that makes it fast."""


def _lucidrains(shape: Shape, bucket: int) -> Built:
    from linear_attention_transformer.linear_attention_transformer import causal_linear_attn, linear_attn

    q, k, v = qkv(shape)

    def call(state: None) -> Tensor:
        return causal_linear_attn(q, k, v, bucket_size=bucket) if shape.causal else linear_attn(q, k, v)

    return Built([q, k, v], call, linear_work(shape, shape.head_dim, shape.heads))


@peer(
    "linear_lucidrains",
    package="linear-attention-transformer",
    multiple=lambda shape: BUCKET if shape.causal else 1,
)
def lucidrains(shape: Shape) -> Built:
    """Causal it is not exact: no token sees its own bucket of 64, itself included."""
    return _lucidrains(shape, BUCKET)


@peer("linear_lucidrains_exact", package="linear-attention-transformer", causal=(True,))
def lucidrains_exact(shape: Shape) -> Built:
    """Bucket 1, the layer's default: causal linear attention indeed, and slow."""
    return _lucidrains(shape, 1)


@peer("performer_pytorch", package="performer-pytorch")
def performer(shape: Shape) -> Built:
    """FastAttention with its own number of features; causal takes its path without CUDA extensions on a CPU."""
    from performer_pytorch.performer_pytorch import FastAttention

    with contextlib.redirect_stdout(io.StringIO()):
        layer = FastAttention(dim_heads=shape.head_dim, causal=shape.causal).to(shape.device, shape.dtype)
    q, k, v = qkv(shape)
    features = layer.nb_features
    work = linear_work(shape, features, shape.heads, featuring=4 * shape.head_dim * features)
    return Built([q, k, v], lambda state: layer(q, k, v), work)


@peer("fla_linear", package="fla", devices=("cuda",), causal=(True,))
def fla(shape: Shape) -> Built:
    """flash-linear-attention's chunked form, normalised, on features made by torch."""
    from fla.ops.linear_attn import chunk_linear_attn

    q, k, v = qkv(shape)
    mask = Mask(shape.length, shape.length, causal=True)

    def call(state: None) -> Tensor:
        rows = [t.transpose(1, 2) for t in (nn.functional.elu(q) + 1, nn.functional.elu(k) + 1, v)]
        return chunk_linear_attn(*rows, scale=1.0, normalize=True)[0].transpose(1, 2)

    work = linear_work(shape, shape.head_dim, shape.heads)
    return Built([q, k, v], call, work, definition=lambda q, k, v: linear(q, k, v, mask))
