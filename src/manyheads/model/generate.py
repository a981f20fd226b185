"""Searches for a sentence: greedy, sampled, beam. They see a `Decoding` and nothing else of the model.

All return token ids without the opening and the closing token, one list per sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.model.decoding import Decoding

Choose = Callable[[Float[Tensor, "r vocabulary"]], Int[Tensor, "r"]]


@dataclass(frozen=True)
class Ends:
    """When a sentence is over: at the token `eos`, or after `longest[s]` tokens (b,), whatever comes first.

    never: tokens that no sentence may contain (padding and the like).
    """

    eos: int
    longest: Int[Tensor, "b"]
    never: tuple[int, ...] = ()


def greedy(decoding: Decoding, first: int, ends: Ends) -> list[list[int]]:
    """The likeliest token at each step."""
    return _write(decoding, first, ends, lambda scores: scores.argmax(-1))


def sample(
    decoding: Decoding,
    first: int,
    ends: Ends,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Tokens drawn by their probability, at `temperature`.

    top_k: only from the k likeliest; top_p: only from the fewest that hold this share (Holtzman et al. 2020).
    """

    def draw(scores: Tensor) -> Tensor:
        odds = nucleus(top(scores / temperature, top_k), top_p).softmax(-1)
        return torch.multinomial(odds, 1, generator=generator).squeeze(1)

    return _write(decoding, first, ends, draw)


def top(scores: Float[Tensor, "r vocabulary"], k: int | None) -> Float[Tensor, "r vocabulary"]:
    """−inf for all but the k highest."""
    if k is None or k >= scores.size(-1):
        return scores
    least = scores.topk(k, dim=-1).values[:, -1:]
    return scores.masked_fill(scores < least, float("-inf"))


def nucleus(scores: Float[Tensor, "r vocabulary"], p: float | None) -> Float[Tensor, "r vocabulary"]:
    """−inf for all but the fewest tokens whose probabilities add up to p or more."""
    if p is None or p >= 1:
        return scores
    ordered, order = scores.sort(dim=-1, descending=True)
    odds = ordered.softmax(-1)
    beyond = odds.cumsum(-1) - odds >= p
    return scores.masked_fill(beyond.gather(-1, order.argsort(-1)), float("-inf"))


def _write(decoding: Decoding, first: int, ends: Ends, choose: Choose) -> list[list[int]]:
    """One token per step and sentence; finished sentences leave the batch, so that nobody computes them."""
    written: list[list[int]] = [[] for _ in ends.longest]
    alive = torch.arange(len(written), device=ends.longest.device)
    tokens = torch.full_like(alive, first)
    for step in range(1, int(ends.longest.max()) + 1):
        tokens = choose(_allowed(decoding.step(tokens), ends))
        going = (tokens != ends.eos) & (step <= ends.longest[alive])
        for sentence, token in zip(alive[going].tolist(), tokens[going].tolist(), strict=True):
            written[sentence].append(token)
        going &= step < ends.longest[alive]
        if not going.all():
            alive, tokens = alive[going], tokens[going]
            decoding.select(going.nonzero().squeeze(1))
        if not len(alive):
            break
    return written


def _allowed(scores: Float[Tensor, "r vocabulary"], ends: Ends) -> Float[Tensor, "r vocabulary"]:
    scores = scores.float()
    scores[:, list(ends.never)] = float("-inf")
    return scores


def beam(decoding: Decoding, first: int, ends: Ends, length_penalty: float) -> list[list[int]]:
    """The best of `decoding.width` hypotheses, by log-probability / length ^ length_penalty (Wu et al. 2016 use another
    length; this is fairseq's), the closing token counted. A sentence is over once `width` hypotheses are.
    """
    search = _Beams(decoding, first, ends, length_penalty)
    for step in range(1, int(ends.longest.max()) + 2):
        search.advance(step)
        if not len(search.alive):
            break
    return search.best


class _Beams:
    """A beam search under way. Rows (s · width) are unfinished hypotheses of the s sentences that are still `alive`."""

    def __init__(self, decoding: Decoding, first: int, ends: Ends, length_penalty: float) -> None:
        self.decoding, self.ends, self.penalty, self.width = decoding, ends, length_penalty, decoding.width
        sentences, device = len(ends.longest), ends.longest.device
        self.alive = torch.arange(sentences, device=device)
        self.tokens = torch.full((sentences * self.width, 1), first, device=device)
        # All hypotheses start equal: only the first of each sentence may be extended.
        self.scores = torch.full((sentences, self.width), float("-inf"), device=device)
        self.scores[:, 0] = 0.0
        self.best: list[list[int]] = [[] for _ in range(sentences)]
        self.best_score = [float("-inf")] * sentences
        self.finished = torch.zeros(sentences, dtype=torch.long, device=device)

    def advance(self, step: int) -> None:
        scores, rows, tokens = self._candidates(step)
        closes = tokens == self.ends.eos
        # Only what ranks among the first `width` may close, or poor short sentences would fill the quota.
        closing = closes & (torch.arange(tokens.size(1), device=tokens.device) < self.width) & scores.isfinite()
        self._close(closing, scores / step**self.penalty, rows)
        self._continue(scores.masked_fill(closes, float("-inf")), rows, tokens, step)

    def _candidates(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The 2 · width best extensions of each sentence: their scores, rows and tokens, each (s, 2 · width)."""
        odds = _allowed(self.decoding.step(self.tokens[:, -1]), self.ends).log_softmax(-1)
        words = odds.size(-1)
        over = (step > self.ends.longest[self.alive]).repeat_interleave(self.width)
        only_eos = torch.arange(words, device=odds.device) != self.ends.eos
        odds = odds.masked_fill(over.unsqueeze(1) & only_eos, float("-inf"))
        every = (self.scores.view(-1, 1) + odds).view(len(self.alive), -1)
        scores, flat = every.topk(2 * self.width, dim=1)
        first_row = torch.arange(len(self.alive), device=flat.device).unsqueeze(1) * self.width
        return scores, first_row + flat // words, flat % words

    def _close(self, closing: Tensor, scores: Tensor, rows: Tensor) -> None:
        for at, candidate in closing.nonzero().tolist():
            sentence, score = int(self.alive[at]), float(scores[at, candidate])
            if score > self.best_score[sentence]:
                self.best_score[sentence] = score
                self.best[sentence] = self.tokens[rows[at, candidate], 1:].tolist()
        self.finished += closing.sum(1)

    def _continue(self, scores: Tensor, rows: Tensor, tokens: Tensor, step: int) -> None:
        going = (self.finished < self.width) & (step <= self.ends.longest[self.alive])
        self.scores, at = scores[going].topk(self.width, dim=1)
        rows, tokens = rows[going].gather(1, at).flatten(), tokens[going].gather(1, at).flatten()
        self.tokens = torch.cat((self.tokens[rows], tokens.unsqueeze(1)), dim=1)
        self.alive, self.finished = self.alive[going], self.finished[going]
        if len(self.alive):
            self.decoding.select(rows)
