"""BigBird of others, with the sizes of conf/attention/bigbird.yaml."""

import torch
from torch import Tensor

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.measure.attention import ours
from manyheads.measure.attention.built import Built, Cannot, qkv
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.definitions import softmax
from manyheads.measure.attention.peers.flex import flex
from manyheads.measure.attention.peers.registry import peer
from manyheads.measure.attention.work import pairs, softmax_work


def pattern(shape: Shape) -> BigBird:
    """Our own pattern, of which peers get the block size and the number of random blocks."""
    if "bigbird" not in ours.names():
        raise Cannot("takes its sizes from conf/attention/bigbird.yaml, which is not there.")
    return ours.module("bigbird", shape).pattern


@peer("hf_bigbird", package="transformers", causal=(False,), multiple=lambda shape: pattern(shape).block)
def huggingface(shape: Shape) -> Built:
    """transformers' BigBirdBlockSparseAttention, projections left out. It fills an n × n tensor of probabilities."""
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    b, n, h, d, block, random = shape.batch, shape.length, shape.heads, shape.head_dim, *_sizes(shape)
    config = BigBirdConfig(
        hidden_size=h * d,
        num_attention_heads=h,
        block_size=block,
        num_random_blocks=random,
        max_position_embeddings=max(n, 4096),
    )
    layer = BigBirdBlockSparseAttention(config, seed=0).to(shape.device, shape.dtype).train()
    q, k, v = qkv(shape)
    one = torch.ones(b, n, dtype=shape.dtype, device=shape.device)

    def call(masks: tuple[Tensor, ...]) -> Tensor:
        blocked, band, rows, columns = masks
        out = layer.bigbird_block_sparse_attention(
            q, k, v, band, rows, columns, blocked, blocked, h, random, d, block, block, b, n, n,
            seed=0, plan_from_length=None, plan_num_rand_blocks=None,
        )  # fmt: skip
        return out[0]

    # Its window is three blocks, and the first and the last block are global: 5 + random blocks for those between.
    seen = b * h * (2 * block * n + (n - 2 * block) * (5 + random) * block)
    return Built(
        [q, k, v],
        call,
        softmax_work(shape, seen, h),
        lambda: BigBirdModel.create_masks_for_block_sparse_attn(one, block),
        ours=lambda t: t.transpose(1, 2) if t.shape[1:3] == (n, h) else t,
    )


def _sizes(shape: Shape) -> tuple[int, int]:
    mine = pattern(shape)
    if (mine.window, mine.globals) != (1, 1):
        raise Cannot("has one neighbour on each side and one global block at each end, unlike bigbird.pattern here.")
    return mine.block, mine.random


@peer("flex_bigbird", backward=("cuda",))
def flex_bigbird(shape: Shape) -> Built:
    """FlexAttention, compiled, with our own pattern as its mask function."""
    mask = Mask(shape.length, shape.length, causal=shape.causal, pattern=pattern(shape))
    heads = shape.heads if mask.per_head else None
    call, prepare, leaves = flex(shape, lambda b, h, i, j: mask.allowed(b, h, i, j), mask.pattern.block, heads)
    work = softmax_work(shape, pairs(mask, shape.heads, shape.batch), shape.heads)
    return Built(leaves, call, work, prepare, lambda q, k, v: softmax(q, k, v, mask))
