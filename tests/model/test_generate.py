"""The searches, over a toy whose scores are a fixed function of what has been written: no model is needed."""

import itertools
import math
import random

import pytest
import torch

from manyheads.model.decoding import Decoding
from manyheads.model.generate import Ends, beam, greedy, nucleus, sample, top

EOS, FIRST = 2, 1


class Toy(Decoding):
    """Scores are random, but always the same for the same sentence, history and seed."""

    def __init__(self, words: int, width: int, sentences: list[int], seed: int = 0, eos: float = 0.0) -> None:
        super().__init__(None, None, width)
        self.words, self.seed, self.eos = words, seed, eos
        self.rows = [(sentence, ()) for sentence in sentences for _ in range(width)]
        self.begun = False

    def scores(self, sentence: int, history: tuple[int, ...]) -> torch.Tensor:
        dice = random.Random(f"{self.seed} {sentence} {history}")
        drawn = torch.tensor([dice.gauss(0.0, 1.5) for _ in range(self.words)])
        drawn[EOS] += self.eos
        return drawn

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        assert len(tokens) == len(self.rows)
        if self.begun:
            self.rows = [(s, (*past, int(token))) for (s, past), token in zip(self.rows, tokens, strict=True)]
        else:
            assert tokens.eq(FIRST).all(), "writing starts with the opening token"
        self.begun = True
        return torch.stack([self.scores(*row) for row in self.rows])

    def select(self, rows: torch.Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]
        groups = [{s for s, _ in self.rows[at : at + self.width]} for at in range(0, len(self.rows), self.width)]
        assert all(len(group) == 1 for group in groups), "rows of a sentence stay together"
        assert len(set().union(*groups)) == len(groups), "no sentence is there twice"


def log_odds(toy: Toy, sentence: int, history: tuple[int, ...], never: tuple[int, ...]) -> dict[int, float]:
    """Log-probability of each allowed next word, in plain Python."""
    scores = {word: score for word, score in enumerate(toy.scores(sentence, history).tolist()) if word not in never}
    total = math.log(sum(math.exp(score) for score in scores.values()))
    return {word: score - total for word, score in scores.items()}


def slow_greedy(toy: Toy, sentence: int, longest: int, never: tuple[int, ...] = ()) -> list[int]:
    history: tuple[int, ...] = ()
    while len(history) < longest:
        odds = log_odds(toy, sentence, history, never)
        word = max(odds, key=odds.get)
        if word == EOS:
            break
        history = (*history, word)
    return list(history)


def slow_beam(toy: Toy, sentence: int, longest: int, penalty: float, never: tuple[int, ...] = ()) -> list[int]:
    """Beam search as fairseq defines it, one sentence, with lists and sorting."""
    alive, finished = [(0.0, ())], []
    for length in range(1, longest + 2):
        extended = [
            (score + odds, (*history, word))
            for score, history in alive
            for word, odds in log_odds(toy, sentence, history, never).items()
            if length <= longest or word == EOS
        ]
        ranked = sorted(extended, reverse=True)[: 2 * toy.width]
        finished += [(score / length**penalty, h[:-1]) for score, h in ranked[: toy.width] if h[-1] == EOS]
        alive = [(score, history) for score, history in ranked if history[-1] != EOS][: toy.width]
        if len(finished) >= toy.width or not alive:
            break
    return list(max(finished)[1])


def best_of_all(toy: Toy, sentence: int, longest: int, penalty: float) -> list[int]:
    """The best sentence there is: every one is tried."""
    ranked = []
    for length in range(longest + 1):
        for words in itertools.product([w for w in range(toy.words) if w != EOS], repeat=length):
            score = sum(log_odds(toy, sentence, words[:at], ())[word] for at, word in enumerate((*words, EOS)))
            ranked.append((score / (length + 1) ** penalty, words))
    return list(max(ranked)[1])


def ends(*longest: int, never: tuple[int, ...] = ()) -> Ends:
    return Ends(EOS, torch.tensor(longest), never)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_takes_the_likeliest_word(seed):
    longest = [7, 1, 4, 12]
    toy = Toy(8, 1, [0, 1, 2, 3], seed)
    found = greedy(toy, FIRST, ends(*longest, never=(0, 4)))
    assert found == [slow_greedy(toy, s, n, (0, 4)) for s, n in enumerate(longest)]


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_is_greedy(seed):
    longest = [7, 1, 4, 12]
    found = beam(Toy(8, 1, [0, 1, 2, 3], seed), FIRST, ends(*longest, never=(0,)), 1.0)
    assert found == greedy(Toy(8, 1, [0, 1, 2, 3], seed), FIRST, ends(*longest, never=(0,)))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("eos", [-2.0, 0.0, 1.5])
def test_beam_equals_the_slow_one(width, penalty, eos):
    longest = [6, 0, 3, 8, 1]
    for seed in range(8):
        toy = Toy(7, width, list(range(5)), seed, eos)
        found = beam(toy, FIRST, ends(*longest, never=(0,)), penalty)
        assert found == [slow_beam(toy, s, n, penalty, (0,)) for s, n in enumerate(longest)], seed


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.5])
def test_a_beam_wide_enough_finds_the_best_sentence_of_all(penalty):
    differs = 0
    for seed in range(10):
        toy = Toy(4, 120, [0, 1], seed)
        best = [best_of_all(toy, s, 3, penalty) for s in (0, 1)]
        assert beam(toy, FIRST, ends(3, 3), penalty) == best
        differs += best != greedy(Toy(4, 1, [0, 1], seed), FIRST, ends(3, 3))
    assert differs, "greedy finds it too: the test shows nothing"


