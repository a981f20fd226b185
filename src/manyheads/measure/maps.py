"""How true attention maps are: recomputed rows, and what the kernel itself weighs, against `reference` in float64.

A kernel that never writes its weights down still says them: of values that are one-hot it reads the weights themselves.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from manyheads.attention import Mask, load
from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.exact import Exact
from manyheads.attention.kernels import reference
from manyheads.attention.kernels.linear import reference as linear_reference
from manyheads.attention.linear import Linear
from manyheads.errors import UserError

HEADS, KV_HEADS, ROWS = 4, 2, 2
SMALL = {
    "sliding_window": {"pattern": {"width": 16, "globals": 2}},
    "bigbird": {"pattern": {"block": 16, "random": 1}},
}
"""Patterns that hide something of a few hundred tokens."""

CONTESTANTS = (
    *(("dense", kernel) for kernel in ("sdpa", "blocked", "flash", "flex", "reference")),
    *((name, kernel) for name in ("sliding_window", "bigbird", "sigmoid") for kernel in ("blocked", "flash", "flex")),
    ("gqa", "sdpa"),
    *((name, kernel) for name in ("linear", "performer") for kernel in ("chunked", "flash")),
)


def maps(attentions: list[str], length: int, head_dim: int, dtype: str, device: str) -> dict[str, Any]:
    """Errors of every contestant and mask, with what was measured; `attentions` empty: all."""
    wanted = [one for one in CONTESTANTS if not attentions or one[0] in attentions]
    if not wanted:
        names = dict.fromkeys(name for name, _ in CONTESTANTS)
        raise UserError(f"attentions={','.join(attentions)}: choose from {', '.join(names)}.")
    settings = {"length": length, "head_dim": head_dim, "heads": HEADS, "kv_heads": KV_HEADS, "rows": ROWS}
    cases = [case for one in wanted for case in _contestant(*one, length, head_dim, getattr(torch, dtype), device)]
    return {**settings, "dtype": dtype, "device": device, "cases": cases}


def _contestant(
    name: str, kernel: str, length: int, head_dim: int, dtype: torch.dtype, device: str
) -> Iterator[dict[str, Any]]:
    made = load(name, HEADS, head_dim, kernel=kernel, strict=True, kv_heads=KV_HEADS, **SMALL.get(name, {}))
    made = made.to(device=device, dtype=dtype).eval()
    for what, (mask, bias) in masks(length, device).items():
        random = torch.Generator().manual_seed(0)
        shapes = ((HEADS, mask.queries), (KV_HEADS, mask.keys))
        q, k = (torch.randn(ROWS, h, n, head_dim, generator=random).to(device, dtype) for h, n in shapes)
        case = {"attention": name, "kernel": kernel, "mask": what}
        yield case | _errors(made, 1.5 * q, 1.5 * k, mask, bias)


def masks(n: int, device: str) -> dict[str, tuple[Mask, Bias | None]]:
    """Every kind of mask that models ask for."""
    lengths = torch.tensor([n, n // 3], device=device)
    documents = torch.arange(n, device=device).div(n / 3, rounding_mode="floor").long().expand(ROWS, -1)
    alibi = DistanceBias(torch.tensor([0.5, 0.25, 0.125, 0.0625], device=device))
    return {
        "full": (Mask(n, n), None),
        "causal": (Mask(n, n, causal=True), None),
        "lengths": (Mask(n, n, lengths=lengths), None),
        "documents": (Mask(n, n, causal=True, documents=documents), None),
        "cross": (Mask(n // 2, n, lengths=lengths, cross=True), None),
        "cached": (Mask(5, n, causal=True), None),
        "alibi": (Mask(n, n, causal=True), alibi),
    }


def _errors(made: Attention, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> dict[str, Any]:
    """recomputed: of `weights`. weighed: of what `attend` reads of one-hot values. outside: where nothing is seen."""
    refused = made.why_not(q, k, mask, bias)
    if refused is not None:
        return {"refused": refused}
    with torch.no_grad():
        truth = _truth(deepcopy(made).double(), q.double(), k.double(), mask, bias)
        rows, own = made.weights(q, k, mask, bias), _own(made.attend, q, k, mask, bias)
    outside = rows[truth == 0].abs().max() if (truth == 0).any() else torch.zeros(())
    return {
        "recomputed": float((rows - truth).abs().max()),
        "weighed": float((own - truth).abs().max()),
        "outside": float(outside),
        "largest": float(truth.max()),
    }


def _truth(made: Attention, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> Tensor:
    """The explicit weights of the rule's specification: what it reads of the identity."""
    eye = torch.eye(k.size(2), dtype=q.dtype, device=q.device).expand(*k.shape[:2], -1, -1)
    if isinstance(made, Linear):
        return linear_reference.attend(q, k, eye, mask, made.feature(), made.eps)
    assert isinstance(made, Exact)
    mask = mask.within(made.pattern)
    return reference.attend(q, k, eye, mask, bias, 0.0, made.shift(mask, q))


def _own(attend: Callable[..., Tensor], q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> Tensor:
    """Weights as the kernel has them, as many keys at a time as a head has numbers."""
    m, d = k.shape[-2:]
    eye = torch.eye(m, dtype=k.dtype, device=k.device)
    parts = [torch.nn.functional.pad(part, (0, d - part.size(1))) for part in eye.split(d, dim=1)]
    read = [attend(q, k, part.expand(*k.shape[:2], -1, -1).contiguous(), mask, bias) for part in parts]
    return torch.cat(read, -1)[..., :m].double()


def markdown(found: dict[str, Any], command: str) -> str:
    """A row for each attention and kernel; the largest errors over all masks that it does not refuse."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    refused: dict[str, None] = {}
    for case in found["cases"]:
        if "refused" in case:
            refused[f"- {case['attention']}, {case['kernel']}: {case['refused']}"] = None
        else:
            rows.setdefault((case["attention"], case["kernel"]), []).append(case)
    lines = [_row(*names, mine) for names, mine in rows.items()]
    return HEAD.format(command=command, **found) + "\n".join(lines) + _refusals(list(refused)) + "\n"


def _row(name: str, kernel: str, mine: list[dict[str, Any]]) -> str:
    recomputed, weighed, outside = (max(case[key] for case in mine) for key in ("recomputed", "weighed", "outside"))
    masks = ", ".join(case["mask"] for case in mine)
    return f"| {name} | {kernel} | {recomputed:.1e} | {weighed:.1e} | {outside:g} | {masks} |"


def _refusals(lines: list[str]) -> str:
    return "\n\nNot measured, in the words of `why_not`:\n\n" + "\n".join(lines) if lines else ""


HEAD = """# Attention maps against the specification

    {command}

The largest absolute difference from the weights that `reference` writes down in float64, over all rows of {rows}
documents of {length} tokens ({heads} query heads, {kv_heads} key-value heads of {head_dim}, {dtype} on {device}).
*Recomputed rows* are what maps are drawn from. *The kernel's own weights* are what its output is for one-hot values:
how far the computation itself is from the specification. *Outside* is the largest weight where nothing may be seen.

| attention | kernel | recomputed rows | the kernel's own weights | outside | masks |
|---|---|---|---|---|---|
"""
