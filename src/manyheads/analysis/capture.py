"""What the attentions of a model are asked in one pass: queries, keys, mask and bias, copied on their way.

Nothing is computed here, and nothing that the model computes changes: no random number is drawn, and what each
attention is given goes on to it as it came.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.mask import Mask
from manyheads.attention.weights import seen
from manyheads.model.embed import Embedding
from manyheads.model.layers import CrossAttention, MultiHead
from manyheads.model.stack import Stack


@dataclass(frozen=True)
class Read:
    """One document's way through one attention.

    name: encoder.0, decoder.1.cross, …. across: whether the keys are of another sequence.
    heads: their numbers before any pruning. q (1, h, n, d) and k (1, g, m, d): as they reached the attention, rotated
    where position rotates. query_ids (n,), key_ids (m,): token ids; None where no tokens were embedded.
    real (n,): queries that are no padding.
    """

    name: str
    across: bool
    heads: tuple[int, ...]
    attention: Attention
    q: Float[Tensor, "1 h n d"]
    k: Float[Tensor, "1 g m d"]
    mask: Mask
    bias: Bias | None
    query_ids: Int[Tensor, "n"] | None
    key_ids: Int[Tensor, "m"] | None
    real: Bool[Tensor, "n"]

    def weights(self, rows: Int[Tensor, "r"]) -> Float[Tensor, "h r m"]:
        """How much these queries read of each key; a UserError where the rule has no weights."""
        with torch.no_grad(), torch.autocast(self.q.device.type, enabled=False):
            return self.attention.weights(self.q, self.k, self.mask, self.bias, rows)[0]

    def seen(self, rows: Int[Tensor, "r"]) -> Bool[Tensor, "h r m"]:
        """What these queries may see: mask and pattern."""
        mask = self.mask.within(getattr(self.attention, "pattern", None))
        found = seen(mask, self.q.size(1), rows.to(self.q.device))
        return found[0].expand(self.q.size(1), len(rows), self.k.size(2))

    @property
    def offset(self) -> int:
        """Position of the first query among the keys."""
        return int(self.mask.offset)


@dataclass
class _Watch:
    """What is noted on the way: token ids by what they became, and the reads."""

    documents: int
    ids: list[tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=list)
    own: dict[str, tuple[Tensor, Tensor | None] | None] = field(default_factory=dict)
    context: dict[str, tuple[Tensor, Tensor | None] | None] = field(default_factory=dict)
    reads: dict[str, list[Read]] = field(default_factory=dict)

    def known(self, x: Any) -> tuple[Tensor, Tensor | None] | None:
        """(ids, which are real) of embedded tokens or of the states made of them."""
        return next(((ids, real) for made, ids, real in self.ids if made is x), None)


@contextmanager
def captured(model: nn.Module, documents: int) -> Iterator[dict[str, list[Read]]]:
    """Notes the first call of each attention of `model` for the first `documents` rows; its hooks are gone behind it.

    By the attention's name, once the pass is over: a list of the documents' reads.
    """
    watch, hooks, patched = _Watch(documents), [], []
    try:
        for name, module in model.named_modules():
            if isinstance(module, Embedding):
                hooks.append(module.register_forward_hook(_embedded(watch)))
            elif isinstance(module, Stack):
                hooks.append(module.register_forward_pre_hook(_enters(watch, name), with_kwargs=True))
                hooks.append(module.register_forward_hook(_leaves(watch, name)))
                for part, label in _parts(name, module):
                    part.attention.attend = _noting(watch, part, name, label)
                    patched.append(part.attention)
        yield watch.reads
    finally:
        for hook in hooks:
            hook.remove()
        for attention in patched:
            del attention.attend


def _parts(name: str, stack: Stack) -> Iterator[tuple[MultiHead, str]]:
    """The attentions of a stack that pruning has left, and what they are called."""
    short = name.removeprefix("body.")
    for layer, block in enumerate(stack.blocks):
        for module in block.modules():
            if isinstance(module, MultiHead):
                yield module, f"{short}.{layer}" + (".cross" if isinstance(module, CrossAttention) else "")


def _noting(watch: _Watch, part: MultiHead, stack: str, label: str) -> Any:
    """`attend` of a part's attention, which notes its first call."""
    attend = part.attention.attend

    def noted(q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        if label not in watch.reads:
            across = isinstance(part, CrossAttention)
            asks, answers = watch.own.get(stack), (watch.context if across else watch.own).get(stack)
            count = min(watch.documents, q.size(0))
            watch.reads[label] = [
                Read(
                    label,
                    across,
                    tuple(part.kept),
                    part.attention,
                    _copied(q, row),
                    _copied(k, row),
                    of_row(mask, row),
                    _of_row(bias, row),
                    None if asks is None else asks[0][row],
                    None if answers is None else answers[0][row],
                    _real(mask, asks, row, across),
                )
                for row in range(count)
            ]
        return attend(q, k, v, mask, bias)

    return noted


def _copied(x: Tensor, row: int) -> Tensor:
    return x[row : row + 1].detach().clone()


def of_row(mask: Mask, row: int) -> Mask:
    """What a mask says of one row of the batch."""
    each = {name: getattr(mask, name) for name in ("lengths", "documents", "offset")}
    own = {name: x[min(row, len(x) - 1)][None] for name, x in each.items() if isinstance(x, Tensor)}
    return replace(mask, **own)


def _of_row(bias: Bias | None, row: int) -> Bias | None:
    if isinstance(bias, Tensor) and bias.dim() == 4:
        return _copied(bias, min(row, bias.size(0) - 1))
    return bias


def _real(mask: Mask, asks: tuple[Tensor, Tensor | None] | None, row: int, across: bool) -> Bool[Tensor, "n"]:
    """Lengths are known to a mask of the own sequence, but not of a stack that looks to the left alone."""
    if mask.lengths is not None and not across:
        positions = torch.arange(mask.queries, device=mask.lengths.device) + of_row(mask, row).offset
        return positions < mask.lengths[row]
    if asks is None or asks[1] is None:
        return torch.ones(mask.queries, dtype=torch.bool)
    return asks[1][row]


# --- hooks -------------------------------------------------------------------------------------------------------


def _embedded(watch: _Watch) -> Any:
    def hook(module: Embedding, args: Any, output: Tensor) -> None:
        watch.ids.append((output, args[0], args[0] != module.table.padding_idx))

    return hook


def _enters(watch: _Watch, name: str) -> Any:
    def hook(module: Stack, args: Any, kwargs: Any) -> None:
        context = kwargs.get("context", args[3] if len(args) > 3 else None)
        watch.own[name] = watch.known(args[0])
        watch.context[name] = None if context is None else watch.known(context[0])

    return hook


def _leaves(watch: _Watch, name: str) -> Any:
    def hook(module: Stack, args: Any, output: Tensor) -> None:
        if watch.own.get(name) is not None:
            watch.ids.append((output, *watch.own[name]))

    return hook
