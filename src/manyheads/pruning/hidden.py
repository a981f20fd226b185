"""What blocks make of a batch, in a teacher and in a student, and how far they are apart.

In the residual stream every block has its place even where its sublayers are gone, so blocks are compared number by
number. A linear map for each stack, at first the identity, takes the student's states to the teacher's (CoFi, Xia,
Zhong and Chen 2022, section 3.2). Errors count relative to the size of the teacher's state in that place: behind a
LayerNorm of weight 1 that is the mean squared error, and in a pre-norm stream, which grows from block to block and in
some places more than in others, it is what the norm of the next sublayer lets through.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyheads.model.embed import Embedding
from manyheads.model.pool import real
from manyheads.model.shapes import Shape
from manyheads.model.stack import Stack
from manyheads.model.thin import Thin


@dataclass
class Seen:
    """States (b, n, dim) behind the chosen blocks of each stack, and which of its places are real (None: all).

    words: what each `Thin` left of the batch.
    """

    states: dict[str, list[Float[Tensor, "b n dim"]]] = field(default_factory=dict)
    real: dict[str, Bool[Tensor, "b n"] | None] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)


@contextmanager
def watched(model: nn.Module, layers: int, like: Seen | None = None) -> Iterator[Seen]:
    """Watches the passes of `model`; its hooks are gone behind it.

    layers: how many blocks of each stack. like: what another model has read, whose words this one shall read too: a
    teacher that reads other words than its student teaches something else (Beyer et al. 2022, section 3.1).
    """
    seen, tokens, hooks = Seen(), [], []
    for name, module in model.named_modules():
        if isinstance(module, Thin):
            hooks.append(module.register_forward_hook(_words(seen, like, name)))
        elif isinstance(module, Embedding) and layers:
            hooks.append(module.register_forward_hook(_tokens(seen, tokens)))
        elif isinstance(module, Stack) and layers:
            hooks.append(module.register_forward_pre_hook(_places(seen, tokens, name), with_kwargs=True))
            chosen = [module.blocks[number] for number in evenly(len(module.blocks), layers)]
            hooks += [block.register_forward_hook(_states(seen, name)) for block in chosen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def evenly(blocks: int, layers: int) -> list[int]:
    """Numbers of so many blocks, or of all where there are fewer; the last one is always among them."""
    layers = min(blocks, layers)
    return [(number + 1) * blocks // layers - 1 for number in range(layers)]


def distance(student: Seen, teacher: Seen, maps: dict[str, Tensor]) -> Float[Tensor, ""]:
    """The mean over all blocks of ‖s W − t‖² / ‖t‖², a mean over real places; W is the map of the stack."""
    found = []
    for name, states in student.states.items():
        places = student.real[name]
        for own, theirs in zip(states, teacher.states[name], strict=True):
            s, t = (x.flatten(0, 1) if places is None else x[places] for x in (own, theirs.detach()))
            t = t.to(maps[name].dtype)
            error = (s.to(maps[name].dtype) @ maps[name] - t).square().sum(-1)
            found.append((error / t.square().sum(-1).clamp(min=torch.finfo(t.dtype).eps)).mean())
    return torch.stack(found).mean()


def width(model: nn.Module) -> int:
    """Of the states of all stacks."""
    return next(module for module in model.modules() if isinstance(module, Shape)).dim


# --- hooks -------------------------------------------------------------------------------------------------------


def _words(seen: Seen, like: Seen | None, name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        seen.words[name] = output if like is None else like.words[name]
        return seen.words[name]

    return hook


def _tokens(seen: Seen, found: list[tuple[Tensor, Tensor]]) -> Any:
    """What was embedded, and which of it is real: what is thinned has lengths, anything else is padded."""

    def hook(module: Embedding, args: Any, output: Tensor) -> None:
        lengths = next((lengths for ids, lengths in seen.words.values() if ids is args[0]), None)
        places = args[0] != module.table.padding_idx if lengths is None else real(args[0], lengths)
        found.append((output, places))

    return hook


def _places(seen: Seen, tokens: list[tuple[Tensor, Tensor]], name: str) -> Any:
    """Lengths are known to the mask, but not of a stack that looks to the left alone: there the tokens say it."""

    def hook(module: Stack, args: Any, kwargs: Any) -> None:
        x, mask = args[0], kwargs.get("mask", args[1] if len(args) > 1 else None)
        read = next((places for embedded, places in tokens if embedded is x), None)
        seen.real[name] = read if mask.lengths is None else real(x, mask.lengths)

    return hook


def _states(seen: Seen, name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.states.setdefault(name, []).append(output)

    return hook
