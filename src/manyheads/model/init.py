"""Where all weights start.

| weight | starts as | why |
|---|---|---|
| embeddings, untied heads, learned positions | N(0, dim^-½), padding 0 | ×√dim gives unit variance |
| projections | Xavier uniform, per matrix | variance kept both ways (Glorot and Bengio 2010) |
| q, k, v in one | Xavier with gain 1/√2 | the scale of one fused matrix, as fairseq trains translation |
| last projection of each sublayer, pre-norm | ÷ √(sublayers) | the sum of residuals keeps its variance (GPT-2) |
| biases | 0 | |
| norms | 1 and 0 | torch's own |
"""

import torch
from torch import nn

from manyheads.model.embed import Embedding
from manyheads.model.head import Head
from manyheads.model.layers import Block, MultiHead
from manyheads.model.stack import Stack
from manyheads.position.learned import Learned


@torch.no_grad()
def start_weights(model: nn.Module) -> None:
    """Draws every weight of `model` from torch's global generator, in the order of its modules."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Head):
            nn.init.normal_(module.weight, std=module.weight.size(1) ** -0.5)
    for module in model.modules():
        if isinstance(module, Embedding | Learned):
            _start_table(module.table)
        elif isinstance(module, MultiHead):
            _start_heads(module)
        elif isinstance(module, Stack):
            _calm_residuals(module)


def _start_table(table: nn.Embedding) -> None:
    nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
    if table.padding_idx is not None:
        table.weight[table.padding_idx].zero_()


def _start_heads(module: MultiHead) -> None:
    for weight in (module.q.weight, *module.kv.weight.chunk(2)):
        nn.init.xavier_uniform_(weight, gain=2**-0.5)


def _calm_residuals(stack: Stack) -> None:
    residuals = [r for block in stack.blocks for r in _residuals(block) if r.pre_norm]
    for residual in residuals:
        residual.inner.last.weight.div_(len(residuals) ** 0.5)


def _residuals(block: Block) -> list[nn.Module]:
    return [r for r in (block.read_own, block.read_context, block.think) if r is not None and hasattr(r.inner, "last")]
