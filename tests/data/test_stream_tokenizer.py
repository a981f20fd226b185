"""The tokenizer of text streams: lossless, and exact about bytes."""

import pytest
from stream_memory import Memory

from manyheads.data.stream.learn import learnt
from manyheads.data.stream.source import Documents
from manyheads.data.stream.tokenizer import StreamTokenizer, train
from manyheads.data.tokenizer import SPECIALS
from manyheads.errors import UserError

TEXTS = ["hello world, hello", "naïve 日本 🙂", "  two", "<bos> typed", "a\r\n\tb"]


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS * 3, 350)


def test_text_comes_back_and_its_bytes_are_counted(tokenizer):
    for text, ids in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
        assert tokenizer.decode_document(ids) == text
        assert tokenizer.bytes[ids].sum() - 1 == len(text.encode())
        assert min(ids) >= len(SPECIALS)


def test_special_tokens_have_no_bytes(tokenizer):
    assert tokenizer.bytes[: len(SPECIALS)].tolist() == [0] * len(SPECIALS)
    assert (tokenizer.bytes[len(SPECIALS) :] > 0).all()


def test_the_spec_has_one_vocabulary(tokenizer):
    spec = tokenizer.spec(64)
    assert (spec.kind, spec.longest, spec.joint) == ("language_model", 64, True)
    assert spec.source_vocabulary == spec.target_vocabulary == tokenizer.size


def test_a_saved_one_cuts_alike(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = StreamTokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert loaded.digest == tokenizer.digest


def test_mistakes_are_sentences(tmp_path):
    with pytest.raises(UserError, match="there is no such tokenizer file"):
        StreamTokenizer.load(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text('{"both": 1}')
    with pytest.raises(UserError, match="is no tokenizer of a language model"):
        StreamTokenizer.load(tmp_path / "bad.json")
    with pytest.raises(UserError, match=r"data\.vocabulary=100 is too small"):
        train(TEXTS, 100)


def test_it_is_learnt_once_and_from_the_beginning_alone(tmp_path):
    first = Memory(["aaaa bbbb " * 50, "cccc dddd " * 50])
    found = learnt(Documents((first,)), 400, 100, "refuse", str(tmp_path))
    words = [found.decode([number]) for number in range(found.size)]
    assert " bbbb" in words
    assert " cccc" not in words
    again = Memory(first.texts)
    assert learnt(Documents((again,)), 400, 100, "refuse", str(tmp_path)).digest == found.digest
    assert again.times_read == 0
    assert learnt(Documents((again,)), 400, 1000, "refuse", str(tmp_path)).digest != found.digest
