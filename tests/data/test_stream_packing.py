"""Every token of every document is read and foretold exactly once, whatever the rows' length and context."""

import itertools

import numpy as np
import pytest
from stream_memory import Memory

from manyheads.data.stream.packing import PackedRows, cut
from manyheads.data.stream.source import Documents, Faults
from manyheads.data.stream.store import stored
from manyheads.data.stream.tokenizer import train
from manyheads.data.tokenizer import BOS, EOS, PAD

TEXTS = ["a b c", "x", "one two three four five six seven " * 5, " é ü", "short", "end of it " * 9]
CASES = [(length, context) for length in (2, 3, 7, 16, 400) for context in (0, 1, 2, 5) if context < length]


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS, 300)


@pytest.fixture(scope="module")
def store(tokenizer, tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    return stored("test", Documents((Memory(TEXTS),)), tokenizer, "refuse", cache)


def spans(ends):
    return list(zip([0, *ends[:-1]], ends, strict=True))


@pytest.mark.parametrize(("length", "context"), CASES)
def test_each_place_is_counted_in_one_row_and_read_with_its_context(length, context):
    rng = np.random.default_rng(length * 10 + context)
    ends = np.cumsum(rng.integers(1, 30, 12))
    cuts = cut(ends, length, context)
    rows = list(zip(cuts.begins.tolist(), cuts.counted.tolist(), cuts.ends.tolist(), strict=True))
    assert [place for _, first, end in rows for place in range(first, end)] == list(range(ends[-1]))
    for begin, first, end in rows:
        assert 0 < end - begin <= length
        start = next(start for start, stop in spans(ends.tolist()) if start <= first < stop)
        assert begin == max(start, first - context, 0)


def test_only_the_last_row_is_short_where_no_context_is_asked_for():
    cuts = cut(np.array([5, 6, 23]), 4, 0)
    assert (cuts.ends - cuts.begins).tolist() == [4, 4, 4, 4, 4, 3]


def test_no_documents_make_no_rows():
    assert len(cut(np.array([], np.int64), 4, 2).begins) == 0


@pytest.mark.parametrize(("length", "context"), CASES)
def test_rows_hold_every_pair_of_neighbours_once_and_nothing_else(length, context, store, tokenizer):
    rows = PackedRows(store, length, context, tokenizer.bytes)
    documents = [[BOS, *ids, EOS] for ids in tokenizer.encode(TEXTS)]
    wanted = [pair for ids in documents for pair in itertools.pairwise(ids)]
    batch = rows[range(len(rows))]
    found = list(zip(batch.ids[batch.counted].tolist(), batch.targets[batch.counted].tolist(), strict=True))
    assert found == wanted
    assert batch.bytes == sum(len(text.encode()) for text in TEXTS)
    assert batch.tokens == int((batch.documents >= 0).sum()) == int(rows.lengths.sum())


@pytest.mark.parametrize(("length", "context"), [(7, 0), (7, 3), (16, 5), (400, 0)])
def test_a_row_numbers_its_documents_and_mixes_none(length, context, store, tokenizer):
    rows = PackedRows(store, length, context, tokenizer.bytes)
    for row in range(len(rows)):
        batch = rows[[row]]
        ids, targets, documents = (part[0].tolist() for part in (batch.ids, batch.targets, batch.documents))
        assert documents[0] == 0
        for at in range(1, len(ids)):
            if documents[at] < 0:
                assert (ids[at], targets[at], bool(batch.counted[0, at])) == (PAD, PAD, False)
                continue
            begins = ids[at] == BOS
            assert documents[at] == documents[at - 1] + begins
            assert begins or ids[at] == targets[at - 1]
        assert batch.several == (max(documents) > 0)


def test_a_batch_is_its_rows_one_by_one(store, tokenizer):
    rows = PackedRows(store, 16, 5, tokenizer.bytes)
    order = [len(rows) - 1, 0, 3]
    batch = rows[order]
    assert batch.index.tolist() == order
    assert batch.bytes == sum(rows[[row]].bytes for row in order)
    assert batch.cells == batch.ids.numel() >= batch.tokens
    for at, row in enumerate(order):
        one = rows[row]
        n = one.tokens
        for name in ("ids", "targets", "documents", "counted"):
            assert getattr(batch, name)[at, :n].tolist() == getattr(one, name)[0].tolist()


def test_documents_that_cannot_be_used_are_named():
    faults = Faults("skip")
    for number in range(5):
        faults.add(f"row {number}")
    assert (faults.count, faults.named) == (5, ["row 0", "row 1", "row 2"])
