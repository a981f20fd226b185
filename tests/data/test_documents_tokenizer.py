"""Documents' tokenizer: it says which characters each token stands for, whatever the script and the case."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.data.documents.tokenizer import TextTokenizer, train, train_once
from manyheads.errors import UserError

TEXTS = ["The patient has no fever.\n\nPLAN: rest.", "Fièvre à 39 °C, ÉTAT général altéré", "İstanbul ẞ ǅ 👩‍👩‍👧 ﬁ"] * 3
TABLES = {lowercase: train(TEXTS, 330, lowercase) for lowercase in (False, True)}


@pytest.mark.parametrize("lowercase", [False, True])
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.text("aÉİẞß👧\u0301 \n\t.", max_size=30)))
def test_tokens_stand_for_all_characters_in_order(lowercase, text):
    [tokens] = TABLES[lowercase].trace([text])
    spans = tokens.characters.tolist()
    assert len(spans) == len(tokens.ids)
    assert all(begin <= end for begin, end in spans)
    assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)
    assert set().union(*(range(*span) for span in spans)) == set(range(len(text)))


@pytest.mark.parametrize("lowercase", [False, True])
@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(codec="ascii"), max_size=60))
def test_a_tokens_characters_are_what_it_says(lowercase, text):
    """One byte a character: each token is its own characters, but for the space before the text."""
    tokenizer = TABLES[lowercase]
    [tokens] = tokenizer.trace([text])
    said = [tokenizer._table.decode([number]) for number in tokens.ids.tolist()]
    shown = [text[begin:end] for begin, end in tokens.characters.tolist()]
    whole = text.lower() if lowercase else text
    assert "".join(said) == (" " + whole if text else "")
    assert [word.lower() if lowercase else word for word in shown[1:]] == said[1:]


def test_ids_are_the_same_with_and_without_characters():
    for tokenizer in TABLES.values():
        assert tokenizer.encode(TEXTS) == [tokens.ids.tolist() for tokens in tokenizer.trace(TEXTS)]


def test_texts_come_back_and_specials_typed_in_them_are_text():
    text = "a <eos> b <sep> Ünï"
    assert TABLES[False].decode(TABLES[False].encode([text])[0]) == text
    assert TABLES[True].decode(TABLES[True].encode([text])[0]) == text.lower()
    assert min(TABLES[False].encode([text])[0]) > 4


def test_saved_and_loaded_it_cuts_alike(tmp_path):
    TABLES[True].save(tmp_path / "t.json")
    loaded = TextTokenizer.load(tmp_path / "t.json")
    assert loaded.digest == TABLES[True].digest
    assert loaded.lowercase
    assert loaded.encode(TEXTS) == TABLES[True].encode(TEXTS)
    assert TABLES[False].digest != TABLES[True].digest


def test_what_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "t.json").write_text('{"joint": true}')
    with pytest.raises(UserError, match=r"t\.json is no tokenizer of documents"):
        TextTokenizer.load(tmp_path / "t.json")
    with pytest.raises(UserError, match="there is no such tokenizer file"):
        TextTokenizer.load(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"data\.vocabulary=200 is too small"):
        train(TEXTS, 200, False)


def test_it_is_trained_once_for_a_content_and_its_options(tmp_path):
    content = [b"1" * 32, b"2" * 32]
    first = train_once(iter(TEXTS), content, 300, False, tmp_path)
    again = train_once(_never(), content, 300, False, tmp_path)
    assert again.digest == first.digest
    for changed in ((content[:1], 300, False), (content, 301, False), (content, 300, True)):
        with pytest.raises(AssertionError):
            train_once(_never(), *changed, tmp_path)


def _never():
    raise AssertionError("the texts were read")
    yield
