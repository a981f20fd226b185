"""What a model says of a batch, in a form that two models can be compared in; one kind for each family of tasks.

`distance` is 0 where both say the same, and so is its gradient there; like the task's loss it is a mean over what the
batch asks, and nothing that is padded or missing counts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from manyheads.model.divergence import SlicedDivergence
from manyheads.model.head import Head
from manyheads.model.precision import wide


@dataclass(frozen=True)
class Words:
    """States before each of t real words, the head that scores the vocabulary from them, and the words."""

    states: Float[Tensor, "t dim"]
    words: Int[Tensor, "t"]
    head: Head

    def distance(self, teacher: "Words", temperature: float) -> Float[Tensor, ""]:
        """T² · KL(teacher ‖ student) per word."""
        theirs = teacher.states.detach(), teacher.head.weight.detach()
        total = SlicedDivergence.apply(self.states, self.head.weight, *theirs, temperature)
        return total / max(1, len(self.words))


@dataclass(frozen=True)
class Labels:
    """Logits of b documents; ways: those of each way that is trained for itself, if any. several: labels at once."""

    scores: Float[Tensor, "b k"]
    ways: tuple[Float[Tensor, "b k"], ...]
    several: bool

    def distance(self, teacher: "Labels", temperature: float) -> Float[Tensor, ""]:
        """T² · KL(teacher ‖ student) per document, or per document and label; each way learns from its like."""
        pairs = zip(self.ways or (self.scores,), teacher.ways or (teacher.scores,), strict=True)
        return torch.stack([self._apart(wide(own), wide(theirs.detach()), temperature) for own, theirs in pairs]).mean()

    def _apart(self, own: Float[Tensor, "b k"], theirs: Float[Tensor, "b k"], temperature: float) -> Float[Tensor, ""]:
        own, theirs = own / temperature, theirs / temperature
        if self.several:
            yes, no = (theirs.sigmoid() * (F.logsigmoid(theirs) - F.logsigmoid(own))), -theirs
            each = yes + no.sigmoid() * (F.logsigmoid(no) - F.logsigmoid(-own))
            return temperature**2 * each.mean()
        log_p, log_q = theirs.log_softmax(1), own.log_softmax(1)
        return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(1).mean()


@dataclass(frozen=True)
class Forecasts:
    """Forecasts on the scale of the data, q quantiles or a point (q = 1), the truth, and where it is known."""

    values: Float[Tensor, "b t c q"]
    truth: Float[Tensor, "b t c"]
    seen: Bool[Tensor, "b t c"]

    def distance(self, teacher: "Forecasts", temperature: float) -> Float[Tensor, ""]:
        """The squared distance per value; a forecast has no temperature.

        Of points that is the KL of Gaussians around them (times 2σ²), as regression is distilled since Ba and Caruana
        2014; of quantiles, the squared 2-Wasserstein distance of the distributions that they describe, ∫ (Q − Q')² dq.
        """
        squared = (wide(self.values) - wide(teacher.values.detach())).square().mean(-1)
        return torch.where(self.seen, squared, 0).sum() / self.seen.sum().clamp(min=1)
