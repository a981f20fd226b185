"""Batches of chunks: they hold what the texts say, within their budget, and the same again when a run is resumed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.data.batching import EveryRow
from manyheads.data.documents.reading import Reading
from manyheads.data.documents.rows import ChunkBatches, DocumentRows
from manyheads.data.documents.store import TokenStore, in_memory
from manyheads.data.documents.tokenizer import train
from manyheads.data.loader import evaluation_loader, training_loader
from manyheads.data.tokenizer import BOS, EOS, SEP
from manyheads.errors import UserError

TEXTS = [f"Note {number}. " + "The patient is well. " * (number**2 % 37) for number in range(23)]
TOKENIZER = train(TEXTS, 290, False)
STORE = in_memory(TEXTS, TOKENIZER)
CHUNKED = Reading("chunked", 10_000, 24, 5, "tokens")
WHOLE = Reading("whole", 60, 24, 5, "tokens")


def rows_of(reading=CHUNKED, questions=None, targets=None, **options):
    asked = questions or [None] * len(TEXTS)
    return DocumentRows(reading.chunks(STORE, range(len(TEXTS)), asked), targets, **options)


def bodies(batch, row):
    """Chunks of one document of a batch, without what stands around them."""
    mine = batch.document == row
    return [ids[1 : n - 1].tolist() for ids, n in zip(batch.ids[mine], batch.lengths[mine], strict=True)]


def test_a_batch_holds_the_chunks_of_its_documents():
    batch = rows_of()[[7, 2, 7]]
    assert batch.index.tolist() == [7, 2, 7]
    for row, document in enumerate((7, 2, 7)):
        ids = TOKENIZER.encode([TEXTS[document]])[0]
        got, glued = bodies(batch, row), []
        for body in got:
            assert len(body) <= 22
            glued = [*glued[: len(glued) - (5 if glued else 0)], *body]
        assert glued == ids
        assert batch.place[batch.document == row].tolist() == list(range(len(got)))
    assert batch.document.tolist() == sorted(batch.document.tolist())
    assert (batch.ids[:, 0] == BOS).all()
    assert (batch.ids.gather(1, batch.lengths[:, None] - 1) == EOS).all()
    behind = torch.arange(batch.ids.size(1)) >= batch.lengths[:, None]
    assert (batch.ids[behind] == 0).all()
    assert (batch.tokens, batch.cells, len(batch)) == (int(batch.lengths.sum()), batch.ids.numel(), 3)
    assert batch.labels is None


def test_read_whole_a_document_is_one_chunk_cut_at_the_longest(caplog):
    rows = rows_of(WHOLE)
    batch = rows[[6, 1]]
    ids = TOKENIZER.encode([TEXTS[6]])[0]
    assert len(ids) > 58
    assert bodies(batch, 0) == [ids[:58]]
    assert batch.document.tolist() == [0, 1]
    WHOLE.report_cuts("train", rows.chunks)
    long = sum(len(ids) > 58 for ids in TOKENIZER.encode(TEXTS))
    assert f"train: {long} of 23 documents are longer than data.longest=60" in caplog.text


def test_a_question_stands_before_every_chunk_and_counts_in_its_length():
    question = TOKENIZER.encode(["is he well?"])[0]
    rows = rows_of(Reading("chunked", 99, 40, 5, "tokens"), [question] * len(TEXTS))
    batch = rows[[12]]
    assert batch.lengths.max() == 40
    assert len(batch.lengths) > 1
    start = [BOS, *question, SEP]
    assert all(row[: len(start)] == start for row in batch.ids.tolist())
    assert not (batch.ids[:, len(start) :] == SEP).any()


def test_a_question_without_room_for_text_is_refused():
    reading = Reading("chunked", 99, 24, 5, "tokens")
    assert reading.why_not(list(range(15))) is None
    assert "the question has 16 tokens" in reading.why_not(list(range(16)))
    whole = Reading("whole", 20, 24, 5, "tokens")
    assert whole.why_not(list(range(16))) is None
    assert "data.longest=20" in whole.why_not(list(range(17)))


@pytest.mark.parametrize(("chunk", "overlap"), [(64, 64), (64, 63), (64, 62), (10, 64), (64, -1)])
def test_chunks_without_anything_new_are_refused(chunk, overlap):
    with pytest.raises(UserError, match=rf"data\.chunk={chunk} has to be greater than data\.overlap={overlap}"):
        Reading("chunked", 99, chunk, overlap, "tokens").check()
    Reading("whole", 99, chunk, overlap, "tokens").check()


def test_characters_of_chunks_cover_the_text():
    for reading in (CHUNKED, Reading("chunked", 99, 24, 5, "sentences")):
        chunks = rows_of(reading).chunks
        for document, text in enumerate(TEXTS):
            spans = chunks.characters(document)
            assert set().union(*(range(*span) for span in spans)) == set(range(len(text)))
            batch = DocumentRows(chunks, None)[[document]]
            for (begin, end), body in zip(spans, bodies(batch, 0), strict=True):
                assert TOKENIZER.decode(body).strip() == text[begin:end].strip()


def test_sentences_are_not_cut_where_they_fit():
    chunks = rows_of(Reading("chunked", 99, 40, 0, "sentences")).chunks
    spans = chunks.characters(6)
    assert len(spans) > 2
    assert all(TEXTS[6][:end].rstrip().endswith(".") for _, end in spans)


def test_labels_are_classes_or_zeros_and_ones():
    single = rows_of(targets=np.arange(23) % 3)[[4, 5]]
    assert (single.labels.tolist(), single.labels.dtype) == ([1, 2], torch.int64)
    many = rows_of(targets=np.eye(23, dtype=np.int8))[[4, 5]]
    assert many.labels.dtype == torch.float32
    assert many.labels.argmax(1).tolist() == [4, 5]


def test_chunks_drawn_for_training_are_of_the_seed_the_epoch_and_the_document():
    rows, every = rows_of(most=2, seed=3), rows_of()
    drawn = {}
    for epoch in range(30):
        for row in range(23):
            batch = rows[[row + 23 * epoch]]
            assert batch.index.tolist() == [row]
            places = batch.place.tolist()
            all_chunks = bodies(every[[row]], 0)
            assert len(places) == min(2, len(all_chunks))
            assert places == sorted(set(places))
            assert bodies(batch, 0) == [all_chunks[place] for place in places]
            drawn.setdefault(row, []).append(tuple(places))
    long = [row for row in drawn if len(bodies(every[[row]], 0)) > 3]
    assert all(
        {place for places in drawn[row] for place in places} == set(range(len(bodies(every[[row]], 0)))) for row in long
    )
    assert drawn[long[0]] != drawn[long[1]]
    together = rows[[row + 23 * 7 for row in (5, 11, 3)]]
    apart = [rows[[row + 23 * 7]].place.tolist() for row in (5, 11, 3)]
    assert together.place.tolist() == [place for places in apart for place in places]
    assert any(rows[[row]].place.tolist() != rows_of(most=2, seed=4)[[row]].place.tolist() for row in long)


@settings(max_examples=40, deadline=None)
@given(st.integers(24, 400), st.one_of(st.none(), st.integers(1, 6)), st.booleans())
def test_no_training_batch_is_over_its_budget(budget, most, sentences):
    reading = Reading("chunked", 99, 24, 5, "sentences" if sentences else "tokens")
    held = max(1, budget // 24)
    rows = rows_of(reading, most=min(most or held, held))
    for batch in training_loader(rows, ChunkBatches(rows.lengths, budget, 8, 1), 0):
        assert batch.cells <= budget


def loader():
    rows = rows_of(most=2, seed=3)
    return training_loader(rows, ChunkBatches(rows.lengths, 200, 8, 5), 0)


def shown(batch):
    return batch.index.tolist(), batch.ids.tolist(), batch.place.tolist()


def test_a_resumed_epoch_draws_what_it_would_have_drawn():
    whole = loader()
    epochs = [[shown(batch) for batch in whole] for _ in range(3)]
    assert epochs[0] != epochs[1]
    assert all(sorted(row for rows, _, _ in epoch for row in rows) == list(range(23)) for epoch in epochs)
    resumed = loader()
    resumed.load_state_dict({"epoch": 1, "batches": 2})
    assert [shown(batch) for batch in resumed] == epochs[1][2:]
    assert [shown(batch) for batch in resumed] == epochs[2]


def test_evaluation_reads_all_chunks_and_a_long_document_alone():
    rows = rows_of()
    batches = list(evaluation_loader(rows, EveryRow(rows.lengths, 100), 0))
    assert sorted(row for batch in batches for row in batch.index.tolist()) == list(range(23))
    assert sum(len(batch.ids) for batch in batches) == rows.chunks.counts.sum()
    over = [batch for batch in batches if batch.cells > 100]
    assert over
    assert all(len(batch) == 1 for batch in over)


@pytest.mark.parametrize("read", ["whole", "chunked"])
def test_a_document_of_200_000_tokens(read):
    ids = np.arange(200_000, dtype=np.int32) % 200 + 10
    places = np.arange(200_000, dtype=np.int32)
    store = TokenStore(ids, np.stack([places, places + 1], 1), np.zeros(0, np.int32), np.array([200_000, 0]))
    rows = DocumentRows(Reading(read, 250_000, 512, 64, "tokens").chunks(store, [0], [None]), None)
    [batch] = evaluation_loader(rows, EveryRow(rows.lengths, 1000), 0)
    if read == "whole":
        assert bodies(batch, 0) == [ids.tolist()]
    else:
        assert len(batch.ids) == 449
        assert rows.chunks.characters(0)[-1][1] == 200_000


def test_an_empty_document_is_one_empty_chunk():
    rows = DocumentRows(CHUNKED.chunks(in_memory(["", "x"], TOKENIZER), [0, 1], [None, None]), None)
    assert rows[[0]].ids.tolist() == [[BOS, EOS]]
    assert rows.chunks.characters(0) == [(0, 0)]
