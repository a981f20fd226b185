"""Generators of formal languages against recognisers that need no explanation: a remainder, a counter, a stack."""

from collections import Counter
from itertools import product
from random import Random

import pytest
import torch

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.formal.draw import bins, split_of, words
from manyheads.data.formal.languages import Counted, Dyck, Parity
from manyheads.data.formal.paths import Paths
from manyheads.data.tokenizer import BOS
from manyheads.errors import UserError

LANGUAGES = {"parity": Parity(), "anbn": Counted(), "dyck": Dyck(2, 4), "dyck-1": Dyck(1, 3), "dyck-4": Dyck(4, 8)}
DEPTH = {"dyck": 4, "dyck-1": 3, "dyck-4": 8}
CLOSES = dict(zip(")]}>", "([{<", strict=True))


def nested(word: str, depth: int) -> list[str] | None:
    """The brackets that are open behind the word; None where it can begin no word."""
    stack = []
    for symbol in word:
        if symbol not in CLOSES:
            stack.append(symbol)
        elif not stack or stack.pop() != CLOSES[symbol]:
            return None
        if len(stack) > depth:
            return None
    return stack


def belongs(name: str, word: str) -> bool:
    if name == "parity":
        return word.count("1") % 2 == 0
    if name == "anbn":
        return word != "" and word == "a" * (len(word) // 2) + "b" * (len(word) // 2)
    return nested(word, DEPTH[name]) == []


def label(name: str, prefix: str) -> str:
    """What the labels mean, told by the rest that a prefix still allows."""
    if name == "parity":
        return "even" if belongs(name, prefix) else "odd"
    if name == "anbn":
        if belongs(name, prefix):
            return "end"
        ups = len(prefix) - len(prefix.lstrip("a"))
        downs = len(prefix) - ups
        if prefix != "a" * ups + "b" * downs or downs > ups:
            return "nothing"
        return "b" if downs else "a or b"
    stack = nested(prefix, DEPTH[name])
    if stack is None:
        return "nothing"
    return {opening: closing for closing, opening in CLOSES.items()}[stack[-1]] if stack else "end"


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_short_word_gets_the_labels_that_a_recogniser_gives_it(name):
    language = LANGUAGES[name]
    for length in range(5 if name == "dyck-4" else 7):
        for symbols in product(language.symbols, repeat=length):
            word = "".join(symbols)
            found = [language.labels[number] for number in language.mark(word)]
            assert found == [label(name, word[:end]) for end in range(length + 1)], word
            assert (language.mark(word)[-1] in language.accepting) == belongs(name, word), word


@pytest.mark.parametrize("name", LANGUAGES)
def test_half_of_the_words_belong_and_the_others_really_do_not(name):
    language, dice = LANGUAGES[name], Random(1)
    drawn = [language.draw(length, dice) for length in (4, 10, 16, 40) for _ in range(150)]
    assert Counter(map(len, drawn)) == {4: 150, 10: 150, 16: 150, 40: 150}
    own = [word for word in drawn if belongs(name, word)]
    assert 0.4 < len(own) / len(drawn) < 0.6
    assert all(language.mark(word)[-1] not in language.accepting for word in drawn if word not in own)
    assert all(set(word) <= set(language.symbols) for word in drawn)


def test_words_that_are_none_are_nearly_one():
    """A bracket of another kind, or two open at the end; one or two changed symbols."""
    dice = Random(2)
    for word in (LANGUAGES["dyck"].draw(20, dice) for _ in range(200)):
        stack = nested(word, 4)
        kinds = nested(word.replace("[", "(").replace("]", ")"), 4)
        assert stack == [] or kinds == [] or len(stack) == 2
    for word in (LANGUAGES["anbn"].draw(20, dice) for _ in range(200)):
        assert sum(one != other for one, other in zip(word, "a" * 10 + "b" * 10, strict=True)) <= 2


def test_walks_are_drawn_evenly_from_all_there_are():
    dice, paths = Random(0), Paths(depth=2, end=0)
    found = Counter("".join("ud"[not up] for up in paths.draw(6, dice)) for _ in range(4000))
    every = [w for w in map("".join, product("ud", repeat=6)) if nested(w.replace("u", "(").replace("d", ")"), 2) == []]
    assert sorted(found) == sorted(every)
    assert max(found.values()) < 1.25 * min(found.values())


def test_splits_share_no_word_and_lengths_are_as_asked():
    for name, language in LANGUAGES.items():
        sets = {split: words(language, range(2, 21), 200, split, Random(split)) for split in ("train", "val", "test")}
        for split, found in sets.items():
            assert found, name
            assert all(2 <= len(word) <= 20 and split_of(word) == split for word in found)
            assert split == "train" or len(set(found)) == len(found)
        assert not set(sets["train"]) & set(sets["test"])
        assert not set(sets["train"]) & set(sets["val"])
        assert len(sets["train"]) == 200


def test_there_may_be_fewer_words_than_asked():
    assert sorted(words(Parity(), range(2, 3), 100, None, Random(0))) == ["00", "01", "10", "11"]
    assert words(Counted(), range(3, 4), 10, None, Random(0)) == []


def test_parts_of_the_test_lie_behind_each_other():
    parts = bins(2, 40, [0.5, 1, 2, 4])
    ranges = {"0.5x": range(2, 21), "1x": range(21, 41), "2x": range(41, 81), "4x": range(81, 161)}
    assert parts == ranges


def data(*more: str):
    small = ("data.words=200", "data.tests=30", "data.longest=12", "data.batch_tokens=128")
    made = build.data(compose(["data=formal_language", *small, *more]))
    made.setup()
    return made


@pytest.mark.parametrize("language", ["parity", "anbn", "dyck"])
def test_batches_hold_the_words_and_their_labels(language):
    made = data(f"data.language={language}")
    assert made.spec.longest == max(map(len, made.words("test"))) + 1
    assert made.spec.labels == made.language.labels
    for split, loader in (("train", made.train_dataloader()), ("test", made.test_dataloader()[0])):
        for batch in loader:
            assert batch.tokens == int(batch.lengths.sum())
            assert batch.ids.numel() <= 8192
            for row, number in enumerate(batch.index.tolist()):
                word, length = made.words(split)[number], int(batch.lengths[row])
                assert batch.ids[row, :length].tolist() == made.encode(word)
                assert batch.ids[row, 0] == BOS
                assert batch.labels[row, :length].tolist() == made.language.mark(word)
                assert not batch.ids[row, length:].any()
                assert not batch.labels[row, length:].any()
            assert batch._each(torch.clone).lengths.equal(batch.lengths)


def test_words_are_the_same_whatever_the_run_is_seeded_with():
    assert data("seed=1").words("test") == data("seed=2").words("test")
    assert data().words("train") != data("data.corpus_seed=2").words("train")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.path=words.txt", r"data\.path=words\.txt.*generated"),
        ("data.kinds=5", r"data\.kinds=5 brackets: give 1 to 4"),
        ("data.depth=1", r"data\.depth=1 nests nothing"),
        ("data.longest=2", r"data\.shortest=2 and data\.longest=2 leave no lengths"),
        ("data.times=[2,1]", r"data\.times=\[2.*ascending"),
        ("data.times=[]", "ascending"),
        ("data.times=[0.01,1]", r"too few words of 2 to 12 symbols for 0\.01x"),
        ("data.tests=0", "have to be 1 or more"),
        ("data.batch_tokens=12", r"data\.longest=12 with their ⟨bos⟩"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(override, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        data(override)
    assert str(refused.value).endswith(".")


def test_a_strange_symbol_is_named():
    with pytest.raises(UserError, match=r"'x' in '0x1' is no symbol of data\.language=parity"):
        data().encode("0x1")
