"""Sliding windows of others. All compute the same function; their parameters call the same window differently."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.window import Window
from manyheads.measure.attention.built import Built, qkv
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.definitions import softmax
from manyheads.measure.attention.peers.flex import flex
from manyheads.measure.attention.peers.registry import peer
from manyheads.measure.attention.work import Work, pairs, softmax_work


def _mask(shape: Shape) -> Mask:
    return Mask(shape.length, shape.length, causal=shape.causal, pattern=Window(shape.width, 1, 0))


def _work(shape: Shape) -> Work:
    return softmax_work(shape, pairs(_mask(shape), shape.heads, shape.batch), shape.heads)


def _definition(shape: Shape):
    return lambda q, k, v: softmax(q, k, v, _mask(shape))


@peer("sdpa_band_mask")
def band(shape: Shape) -> Built:
    """torch's sdpa, told by an n × n mask."""
    q, k, v = qkv(shape)
    return Built(
        [q, k, v],
        lambda mask: scaled_dot_product_attention(q, k, v, attn_mask=mask),
        _work(shape),
        lambda: _mask(shape).dense(shape.heads, shape.device),
        _definition(shape),
    )


@peer("local_attention", package="local-attention", multiple=lambda shape: shape.width)
def local(shape: Shape) -> Built:
    """lucidrains' LocalAttention with the exact window."""
    from local_attention import LocalAttention

    q, k, v = qkv(shape)
    layer = LocalAttention(
        window_size=shape.width,
        causal=shape.causal,
        look_backward=1,
        look_forward=0 if shape.causal else 1,
        exact_windowsize=True,
    ).to(shape.device)
    return Built([q, k, v], lambda state: layer(q, k, v), _work(shape), definition=_definition(shape))


class Given(nn.Module):
    """Stands in for a projection and hands over a tensor: only attention itself is measured."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        # In a list, so that it is not taken for a parameter.
        self.tensor = [tensor]

    def forward(self, *unused: object, **more: object) -> Tensor:
        return self.tensor[0].clone()


@peer("hf_longformer", package="transformers", causal=(False,), multiple=lambda shape: shape.window)
def longformer(shape: Shape) -> Built:
    """transformers' LongformerSelfAttention without global tokens, its projections replaced."""
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    b, n, dim = shape.batch, shape.length, shape.heads * shape.head_dim
    config = LongformerConfig(
        hidden_size=dim,
        num_attention_heads=shape.heads,
        attention_window=[shape.window],
        attention_probs_dropout_prob=0.0,
    )
    layer = LongformerSelfAttention(config, 0).to(shape.device, shape.dtype)
    leaves = [t.detach().permute(2, 0, 1, 3).reshape(n, b, dim).requires_grad_(shape.gradients) for t in qkv(shape)]
    layer.query, layer.key, layer.value = map(Given, leaves)
    x = torch.zeros(b, n, dim, dtype=shape.dtype, device=shape.device)
    off = torch.zeros(b, n, dtype=torch.bool, device=shape.device)
    padding = torch.zeros(b, n, dtype=shape.dtype, device=shape.device)

    def call(state: None) -> Tensor:
        return layer(x, attention_mask=padding, is_index_masked=off, is_index_global_attn=off, is_global_attn=False)[0]

    def ours(t: Tensor) -> Tensor:
        rows = t.transpose(0, 1) if t.shape[:2] == (n, b) and t.shape[:2] != (b, n) else t
        return rows.unflatten(-1, (shape.heads, shape.head_dim)).transpose(1, 2)

    return Built(leaves, call, _work(shape), definition=_definition(shape), ours=ours)


@peer("flex_window", backward=("cuda",))
def flex_window(shape: Shape) -> Built:
    """FlexAttention, compiled, with the mask function that its documentation shows."""
    width = shape.width

    def near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (i - j <= width) if shape.causal else (i - j <= width) & (j - i <= width)

    call, prepare, leaves = flex(shape, near, block=128)
    return Built(leaves, call, _work(shape), prepare, _definition(shape))


@peer("flash2_window", devices=("cuda",))
def flash2_window(shape: Shape) -> Built:
    """FlashAttention-2's own window, in torch's build of it, which has no public name."""
    q, k, v = qkv(shape)
    n = shape.length

    def call(state: None) -> Tensor:
        rows = [t.transpose(1, 2) for t in (q, k, v)]
        window = {"window_size_left": shape.width, "window_size_right": 0 if shape.causal else shape.width}
        out = torch.ops.aten._flash_attention_forward(*rows, None, None, n, n, 0.0, shape.causal, False, **window)[0]
        return out.transpose(1, 2)

    return Built([q, k, v], call, _work(shape), definition=_definition(shape))
