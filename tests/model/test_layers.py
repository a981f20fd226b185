import pytest
import torch
from tiny import BLOCKS, parts
from torch import nn
from torch.nn.functional import relu, silu

from manyheads.attention.mask import Mask
from manyheads.model.embed import Embedding
from manyheads.model.layers import CrossAttention, FeedForward, Residual, SelfAttention, SwiGLU
from manyheads.model.stack import Stack
from manyheads.position.none import NoPosition

DIM, HEADS, HEAD_DIM = 12, 4, 3


def multi_head(kind, kv_heads: int, bias: bool = False):
    attention = parts(kv_heads=kv_heads)["attention"]
    return kind(dim=DIM, heads=HEADS, head_dim=HEAD_DIM, layer=0, attention=attention, bias=bias).double()


def by_hand(layer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multi-head attention of x over y with the weights of `layer`, head by head."""
    groups = layer.attention.kv_heads
    keys, values = layer.kv.weight.chunk(2)
    heads = []
    for h in range(HEADS):
        group = slice(h * groups // HEADS * HEAD_DIM, (h * groups // HEADS + 1) * HEAD_DIM)
        q = x @ layer.q.weight[h * HEAD_DIM : (h + 1) * HEAD_DIM].T
        k, v = y @ keys[group].T, y @ values[group].T
        heads.append((q @ k.mT / HEAD_DIM**0.5).softmax(-1) @ v)
    return torch.cat(heads, dim=-1) @ layer.out.weight.T


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_layers_equal_the_paper(kv_heads):
    x, y = torch.randn(2, 5, DIM).double(), torch.randn(2, 7, DIM).double()
    own, cross = multi_head(SelfAttention, kv_heads), multi_head(CrossAttention, kv_heads)
    found = own(x, Mask(5, 5), NoPosition(DIM, HEADS, HEAD_DIM), 0, None)
    torch.testing.assert_close(found, by_hand(own, x, x))
    torch.testing.assert_close(cross(x, y, Mask(5, 7), None), by_hand(cross, x, y))


def test_hypotheses_side_by_side_read_the_context_of_their_sentence():
    layer, context = multi_head(CrossAttention, 2), torch.randn(2, 7, DIM).double()
    x, lengths = torch.randn(6, 2, DIM).double(), torch.tensor([7, 3])
    found = layer(x, context, Mask(3 * 2, 7, lengths=lengths), None)
    for row in range(6):
        own = context[row // 3 : row // 3 + 1, : lengths[row // 3]]
        torch.testing.assert_close(found[row : row + 1], by_hand(layer, x[row : row + 1], own))


def test_feedforwards_equal_the_papers():
    x = torch.randn(2, 3, DIM)
    swiglu, plain = SwiGLU(dim=DIM, hidden=20), FeedForward(dim=DIM, hidden=20)
    expected = (silu(x @ swiglu.gate.weight.T) * (x @ swiglu.up.weight.T)) @ swiglu.down.weight.T
    torch.testing.assert_close(swiglu(x), expected)
    inner = relu(x @ plain.up.weight.T + plain.up.bias)
    torch.testing.assert_close(plain(x), inner @ plain.down.weight.T + plain.down.bias)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_norm_sits_where_it_is_told_to(pre_norm):
    x, norm, inner = torch.randn(2, 3, DIM), nn.LayerNorm(DIM), nn.Linear(DIM, DIM)
    found = Residual(inner, norm, 0.0, pre_norm)(x)
    torch.testing.assert_close(found, x + inner(norm(x)) if pre_norm else norm(x + inner(x)))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_stack_ends_normed(block):
    """Pre-norm needs a last norm; a second one behind post-norm would only be in the way."""
    widths = parts("none", block, 2)
    stack = Stack(**widths | {"head_dim": None}, layers=3, cross=False).double()
    states = stack(30 * torch.randn(2, 5, 16).double(), Mask(5, 5))
    torch.testing.assert_close(states.square().mean(-1), torch.ones(2, 5).double(), rtol=1e-3, atol=0)
    assert isinstance(stack.norm, nn.Identity) == (block == "vaswani2017")


def test_embeddings_are_scaled_by_the_root_of_the_width():
    embed = Embedding(7, 16, pad=0)
    tokens = torch.tensor([[1, 5, 0]])
    torch.testing.assert_close(embed(tokens), 4 * embed.table.weight[tokens])


def test_padding_learns_nothing_from_being_read():
    embed = Embedding(7, 16, pad=0)
    embed(torch.tensor([[1, 5, 0]])).sum().backward()
    assert embed.table.weight.grad[0].eq(0).all()
    assert embed.table.weight.grad[[1, 5]].ne(0).all()
