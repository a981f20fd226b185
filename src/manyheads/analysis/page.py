"""A page on which a reader picks a token and sees where each head looks. It needs nothing but itself."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyheads.analysis.blocks import lengths
from manyheads.analysis.capture import Read, captured
from manyheads.analysis.labels import Labels
from manyheads.errors import UserError

TOKENS = 128
"""Of a sequence, at most: what fits on a screen."""

BYTES = 12_000_000
"""Of all weights, a byte each: pages that browsers open at once."""

KINDS = {
    "encoder": "encoder: the input reads itself",
    "decoder": "decoder: what is written reads itself",
    "cross": "cross: what is written reads the input",
    "decoder alone": "the text reads itself",
}


@dataclass(frozen=True)
class Pass:
    """One pass of a model over one input. titles: of the rows that are shown; run: does it."""

    titles: list[str]
    run: Callable[[], Any]


def page(model: nn.Module, labels: Labels, passes: Iterable[Pass], name: str, about: str) -> str:
    """The page as HTML. Weights are rounded to a byte: by less than 0.004, and small ones by less than 0.001."""
    entries, left_out = [], 0
    room = BYTES
    for one in passes:
        if room <= 0:
            left_out += len(one.titles)
            continue
        for entry in _entries(model, labels, one):
            entries.append(entry)
            room -= _size(entry)
    if not entries:
        raise UserError("There is nothing to draw a map of: the input is empty, or nothing in the model attends.")
    if left_out:
        about += f" Of {len(entries) + left_out:,} inputs the first {len(entries):,} are shown, which is all that fits."
    text = json.dumps({"name": name, "about": about, "entries": entries}, ensure_ascii=False)
    # In a script element only this could end it; what is shown is set as text, never as markup.
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Path(__file__).with_name("page.html").read_text("utf-8").replace("DATA", text, 1)


def _entries(model: nn.Module, labels: Labels, one: Pass) -> Iterator[dict[str, Any]]:
    with torch.no_grad(), captured(model, len(one.titles)) as reads:
        one.run()
    for row, title in enumerate(one.titles):
        kinds: dict[str, list[Read]] = {}
        for of_rows in reads.values():
            if row < len(of_rows):
                kinds.setdefault(_kind(of_rows[row], reads), []).append(of_rows[row])
        if kinds:
            yield {"title": title, "note": _note(kinds), "kinds": [_shown(k, v, labels) for k, v in kinds.items()]}


def _kind(read: Read, reads: dict[str, list[Read]]) -> str:
    if read.across:
        return "cross"
    stack = read.name.rpartition(".")[0]
    return "decoder alone" if stack == "decoder" and not any(name.startswith("encoder") for name in reads) else stack


def _shown(kind: str, layers: list[Read], labels: Labels) -> dict[str, Any]:
    """All layers of one kind: they have the same queries and keys."""
    n, m = (min(TOKENS, count) for count in lengths(layers[0]))
    queries, keys = labels(layers[0])
    about = {"label": KINDS.get(kind, f"{kind}: chunks read each other"), "across": layers[0].across}
    return about | {
        "queries": queries[:n],
        "keys": keys[:m],
        "offset": layers[0].offset if not layers[0].across else 0,
        "layers": [_layer(read, n, m) for read in layers],
    }


def _layer(read: Read, n: int, m: int) -> dict[str, Any]:
    about = {"name": read.name, "heads": list(read.heads)}
    try:
        weights = read.weights(torch.arange(n)).cpu().float()
    except UserError as reason:
        return about | {"reason": str(reason)}
    beyond = weights[..., m:].sum(-1)
    more = {"elsewhere": _packed(beyond)} if beyond.any() else {}
    return about | {"weights": _packed(weights[..., :m])} | more


def _packed(weights: Float[Tensor, "..."]) -> str:
    """A byte each, by the square root, in base64."""
    return base64.b64encode((weights.clamp(0, 1).sqrt() * 255).round().numpy().astype(np.uint8).tobytes()).decode()


def _note(kinds: dict[str, list[Read]]) -> str:
    counts = [count for layers in kinds.values() for count in lengths(layers[0])]
    if max(counts) <= TOKENS:
        return ""
    return f"Of {max(counts):,} tokens the first {TOKENS} are shown; what is read of the others is told as one sum."


def _size(entry: dict[str, Any]) -> int:
    return sum(len(layer.get("weights", "")) for kind in entry["kinds"] for layer in kind["layers"])
