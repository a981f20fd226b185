"""What an exported graph computes: one module for each family and shape, from plain tensors to one tensor.

| data | model | inputs | output |
|---|---|---|---|
| translation | encoder_decoder | source (b, n), lengths (b,), target (b, m) | logits (b, m, words) |
| translation, language_model | decoder_only | tokens (b, n) | logits (b, n, words) |
| clinical_long | all | ids (c, n), lengths (c,), document (c,), place (c,) | scores (b, labels), as logits |
| timeseries | all | history (b, l, channels), and known (b, l + h, f) if any | forecast (b, h, channels, q) |
| formal_language | all | tokens (b, n), lengths (b,) | logits (b, n, labels) |

Padding stands on the right. In a history NaN is a missing value; values are scaled as scaling.json says.
"""

from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.model.documents import DocumentModel
from manyheads.model.forecaster import Forecaster
from manyheads.model.labeller import Labeller
from manyheads.model.shapes import EncoderDecoder

Free = dict[str, dict[int, str]]


class Entry(nn.Module):
    """names: of the inputs, in order. free: by input, its axes of any size, each with what it counts."""

    names: tuple[str, ...]
    free: Free
    output: str

    def __init__(self, model: nn.Module, names: tuple[str, ...], free: Free, output: str) -> None:
        super().__init__()
        self.model, self.names, self.free, self.output = model, names, free, output


class Pairs(Entry):
    """Source and the target so far, to the scores of each next word."""

    def __init__(self, model: nn.Module) -> None:
        sides = {"source": {0: "batch", 1: "length"}, "lengths": {0: "batch"}, "target": {0: "batch", 1: "written"}}
        super().__init__(model, tuple(sides), sides, "logits")

    def forward(
        self, source: Int[Tensor, "b n"], lengths: Int[Tensor, "b"], target: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m words"]:
        return self.model.head(self.model(source, lengths, target))


class Stream(Entry):
    """Tokens from the left, to the scores of each next one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, ("tokens",), {"tokens": {0: "batch", 1: "length"}}, "logits")

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n words"]:
        return self.model.head(self.model(tokens))


class Documents(Entry):
    """Chunks of documents, to the scores of their labels; documents are numbered from 0, and each has a chunk."""

    def __init__(self, model: nn.Module) -> None:
        of_chunks = {name: {0: "chunks"} for name in ("lengths", "document", "place")}
        free = {"ids": {0: "chunks", 1: "length"}, **of_chunks}
        super().__init__(model, tuple(free), free, "scores")

    def forward(
        self, ids: Int[Tensor, "c n"], lengths: Int[Tensor, "c"], document: Int[Tensor, "c"], place: Int[Tensor, "c"]
    ) -> Float[Tensor, "b labels"]:
        documents = document[-1].item() + 1
        torch._check(documents >= 1)
        index = torch.arange(documents, device=ids.device)
        batch = {"index": index, "ids": ids, "lengths": lengths, "document": document, "place": place}
        return self.model(SimpleNamespace(**batch)).scores


class Words(Entry):
    """Words of a formal language, to the scores of the label of each prefix."""

    def __init__(self, model: Labeller) -> None:
        free = {"tokens": {0: "batch", 1: "length"}, "lengths": {0: "batch"}}
        super().__init__(model, tuple(free), free, "logits")

    def forward(self, tokens: Int[Tensor, "b n"], lengths: Int[Tensor, "b"]) -> Float[Tensor, "b n labels"]:
        return self.model.head(self.model(tokens, lengths))


class History(Entry):
    """A history, to its forecast; every window has the length that the model was trained on."""

    def __init__(self, model: Forecaster) -> None:
        known = {"known": {0: "batch"}} if model.spec.known else {}
        free = {"history": {0: "batch"}, **known}
        super().__init__(model, tuple(free), free, "forecast")

    def forward(
        self, history: Float[Tensor, "b l c"], known: Float[Tensor, "b l_and_h f"] | None = None
    ) -> Float[Tensor, "b h c q"]:
        """known: what is known of the steps of the history, then of those of the horizon."""
        spec, seen = self.model.spec, ~history.isnan()
        if known is None:
            known = history.new_zeros(history.size(0), spec.history + spec.horizon, 0)
        batch = {"history": torch.where(seen, history, 0.0), "history_seen": seen}
        batch |= {"history_known": known[:, : spec.history], "future_known": known[:, spec.history :]}
        return self.model(SimpleNamespace(**batch))


def entry(model: nn.Module) -> Entry:
    """The one that fits a model."""
    kinds = {DocumentModel: Documents, Forecaster: History, EncoderDecoder: Pairs, Labeller: Words}
    return kinds.get(type(model), Stream)(model)
