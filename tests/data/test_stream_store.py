"""Tokenised documents on disk: nothing lost, nothing made twice, nothing half-written."""

import itertools
import json
import pickle
import random

import numpy as np
import pytest
from stream_memory import Memory

from manyheads.data.stream import store as module
from manyheads.data.stream.source import Documents
from manyheads.data.stream.store import TokenStore, batches, pieces, stored
from manyheads.data.stream.tokenizer import train
from manyheads.data.tokenizer import BOS, EOS
from manyheads.errors import UserError

WORDS = ["hello", "world", "it's", "3", "naïve", "\n", " ", "  \n", "日本", "<eos>", "can't", "\t", "-", "🙂"]


def text(seed, words=400):
    dice = random.Random(seed)
    return "".join(dice.choice(WORDS) + dice.choice((" ", " ", "")) for _ in range(words))


@pytest.fixture(scope="module")
def tokenizer():
    return train([text(0, 3000)], 400)


def tokens_of(texts, tokenizer, cache, **options):
    source = Memory(texts, **options)
    return stored("train", Documents((source,)), tokenizer, "refuse", str(cache)), source


def test_documents_come_back_as_they_were(tokenizer, tmp_path):
    texts = [text(seed, 50) for seed in range(20)] + ["  spaces first", "\nline end first", "x"]
    store, _ = tokens_of(texts, tokenizer, tmp_path)
    assert len(store) == len(texts)
    for number, wanted in enumerate(texts):
        ids = store.document(number).tolist()
        assert (ids[0], ids[-1]) == (BOS, EOS)
        assert not {BOS, EOS} & set(ids[1:-1])
        assert ids[1:-1] == tokenizer.encode([wanted])[0]
        assert tokenizer.decode_document(ids) == wanted


@pytest.mark.parametrize("piece", [1, 7, 64])
@pytest.mark.parametrize("blocks", [None, 1, 50])
def test_long_documents_lose_nothing_where_they_are_cut(piece, blocks, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", piece)
    monkeypatch.setattr(module, "BATCH", 100)
    texts = [text(seed) for seed in range(3)]
    store, _ = tokens_of(texts, tokenizer, tmp_path, blocks=blocks)
    assert [tokenizer.decode_document(store.document(n)) for n in range(3)] == texts
    assert store.ends[-1] == len(store.tokens)


def test_a_cut_before_a_word_changes_no_token(tokenizer, monkeypatch):
    wanted = " ".join(f"hello world{n}, it's naïve" for n in range(50))
    monkeypatch.setattr(module, "PIECE", 40)
    cut = [piece for piece, _ in pieces([wanted])]
    assert len(cut) > 20
    assert list(itertools.chain(*tokenizer.encode_pieces(cut))) == tokenizer.encode([wanted])[0]


def test_batches_keep_all_pieces_in_order():
    found = [(f"{n}" * 10, True) for n in range(9)]
    assert list(itertools.chain(*batches(found))) == found


def test_what_is_on_disk_is_not_made_again(tokenizer, tmp_path):
    store, first = tokens_of(["a", "b"], tokenizer, tmp_path)
    again, second = tokens_of(["a", "b"], tokenizer, tmp_path)
    assert (first.times_read, second.times_read) == (1, 0)
    assert again.tokens.tolist() == store.tokens.tolist()


def test_other_text_or_another_tokenizer_is_another_store(tokenizer, tmp_path):
    folders = {
        tokens_of(["a", "b"], tokenizer, tmp_path)[0].folder,
        tokens_of(["a b"], tokenizer, tmp_path)[0].folder,
        tokens_of(["a", "b"], train(["other words, other words"], 300), tmp_path)[0].folder,
    }
    assert len(folders) == 3


def test_a_failure_leaves_nothing_that_passes_for_whole(tokenizer, tmp_path):
    with pytest.raises(UserError, match="memory: a document is empty; mend it"):
        tokens_of(["a", " ", "b"], tokenizer, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    skipped = stored("train", Documents((Memory(["a", " ", "b"]),)), tokenizer, "skip", str(tmp_path))
    assert len(skipped) == 2


def test_what_was_left_out_is_said_at_every_run(tokenizer, tmp_path, caplog):
    for _ in range(2):
        caplog.clear()
        stored("train", Documents((Memory(["a", " ", ""]),)), tokenizer, "skip", str(tmp_path))
        assert "train: 2 documents left out: memory: a document is empty" in caplog.text


@pytest.mark.parametrize("name", ["tokens.bin", "ends.bin", "about.json"])
def test_a_damaged_store_is_made_again(name, tokenizer, tmp_path):
    store, _ = tokens_of(["hello world"] * 9, tokenizer, tmp_path)
    wanted = store.tokens.tolist()
    path = store.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again, source = tokens_of(["hello world"] * 9, tokenizer, tmp_path)
    assert source.times_read == 1
    assert again.tokens.tolist() == wanted


def test_tokens_stay_on_disk_and_a_copy_sends_none_of_them(tokenizer, tmp_path):
    store, _ = tokens_of([text(1)], tokenizer, tmp_path)
    assert isinstance(store.tokens, np.memmap)
    assert store.tokens.dtype == "uint16"
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    copy = pickle.loads(sent)
    assert isinstance(copy, TokenStore)
    assert copy.tokens.tolist() == store.tokens.tolist()
    assert json.loads((store.folder / "about.json").read_text())["documents"] == 1