def test_more_length_penalty_never_shortens():
    """Log-probabilities are negative: dividing by a higher power of the length favours long sentences."""
    for seed in range(20):
        short, long = (len(beam(Toy(5, 60, [0], seed), FIRST, ends(3), penalty)[0]) for penalty in (0.0, 2.0))
        assert short <= long


@pytest.mark.parametrize("search", ["greedy", "sample", "beam"])
def test_longest_and_never_are_respected(search):
    longest = [5, 0, 9, 2, 1]
    for seed in range(10):
        toy = Toy(9, 3 if search == "beam" else 1, list(range(5)), seed, eos=-3.0)
        end = ends(*longest, never=(0, 1, 4))
        found = {
            "greedy": lambda toy=toy, end=end: greedy(toy, FIRST, end),
            "sample": lambda toy=toy, end=end: sample(toy, FIRST, end, 1.0, None, None),
            "beam": lambda toy=toy, end=end: beam(toy, FIRST, end, 1.0),
        }[search]()
        assert all(len(sentence) <= n for sentence, n in zip(found, longest, strict=True))
        assert not {0, 1, 4, EOS} & {word for sentence in found for word in sentence}
        assert any(len(sentence) == n for sentence, n in zip(found, longest, strict=True) if n)


def test_finished_sentences_are_not_computed_any_more():
    toy = Toy(6, 1, [0, 1, 2])
    seen = []
    step = toy.step
    toy.step = lambda tokens: (seen.append(len(tokens)), step(tokens))[1]
    lengths = [len(s) for s in greedy(toy, FIRST, ends(1, 6, 3))]
    # A sentence of n words takes n steps, and one more for its closing token where it was not cut off.
    steps = [min(length + 1, n) for length, n in zip(lengths, (1, 6, 3), strict=True)]
    assert seen == [sum(n > t for n in steps) for t in range(max(steps))]


@pytest.mark.parametrize("seed", range(10))
def test_drawing_from_the_likeliest_one_is_greedy(seed):
    found = sample(Toy(8, 1, [0, 1], seed), FIRST, ends(9, 9), 0.7, top_k=1, top_p=None)
    assert found == greedy(Toy(8, 1, [0, 1], seed), FIRST, ends(9, 9))
    assert found == sample(Toy(8, 1, [0, 1], seed), FIRST, ends(9, 9), 0.7, top_k=None, top_p=1e-6)


def test_the_same_generator_draws_the_same():
    def draw(seed: int) -> list[list[int]]:
        dice = torch.Generator().manual_seed(seed)
        return sample(Toy(9, 1, [0, 1], eos=-2.0), FIRST, ends(20, 20), 1.0, None, None, dice)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


class Alike(Toy):
    """The same scores for every row and step."""

    def scores(self, sentence, history):
        return super().scores(0, ())


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, None, None), (0.5, None, None), (2.0, 3, None), (1.3, None, 0.8)]
)
def test_words_are_drawn_by_their_probability(temperature, top_k, top_p):
    """Pearson's statistic over 20,000 draws of one word; its 99.99 % point for up to 5 degrees of freedom is 25.7."""
    draws, toy = 20_000, Alike(6, 1, [0])
    found = sample(Alike(6, 1, list(range(draws))), FIRST, ends(*[1] * draws), temperature, top_k, top_p)
    counts = torch.bincount(torch.tensor([s[0] if s else EOS for s in found]), minlength=6).double()
    scaled = {word: math.exp(score / temperature) for word, score in enumerate(toy.scores(0, ()).tolist())}
    kept, held = sorted(scaled, key=scaled.get, reverse=True), 0.0
    if top_k is not None:
        kept = kept[:top_k]
    if top_p is not None:
        shares = [scaled[word] / sum(scaled.values()) for word in kept]
        kept = [word for at, word in enumerate(kept) if sum(shares[:at]) < top_p]
    held = sum(scaled[word] for word in kept)
    statistic = sum((counts[w] - draws * scaled[w] / held) ** 2 / (draws * scaled[w] / held) for w in kept)
    assert counts.sum() == counts[kept].sum()
    assert statistic < 25.7


def test_top_keeps_the_k_highest():
    scores = torch.tensor([[1.0, 5.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    low = float("-inf")
    assert top(scores, 2).tolist() == [[low, 5.0, low, 4.0], [4.0, 3.0, low, low]]
    for k in (None, 4, 9):
        assert torch.equal(top(scores, k), scores)


@pytest.mark.parametrize(
    ("p", "kept"), [(0.05, {2}), (0.4, {2}), (0.6, {2, 0}), (0.7, {2, 0}), (0.71, {2, 0, 3}), (0.95, {0, 1, 2, 3})]
)
def test_nucleus_is_the_smallest_set_that_holds_p(p, kept):
    """Probabilities .3 .1 .4 .2: the two likeliest hold .7 (a little more in fp32), the three likeliest .9."""
    scores = torch.tensor([[0.3, 0.1, 0.4 + 1e-6, 0.2]]).log() + 7.0
    found = nucleus(scores, p)
    assert {word for word in range(4) if found[0, word] > float("-inf")} == kept
    assert torch.equal(found[0, list(kept)], scores[0, list(kept)])


def test_a_nucleus_of_everything_changes_nothing():
    scores = torch.randn(3, 5)
    for p in (None, 1.0):
        assert torch.equal(nucleus(scores, p), scores)
