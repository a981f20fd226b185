"""Where texts are cut: nothing is lost, nothing is read twice for nothing, and sentences stay whole where they can."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.data.documents.chunking import cut, sentence_ends


@st.composite
def cases(draw):
    room = draw(st.integers(1, 30))
    tokens = draw(st.integers(0, 200))
    ends = draw(st.one_of(st.none(), st.sets(st.integers(1, max(1, tokens - 1)), max_size=40)))
    return tokens, room, draw(st.integers(0, room - 1)), None if ends is None else np.array(sorted(ends), np.int64)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_token_is_in_some_chunk_and_every_chunk_has_something_new(case):
    tokens, room, overlap, ends = case
    spans = cut(tokens, room, overlap, ends).tolist()
    assert spans[0][0] == 0
    assert spans[-1][1] == tokens
    assert set().union(*(range(*span) for span in spans)) == set(range(tokens))
    assert all(0 < end - begin <= room for begin, end in spans) or spans == [[0, 0]]
    for (_, end), (begin, later) in pairwise(spans):
        assert later > end  # the last chunk, too, is more than the overlap
        assert end - overlap <= begin <= end  # no gap, and no more shared than asked


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 29))
def test_without_sentences_chunks_are_full_and_the_overlap_is_exact(tokens, room, overlap):
    overlap = min(overlap, room - 1)
    spans = cut(tokens, room, overlap).tolist()
    assert all(end - begin == room for begin, end in spans[:-1])
    assert [begin for begin, _ in spans] == [number * (room - overlap) for number in range(len(spans))]


def test_chunks_end_and_begin_at_sentences_where_there_is_one_in_reach():
    ends = np.array([7, 9, 13, 18])
    assert cut(30, 10, 3, ends).tolist() == [[0, 9], [7, 13], [10, 18], [15, 25], [22, 30]]
    assert cut(30, 10, 0, ends).tolist() == [[0, 9], [9, 18], [18, 28], [28, 30]]


def test_a_sentence_that_ends_early_does_not_make_short_chunks():
    assert cut(100, 20, 4, np.array([2, 3])).tolist() == cut(100, 20, 4).tolist()


def test_known_cuts():
    assert cut(0, 5, 2).tolist() == [[0, 0]]
    assert cut(5, 5, 2).tolist() == [[0, 5]]
    assert cut(6, 5, 2).tolist() == [[0, 5], [3, 6]]
    assert cut(8, 5, 2).tolist() == [[0, 5], [3, 8]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three", ["One.", " Two!", " Three"]),
        ("HISTORY\nNone.\n\nPLAN", ["HISTORY\n", "None.", "\n\n", "PLAN"]),
        ('He said "no." Then (yes.) left', ['He said "no."', " Then (yes.)", " left"]),
        ("5.5 mg at 3.30", ["5.5 mg at 3.30"]),
    ],
)
def test_sentences_end_where_one_reads_that_they_do(text, pieces):
    ends = [0, *sentence_ends(text).tolist(), len(text)]
    assert [text[a:b] for a, b in pairwise(ends) if a < b] == pieces
