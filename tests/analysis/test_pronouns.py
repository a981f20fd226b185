"""The probe: its sentences are balanced, its tokens are the right ones, and planted heads are found."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from command import refused, run, train
from tiny import JOINT, decoder_only, encoder_decoder, grown

from manyheads.errors import UserError
from manyheads.measure.pronouns.probe import answers, summed, wilson
from manyheads.measure.pronouns.reading import Places, Row, rows
from manyheads.measure.pronouns.report import draw, markdown, words
from manyheads.measure.pronouns.sentences import KINDS, sentences

ASKED = sentences(40, 0)


class Words:
    """Words are tokens, but for those in `cut`, of which each letter is one."""

    def __init__(self, *cut: str) -> None:
        self.cut, self.known = cut, ["<pad>", "<bos>"]

    def encode(self, texts):
        return [[self._id(piece) for piece in self._pieces(f" {text}")] for text in texts]

    def encode_source(self, texts):
        return self.encode(texts)

    def pieces(self, ids):
        return [self.known[i] for i in ids]

    source_pieces = pieces

    def _pieces(self, text):
        for word in re.findall(r" ?\w+|[^\w ]", text):
            yield from (word if word.strip() in self.cut else [word])

    def _id(self, piece):
        if piece not in self.known:
            self.known.append(piece)
        return self.known.index(piece)


def loaded(kind: str, tokenizer, made=None):
    spec = type(JOINT)(**{**JOINT.__dict__, "source_vocabulary": 99, "target_vocabulary": 99})
    model = grown((made or decoder_only)(spec=spec))
    return SimpleNamespace(model=model, tokenizer=tokenizer, spec=SimpleNamespace(kind=kind))


def test_places_are_those_of_the_words():
    for one in ASKED:
        text = one.text
        nouns = [text[slice(*span)] for span in (one.referent, one.other)]
        assert text[slice(*one.pronoun)] in ("He", "She", "It", "They")
        assert all(re.search(rf"\bthe {noun}\b", text.lower()) for noun in nouns)
        assert nouns[0] != nouns[1]


def test_the_nearest_noun_is_right_in_half_of_every_kind():
    assert {one.kind for one in ASKED} == set(KINDS)
    for kind in KINDS:
        mine = [one for one in ASKED if one.kind == kind]
        assert len({one.text for one in mine}) == len(mine) == 40
        assert sum(one.nearest for one in mine) == 20
        for four in {one.four for one in mine}:
            assert sum(one.nearest for one in mine if one.four == four) == 2


def test_pronouns_speak_of_what_they_can_speak_of():
    for one in ASKED:
        noun, pronoun = (one.text[slice(*span)] for span in (one.referent, one.pronoun))
        assert (pronoun == "They") == (noun.endswith("s"))
        assert (pronoun == "He") == (noun in ("boy", "uncle", "brother", "grandfather"))
        assert (pronoun == "She") == (noun in ("girl", "aunt", "sister", "grandmother"))
        assert one.behind == (one.kind == "sense")


@pytest.mark.parametrize("cut", [(), ("grandfather", "the", "boxes")])
def test_tokens_spell_the_nouns(cut):
    tokenizer = Words(*cut)
    for one in ASKED:
        pieces = ["<bos>", *tokenizer.pieces(tokenizer.encode([one.text])[0])]
        for span in (one.pronoun, one.referent, one.other):
            assert "".join(pieces[token] for token in Places(pieces).of(span)).strip() == one.text[slice(*span)]


@pytest.mark.parametrize(("kind", "made"), [("language_model", decoder_only), ("translation", encoder_decoder)])
def test_rows_are_the_pronouns_of_every_attention(kind, made):
    run, seen = loaded(kind, Words(), made), set()
    for row in rows(run, ASKED):
        heads, keys = row.weights.shape
        assert heads == 4
        assert keys > max(row.referent + row.other)
        torch.testing.assert_close(row.weights.sum(-1), torch.ones(4).double())
        seen.add((row.name, row.sentence.kind))
    left_out = {"sense"} if kind == "language_model" else set()
    stack = "decoder" if kind == "language_model" else "encoder"
    assert seen == {(f"{stack}.{layer}", of) for layer in (0, 1) for of in set(KINDS) - left_out}


def test_a_vocabulary_that_knows_no_such_words_is_refused_in_a_sentence():
    nouns = {one.text[slice(*span)] for one in ASKED for span in (one.referent, one.other)}
    with pytest.raises(UserError, match=r"all but 0 of 160 English sentences into bits"):
        list(rows(loaded("language_model", Words(*nouns)), ASKED))


def test_a_run_without_text_is_refused():
    with pytest.raises(UserError, match="data=timeseries reads no sentences"):
        list(rows(loaded("timeseries", Words()), ASKED))


def planted() -> dict:
    """Head 0 reads what is spoken of, head 1 the nearest noun, head 2 something else, head 3 nothing."""
    found = []
    for one in ASKED:
        referent, other = (2, 6) if one.referent < one.other else (6, 2)
        weights = torch.zeros(4, 9)
        weights[0, referent] = weights[1, 6] = weights[2, 0] = 1.0
        found += answers(Row("encoder.1", one, weights, [referent], [other]))
    return summed(found)


def test_planted_heads_are_told_apart():
    found = planted()
    shares = [(one["found"], one["prefers"]) for one in found["heads"]]
    assert shares == [(1, 1), (0.5, 0.5), (0, 0), (0, 0)]
    assert found["nearest_noun"] == 0.5
    assert all(share["prefers"] == 0.5 for share in found["heads"][1]["kinds"].values())
    best = found["best"]
    assert (best["attention"], best["head"], best["judged_on"]) == ("encoder.1", 0, 1)
    assert best["sentences"] == 80
    assert best["interval"] == wilson(20, 20)
    assert "better than the nearest noun" in words(found)
    assert json.loads(json.dumps(found))["heads"] == found["heads"]


def test_the_report_has_every_head_and_the_baseline():
    found = planted()
    table = markdown(found, "the command")
    assert table.count("| encoder.1 |") == 4
    assert "| the nearest noun | | 50% | 50% |" in table
    draw(found)


def test_the_interval_is_wilsons():
    low, high = wilson(7, 10)
    # Where a share of p itself would be 7 of 10 by 1.96 standard errors: p ± 1.96 √(p (1 − p) / 10).
    for p, way in ((low, 1), (high, -1)):
        assert p + way * 1.96 * (p * (1 - p) / 10) ** 0.5 == pytest.approx(0.7)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.slow
def test_a_run_is_asked(tmp_path):
    folder = tmp_path / "run"
    done = train("trainer.max_steps=2", "test=false", "data.vocabulary=2000", "data.pairs=3000", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("scripts/benchmark.py", "pronouns", f"run={folder}", "each=16", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Head" in done.stdout
    assert (folder / "figures" / "pronouns.png").is_file()
    assert "each=2 is too few" in refused(
        run("scripts/benchmark.py", "pronouns", f"run={folder}", "each=2", cwd=tmp_path)
    )
