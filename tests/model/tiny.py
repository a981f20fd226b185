"""Models of a few thousand weights, in float64 and far from their start, so that every part has a say in the result."""

from functools import partial

import torch
from torch import nn

from manyheads.attention.softmax import Softmax
from manyheads.data.base import DataSpec, TokenSpec
from manyheads.model.layers import Block, FeedForward, SwiGLU
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly
from manyheads.position.alibi import Alibi
from manyheads.position.learned import Learned
from manyheads.position.none import NoPosition
from manyheads.position.rope import Rope
from manyheads.position.sinusoidal import Sinusoidal

PAD, BOS, EOS, SEP, FIRST_WORD = 0, 1, 2, 4, 5
VOCABULARY = 19


def token_spec(source: int, joint: bool) -> TokenSpec:
    specials = {"pad": PAD, "bos": BOS, "eos": EOS, "sep": SEP}
    sizes = {"source_vocabulary": source, "target_vocabulary": VOCABULARY, "joint": joint}
    return TokenSpec(kind="translation", longest=32, **sizes, **specials)


JOINT = token_spec(VOCABULARY, joint=True)
APART = token_spec(VOCABULARY + 4, joint=False)

BLOCKS = {
    "modern": partial(Block, norm=partial(nn.RMSNorm, eps=1e-6), feedforward=SwiGLU, pre_norm=True, bias=False),
    "vaswani2017": partial(Block, norm=nn.LayerNorm, feedforward=FeedForward, pre_norm=False, bias=True),
}
POSITIONS = {
    "none": NoPosition,
    "sinusoidal": Sinusoidal,
    "learned": partial(Learned, limit=64),
    "rope": partial(Rope, base=100.0, scaling="none", factor=1.0, original=None, fast=32.0, slow=1.0),
    "alibi": Alibi,
}
KINDS = [
    (position, block, kv_heads)
    for at, position in enumerate(POSITIONS)
    for block, kv_heads in (("modern", (1, 2, 4)[at % 3]), ("vaswani2017", (2, 4, 1)[at % 3]))
]
"""Every position with both blocks; every number of key-value heads with both blocks."""


def parts(position: str = "rope", block: str = "modern", kv_heads: int | None = 2, dropout: float = 0.0) -> dict:
    attention = partial(Softmax, kv_heads=kv_heads, kernel="sdpa", dropout=0.0, strict=True, pattern=None)
    factories = {"block": BLOCKS[block], "attention": attention, "position": POSITIONS[position]}
    return {"dim": 16, "heads": 4, "head_dim": None, "hidden": 24, "dropout": dropout} | factories


def encoder_only(*kind, spec: DataSpec = JOINT, **changes) -> EncoderOnly:
    return EncoderOnly(spec, layers=2, **(parts(*kind) | changes))


def decoder_only(*kind, spec: DataSpec = JOINT, tie: bool = True, **changes) -> DecoderOnly:
    return DecoderOnly(spec, tie, layers=2, **(parts(*kind) | changes))


def encoder_decoder(*kind, spec: DataSpec = JOINT, tie: bool = True, **changes) -> EncoderDecoder:
    return EncoderDecoder(spec, tie, encoder_layers=2, decoder_layers=2, **(parts(*kind) | changes))


WRITERS = {"encoder_decoder": encoder_decoder, "decoder_only": decoder_only}


def grown(model: nn.Module) -> nn.Module:
    """`model` as if it had been trained: no weight is small or zero."""
    model.double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (1.0 if weight.dim() == 1 else 2 / weight.size(1) ** 0.5))
    return model


def words(*shape: int) -> torch.Tensor:
    return torch.randint(FIRST_WORD, VOCABULARY, shape)


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four sources and targets of different lengths; no source says a word twice; behind the ends stands noise."""
    source = torch.stack([FIRST_WORD + torch.randperm(VOCABULARY - FIRST_WORD)[:7] for _ in range(4)])
    target = words(4, 6)
    target[:, 0] = BOS
    return source, torch.tensor([7, 1, 4, 6]), target, torch.tensor([4, 6, 2, 3])


def beyond(tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Other words behind the ends, the same in front of them."""
    return torch.where(torch.arange(tokens.size(1)) >= lengths.unsqueeze(1), words(*tokens.shape), tokens)


def next_scores(model: nn.Module, source: torch.Tensor, history: list[int]) -> torch.Tensor:
    """Scores of the word after `history` by one plain full pass over one unpadded sentence."""
    history = torch.tensor([[model.first, *history]])
    if isinstance(model, EncoderDecoder):
        return model.head(model(source.unsqueeze(0), None, history)[0, -1])
    return model.head(model(torch.cat((source.unsqueeze(0), history), dim=1))[0, -1])
