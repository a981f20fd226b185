"""From the chunks of a document to its scores, and how much each chunk had to say in them.

An aggregate takes chunk vectors (c, dim) and which document each belongs to. Scores are logits: softmax over the labels
decides, or a sigmoid each where a document may have several. The chunk scores are what a chunk says by itself.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyheads.attention.mask import Mask
from manyheads.model.precision import wide
from manyheads.model.segments import Segments
from manyheads.model.stack import Stack
from manyheads.position.sinusoidal import Sinusoidal


@dataclass(frozen=True)
class Reading:
    """What was read of b documents in c chunks, about k labels.

    weights: how much of a document's result is a chunk's doing; they add up to 1 over the chunks of a document.
    ways: scores of each way that is to be trained for itself, where `scores` are the mean of several.
    """

    scores: Float[Tensor, "b k"]
    chunk_scores: Float[Tensor, "c k"]
    weights: Float[Tensor, "c"]
    ways: tuple[Float[Tensor, "b k"], ...] = ()


class Aggregate(nn.Module, ABC):
    """Owns the classifier, which is the same for chunks and for documents."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.classify = nn.Linear(dim, labels)

    @abstractmethod
    def forward(self, vectors: Float[Tensor, "c dim"], place: Int[Tensor, "c"], chunks: Segments) -> Reading:
        """place: the number of each chunk within its document; chunks that a training leaves out leave gaps."""

    def start(self, most: int) -> None:
        """Moves weights that have just been drawn to where this aggregate is best begun; `most` chunks are to come."""


class Vote(Aggregate):
    """Every chunk is classified by itself; then they vote, label by label.

    Weights speak of the label with the document's highest score.
    """

    def forward(self, vectors: Float[Tensor, "c dim"], place: Int[Tensor, "c"], chunks: Segments) -> Reading:
        votes = wide(self.classify(vectors))
        scores, shares = self.count(votes, chunks)
        likeliest = chunks.spread(scores.argmax(1, keepdim=True))
        return Reading(scores, votes, shares.detach().gather(1, likeliest).squeeze(1))

    @abstractmethod
    def count(self, votes: Float[Tensor, "c k"], chunks: Segments) -> tuple[Tensor, Tensor]:
        """Scores (b, k), and each chunk's share (c, k) of them."""


class Mean(Vote):
    """The average of the chunks' logits; every chunk weighs the same."""

    def count(self, votes: Float[Tensor, "c k"], chunks: Segments) -> tuple[Tensor, Tensor]:
        return chunks.mean(votes), _share(torch.ones_like(votes), chunks)


class Max(Vote):
    """The greatest logit of each label: one chunk decides."""

    def count(self, votes: Float[Tensor, "c k"], chunks: Segments) -> tuple[Tensor, Tensor]:
        scores = chunks.max(votes)
        return scores, _share((votes == chunks.spread(scores)).to(votes.dtype), chunks)


class NoisyOr(Vote):
    """A document has a label unless every chunk denies it: p = 1 − ∏ (1 − p_c) (Pearl 1988, section 4.3.2).

    Each label is a question of its own, p_c = σ(logit). Where a document has one label only, softmax over the
    resulting logits decides among them. With one chunk the logit stays what it is, in both cases.
    A chunk's share is that of log(1 − p_c).
    """

    def count(self, votes: Float[Tensor, "c k"], chunks: Segments) -> tuple[Tensor, Tensor]:
        denied = _log_softplus(votes)
        return _logit_of_denied(chunks.logsumexp(denied)), chunks.softmax(denied)

    @torch.no_grad()
    def start(self, most: int) -> None:
        """A document of so many chunks begins at evens; else labels of long documents would all begin as certain."""
        self.classify.bias.fill_(math.log(math.expm1(math.log(2) / most)))


class Attention(Aggregate):
    """Chunks are weighed by gated attention and their sum is classified (Ilse et al. 2018, eq. 9)."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__(dim, labels)
        self.content, self.gate = nn.Linear(dim, dim), nn.Linear(dim, dim)
        # A bias would be the same for every chunk, and softmax blind to it.
        self.weigh = nn.Linear(dim, 1, bias=False)

    def forward(self, vectors: Float[Tensor, "c dim"], place: Int[Tensor, "c"], chunks: Segments) -> Reading:
        heard = self.weigh(self.content(vectors).tanh() * self.gate(vectors).sigmoid())
        weights = chunks.softmax(wide(heard))
        document = chunks.sum(weights * wide(vectors)).to(vectors.dtype)
        scores, votes = wide(self.classify(document)), wide(self.classify(vectors))
        return Reading(scores, votes, weights.detach().squeeze(1))


class Hierarchical(Attention):
    """The chunks of a document read each other before they are weighed (Yang et al. 2016; Chalkidis et al. 2022).

    tower: an encoder without positions, which takes packed documents.
    """

    def __init__(self, dim: int, labels: int, tower: Stack) -> None:
        super().__init__(dim, labels)
        self.tower, self.place = tower, Sinusoidal(dim, 1, dim)

    def forward(self, vectors: Float[Tensor, "c dim"], place: Int[Tensor, "c"], chunks: Segments) -> Reading:
        placed = self.place.embed(vectors.unsqueeze(1), place).transpose(0, 1)
        # All documents in one row: no padding, and no number of chunks to be asked of the device.
        mask = Mask(vectors.size(0), vectors.size(0), documents=chunks.of.unsqueeze(0))
        return super().forward(self.tower(placed, mask).squeeze(0), place, chunks)


VOTES: dict[str, type[Aggregate]] = {"mean": Mean, "max": Max, "noisy_or": NoisyOr, "attention": Attention}
AGGREGATES = (*VOTES, "hierarchical")


def _share(x: Float[Tensor, "c k"], chunks: Segments) -> Float[Tensor, "c k"]:
    return x / chunks.spread(chunks.sum(x))


LOW = -20.0
"""Logits below: e^LOW squared is lost in fp64 beside LOW, so two terms of a series are exact."""


def _log_softplus(x: Tensor) -> Tensor:
    """log(log(1 + eˣ)) = log(−log(1 − σ(x))), which is x − eˣ/2 where it would be the log of 0."""
    safe = x.clamp(min=LOW)
    return torch.where(x < LOW, x - x.clamp(max=LOW).exp() / 2, (-F.logsigmoid(-safe)).log())


def _logit_of_denied(x: Tensor) -> Tensor:
    """The logit of 1 − exp(−eˣ), that is log(exp(eˣ) − 1); inverse of `_log_softplus`."""
    denied = x.clamp(min=LOW).exp()
    return torch.where(x < LOW, x + x.clamp(max=LOW).exp() / 2, denied + (-(-denied).expm1()).log())
