"""Attentions that sum over keys write sentences from a state: the same words, in memory that no step enlarges."""

from functools import partial

import pytest
import torch
from tiny import EOS, PAD, WRITERS, grown, next_scores, words

from manyheads.attention.linear import Linear
from manyheads.attention.performer import Performer
from manyheads.errors import UserError
from manyheads.model.generate import Ends, beam, greedy

CHUNKED = {"kernel": "chunked", "strict": True, "chunk": 3}
ATTENTIONS = {
    "linear": partial(Linear, eps=1e-6, **CHUNKED),
    "performer": partial(Performer, eps=1e-2, features=5, seed=0, redraw=None, **CHUNKED),
}
LENGTHS = [3, 7, 1, 5]
writers = pytest.mark.parametrize("writer", WRITERS)
attentions = pytest.mark.parametrize("name", ATTENTIONS)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


def model(writer: str, name: str, kv_heads: int = 2, position: str = "rope"):
    return grown(WRITERS[writer](position, attention=partial(ATTENTIONS[name], kv_heads=kv_heads)))


def sources(lengths=LENGTHS) -> tuple[torch.Tensor, torch.Tensor]:
    return words(len(lengths), max(lengths)), torch.tensor(lengths)


@writers
@attentions
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("lengths", [LENGTHS, [4, 4], [1, 1]], ids=str)
def test_every_step_equals_the_full_pass(writer, name, kv_heads, lengths):
    """Rows change places, are doubled and leave, as in a beam search."""
    writing, (source, ends) = model(writer, name, kv_heads), sources(lengths)
    decoding = writing.decoding(source, ends, 2)
    rows = [(s, []) for s in range(len(lengths)) for _ in range(2)]
    tokens = torch.full((len(rows),), writing.first)
    for order in ([1, 0, *range(2, len(rows))], [1, 1, *range(2, len(rows))], [*range(2, len(rows))], None):
        for row, (s, history) in zip(decoding.step(tokens), rows, strict=True):
            expected = next_scores(writing, source[s, : lengths[s]], history)
            torch.testing.assert_close(row, expected, rtol=0, atol=1e-9)
        if order is None:
            break
        decoding.select(torch.tensor(order))
        tokens = words(len(order))
        rows = [(rows[at][0], [*rows[at][1], int(token)]) for at, token in zip(order, tokens, strict=True)]


@writers
@attentions
def test_searches_find_the_same_with_and_without_a_state(writer, name):
    writing, (source, lengths) = model(writer, name), sources()
    ends = Ends(EOS, torch.tensor([9, 4, 1, 12]), (PAD,))
    found = greedy(writing.decoding(source, lengths, 1), writing.first, ends)
    assert found == greedy(writing.decoding(source, lengths, 1, cached=False), writing.first, ends)
    wide = beam(writing.decoding(source, lengths, 3), writing.first, ends, 1.0)
    assert wide == beam(writing.decoding(source, lengths, 3, cached=False), writing.first, ends, 1.0)


@writers
@attentions
def test_memory_stays_the_same_over_steps(writer, name):
    writing, (source, lengths) = model(writer, name), sources()
    decoding, sizes = writing.decoding(source, lengths, 2), []
    for _ in range(30):
        decoding.step(words(2 * len(LENGTHS)))
        assert all(cache.own is None for cache in decoding.caches), "keys and values are kept beside the state"
        kept = [x for cache in decoding.caches for x in cache.state if x is not None]
        sizes.append(sum(x.untyped_storage().nbytes() for x in kept))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("writer", ["decoder_only"])
def test_a_bias_is_refused_at_each_step(writer):
    writing = model(writer, "linear", position="alibi")
    with pytest.raises(UserError, match="position=rope"):
        writing.decoding(*sources(), 1).step(words(4))
