import json

import pytest

from manyheads.data.tokenizer import BOS, EOS, SPECIALS, PairTokenizer, train, train_once
from manyheads.errors import UserError

SOURCES = ["the old dog sleeps, and the cat walks.", "seven green houses stand here!", "She isn't old."] * 4
TARGETS = ["der alte Hund schläft, und die Katze läuft.", "sieben grüne Häuser stehen hier!", "Sie ist nicht alt."] * 4
ODD = [
    "hello",
    " leading space",
    "  two  inside   three ",
    "",
    " ",
    "tab\tand\u00a0no-break\u2028line\u2003em",
    "Grüße, Äpfel, Öl — ß",
    "👩‍👩‍👧 😀 né e\u0301",
    "<eos> <pad>a<unk></s>[SEP]",
    "中文 العربية",
    "\r\x00\x7f",
    "Ġ Ċ",  # what byte-level tables write for a space and a newline
]


@pytest.fixture(scope="module")
def tokenizer():
    return train(SOURCES, TARGETS, 400, joint=True, lowercase=False)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("text", ODD)
def test_any_text_comes_back_as_it_was(text, joint):
    tokenizer = train(SOURCES, TARGETS, 400, joint, lowercase=False)
    assert tokenizer.decode_target(tokenizer.encode_target([text])) == [text]


def test_specials_frame_the_sides_and_nothing_typed_is_special(tokenizer):
    for text in ODD:
        [source], [target] = tokenizer.encode_source([text]), tokenizer.encode_target([text])
        assert source[-1] == EOS
        assert (target[0], target[-1]) == (BOS, EOS)
        assert target[1:-1] == source[:-1]
        assert not any(i < len(SPECIALS) for i in source[:-1])


def test_words_split_off_punctuation_wherever_they_stand(tokenizer):
    [[*first, _], [*inside, _]] = tokenizer.encode_source(["old", "the old, "])
    assert "".join(str(first))[1:-1] in str(inside)


def test_vocabulary_is_a_bound_and_specials_come_first(tokenizer):
    assert len(SPECIALS) + 256 < tokenizer.source_size <= 400
    assert tokenizer.source_size == tokenizer.target_size
    assert train(SOURCES, TARGETS, 300, joint=True, lowercase=False).source_size == 300


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(UserError, match=r"data.vocabulary=100 .*261"):
        train(SOURCES, TARGETS, 100, joint=True, lowercase=False)


def test_one_table_a_side_learns_its_side_alone():
    apart = train(SOURCES, TARGETS, 400, joint=False, lowercase=False)
    assert not apart.joint
    assert len(apart.encode_source(["the old dog"])[0]) < len(apart.encode_target(["the old dog"])[0]) - 1


def test_lowercase_is_of_both_sides_and_survives_saving(tmp_path):
    small = train(SOURCES, TARGETS, 400, joint=True, lowercase=True)
    small.save(tmp_path / "t.json")
    for tokenizer in (small, PairTokenizer.load(tmp_path / "t.json")):
        assert tokenizer.decode_target(tokenizer.encode_target(["Ein GROSSER Öltank"])) == ["ein grosser öltank"]


@pytest.mark.parametrize("joint", [True, False])
def test_a_saved_tokenizer_does_the_same(joint, tmp_path):
    made = train(SOURCES, TARGETS, 400, joint, lowercase=False)
    made.save(tmp_path / "tokenizer.json")
    read = PairTokenizer.load(tmp_path / "tokenizer.json")
    assert (read.joint, read.source_size, read.target_size) == (made.joint, made.source_size, made.target_size)
    assert read.encode_source(ODD) == made.encode_source(ODD)
    assert read.encode_target(ODD) == made.encode_target(ODD)
    assert list(tmp_path.iterdir()) == [tmp_path / "tokenizer.json"]


def test_decoding_drops_specials_and_survives_broken_bytes(tokenizer):
    [[_, *ids, _]] = tokenizer.encode_target(["old ü"])
    assert tokenizer.decode_target([[BOS, *ids, EOS, 0, 0], [BOS, *ids[:-1], EOS]])[0] == "old ü"
    assert tokenizer.decode_target([[]]) == [""]
    assert "\ufffd" in tokenizer.decode_target([[tokenizer.encode_target(["é"])[0][2]]])[0]


@pytest.mark.parametrize("text", ["", "{", '{"joint": true}', '{"joint": true, "lowercase": false, "both": {}}', "[]"])
def test_a_damaged_file_is_said_in_one_sentence(text, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"tokenizer\.json is no tokenizer"):
        PairTokenizer.load(path)
    with pytest.raises(UserError, match="no such tokenizer"):
        PairTokenizer.load(tmp_path / "absent.json")


def test_the_cache_answers_for_the_same_texts_and_options_only(tmp_path):
    options = {"vocabulary": 300, "joint": True, "lowercase": False, "cache": tmp_path}
    train_once(SOURCES, TARGETS, **options)
    [path] = (tmp_path / "tokenizers").iterdir()
    content, stamp = path.read_bytes(), path.stat().st_mtime_ns
    train_once(SOURCES, TARGETS, **options)
    assert path.stat().st_mtime_ns == stamp
    path.unlink()
    train_once(SOURCES, TARGETS, **options)
    assert path.read_bytes() == content
    train_once(SOURCES, TARGETS, **options | {"lowercase": True})
    train_once([*SOURCES[:-1], SOURCES[-1] + TARGETS[0]], TARGETS[1:], **options)
    assert len(list((tmp_path / "tokenizers").iterdir())) == 3


def test_a_damaged_cache_is_made_again(tmp_path):
    options = {"vocabulary": 300, "joint": True, "lowercase": False, "cache": tmp_path}
    train_once(SOURCES, TARGETS, **options)
    [path] = (tmp_path / "tokenizers").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    train_once(SOURCES, TARGETS, **options)
    assert path.read_bytes() == whole
    json.loads(whole)
