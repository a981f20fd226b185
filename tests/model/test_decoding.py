"""Writing step by step: the scores of one full pass over each unfinished sentence, whatever was kept or dropped."""

import pytest
import torch
from tiny import EOS, KINDS, PAD, WRITERS, grown, next_scores, words

from manyheads.model.generate import Ends, beam, greedy

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
writers = pytest.mark.parametrize("writer", WRITERS)
LENGTHS = [3, 7, 1, 5]


def sources(lengths=LENGTHS) -> tuple[torch.Tensor, torch.Tensor]:
    return words(len(lengths), max(lengths)), torch.tensor(lengths)


class Followed:
    """A decoding, and beside it each row's sentence and history in plain lists, from which the scores are made anew."""

    def __init__(self, model, width: int, cached: bool, lengths=LENGTHS) -> None:
        self.model, self.width = model, width
        self.source, self.lengths = sources(lengths)
        self.decoding = model.decoding(self.source, self.lengths, width, cached=cached)
        self.rows = [(sentence, []) for sentence in range(len(lengths)) for _ in range(width)]
        self.begun = False

    def step(self) -> None:
        """One more word for every row; the scores must be those of a full pass."""
        tokens = words(len(self.rows)) if self.begun else torch.full((len(self.rows),), self.model.first)
        if self.begun:
            self.rows = [(s, [*history, int(token)]) for (s, history), token in zip(self.rows, tokens, strict=True)]
        self.begun = True
        found = self.decoding.step(tokens)
        for row, (sentence, history) in zip(found, self.rows, strict=True):
            expected = next_scores(self.model, self.source[sentence, : self.lengths[sentence]], history)
            torch.testing.assert_close(row, expected, rtol=0, atol=1e-10)

    def keep(self, *rows: int) -> None:
        self.decoding.select(torch.tensor(rows))
        self.rows = [self.rows[row] for row in rows]


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


@kinds
@writers
@pytest.mark.parametrize("cached", [True, False])
def test_every_step_equals_the_full_pass(writer, kind, cached):
    followed = Followed(grown(WRITERS[writer](*kind)), 1, cached)
    for _ in range(4):
        followed.step()


@kinds
@writers
@pytest.mark.parametrize("cached", [True, False])
def test_selected_rows_keep_their_own_past(writer, kind, cached):
    """Rows change places and are doubled, sentences leave from the front, the middle and the end."""
    followed = Followed(grown(WRITERS[writer](*kind)), 2, cached)
    followed.step()
    followed.keep(1, 0, 3, 3, 4, 5, 6, 6)
    followed.step()
    followed.keep(1, 1, 5, 4, 7, 6)
    followed.step()
    followed.keep(3, 3, 4, 5)
    followed.step()
    followed.keep(3, 2)
    followed.step()


@writers
def test_stores_grow_with_what_is_written_and_no_faster(writer):
    """More steps than any store has room for at first; a store that doubled at each of them would fill the machine."""
    followed = Followed(grown(WRITERS[writer]("alibi", "modern", 1)), 1, True, [2, 9])
    for step in range(1, 41):
        followed.step()
        stored = [cache.own[0].size(2) for cache in followed.decoding.caches]
        assert step <= min(stored) <= max(stored) <= 4 * (9 + step)


def test_only_key_value_heads_are_stored():
    decoding = WRITERS["encoder_decoder"]("rope", "modern", 1).decoding(*sources(), 3)
    decoding.step(words(12))
    for cache in decoding.caches:
        assert cache.own[0].shape[:2] == (12, 1)
        assert cache.context[0].shape[:2] == (4, 1), "the context is stored per sentence, not per hypothesis"


@kinds
@writers
def test_searches_find_the_same_with_and_without_a_cache(writer, kind):
    model, (source, lengths) = grown(WRITERS[writer](*kind)), sources()
    ends = Ends(EOS, torch.tensor([9, 4, 1, 12]), (PAD,))
    found = greedy(model.decoding(source, lengths, 1), model.first, ends)
    assert found == greedy(model.decoding(source, lengths, 1, cached=False), model.first, ends)
    assert found == beam(model.decoding(source, lengths, 1), model.first, ends, 1.0)
    wide = beam(model.decoding(source, lengths, 3), model.first, ends, 1.0)
    assert wide == beam(model.decoding(source, lengths, 3, cached=False), model.first, ends, 1.0)
    for b, n in enumerate(lengths.tolist()):
        alone, end = (source[b : b + 1, :n], lengths[b : b + 1]), Ends(EOS, ends.longest[b : b + 1], (PAD,))
        assert greedy(model.decoding(*alone, 1), model.first, end) == [found[b]]
        assert beam(model.decoding(*alone, 3), model.first, end, 1.0) == [wide[b]]
