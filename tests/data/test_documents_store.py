"""Token ids on disk: the same as in memory, made once, whole or not at all."""

import errno
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from manyheads.data.documents import store as module
from manyheads.data.documents.store import in_memory, on_disk
from manyheads.data.documents.tokenizer import TextTokenizer, train
from manyheads.errors import UserError

TEXTS = ["One two. Three four!\nFive", "", "x", "Ünï cödé. " * 50, "no end of a sentence"]
CONTENT = [bytes([number]) * 32 for number in range(len(TEXTS))]
TOKENIZER = train(TEXTS * 3, 300, False)


def described(store):
    rows = range(len(store))
    return [
        (
            store.ids(row, 0, int(store.lengths[row, 0])).tolist(),
            store.sentences(row).tolist(),
            [store.characters(row, token, token + 1) for token in range(store.lengths[row, 0])],
        )
        for row in rows
    ]


def test_a_store_says_what_the_tokenizer_said(tmp_path):
    store = on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))
    plain = list(TOKENIZER.trace(TEXTS))
    assert [ids for ids, _, _ in described(store)] == [tokens.ids.tolist() for tokens in plain]
    assert [spans for _, _, spans in described(store)] == [
        [tuple(span) for span in tokens.characters.tolist()] for tokens in plain
    ]
    assert described(store) == described(in_memory(TEXTS, TOKENIZER))
    assert isinstance(store._ids, np.memmap)


def test_sentence_ends_lie_between_tokens_of_the_sentences(tmp_path):
    store = in_memory(TEXTS, TOKENIZER)
    whole = int(store.lengths[0, 0])
    cuts = [0, *store.sentences(0).tolist(), whole]
    pieces = [TEXTS[0][slice(*store.characters(0, a, b))] for a, b in pairwise(cuts)]
    assert pieces == ["One two.", " Three four!", "\n", "Five"]


def test_texts_are_tokenised_once_and_each_change_counts(tmp_path, monkeypatch):
    first = described(on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path)))
    monkeypatch.setattr(TextTokenizer, "trace", lambda *_: pytest.fail("tokenised again"))
    assert described(on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))) == first
    monkeypatch.undo()
    other = train(TEXTS * 3, 290, False)
    assert described(on_disk(TEXTS, CONTENT, other, str(tmp_path))) != first
    on_disk(TEXTS[1:], CONTENT[1:], TOKENIZER, str(tmp_path))
    assert len(list(Path(tmp_path, "documents").iterdir())) == 3


@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_a_damaged_store_is_made_again(harm, tmp_path):
    first = described(on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path)))
    [folder] = Path(tmp_path, "documents").iterdir()
    (folder / "lengths").unlink() if harm == "missing" else (folder / "ids").write_bytes(b"1234")
    assert described(on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))) == first


def test_many_may_ask_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: described(on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))), range(16)))
    assert all(one == made[0] for one in made)
    assert len(list(Path(tmp_path, "documents").iterdir())) == 1


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(UserError, match=r"could not be written: No space left on device; make room"):
        on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))
    assert list(Path(tmp_path, "documents").iterdir()) == []


def test_progress_is_told_now_and_then(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "SAY_SO", 0.0)
    monkeypatch.setattr(module, "BATCH", 10)
    with caplog.at_level("INFO"):
        on_disk(TEXTS, CONTENT, TOKENIZER, str(tmp_path))
    assert "tokenised 5 of 5 texts" in caplog.text
