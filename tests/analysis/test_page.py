"""The page holds the model's weights, shows text as text, and needs nothing from outside."""

import base64
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from every_attention import factory
from tiny import BOS, JOINT, decoder_only, encoder_decoder, encoder_only, grown

from manyheads.analysis import page as pages
from manyheads.analysis.capture import captured
from manyheads.analysis.labels import Labels, plain
from manyheads.analysis.page import Pass, page
from manyheads.attention.base import Attention
from manyheads.errors import UserError

EVIL = '</script><script>alert("1")</script><img src=x onerror=alert(2)>&amp;'


class Words:
    """Every id is a word, one of them a nasty one."""

    def pieces(self, ids):
        return [EVIL if i == 7 else f" word{i}" for i in ids]


def made(model, *titles, passes=None, ids=None) -> str:
    ids = torch.tensor([[BOS, 7, 8, 9, 7]]) if ids is None else ids
    given = [Pass([title], partial(model, ids, None)) for title in titles] if passes is None else passes
    return page(model, Labels(model, JOINT, Words()), given, "a <run> & more", "about it")


def content(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))


def weights(layer: dict, n: int, m: int) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(layer["weights"]), np.uint8).reshape(len(layer["heads"]), n, m)
    return (packed / 255) ** 2


@pytest.mark.parametrize("name", ["dense", "linear", "sigmoid", "gqa"])
def test_it_holds_the_weights_of_every_layer(name):
    model = grown(encoder_only(attention=factory(name)))
    ids = torch.tensor([[BOS, 7, 8, 9, 7, 11, 12]])
    found = content(made(model, "one", ids=ids))
    with torch.no_grad(), captured(model, 1) as reads:
        model(ids, None)
    (kind,) = found["entries"][0]["kinds"]
    assert [layer["name"] for layer in kind["layers"]] == ["encoder.0", "encoder.1"]
    for layer in kind["layers"]:
        whole = reads[layer["name"]][0].weights(torch.arange(7)).numpy()
        np.testing.assert_allclose(weights(layer, 7, 7), whole, atol=0.004)


def test_text_stays_text():
    text = made(grown(encoder_only()), EVIL)
    assert len(re.findall("<script", text)) == 2
    assert len(re.findall("</script", text)) == 2
    assert "<img" not in text
    entry = content(text)["entries"][0]
    assert entry["title"] == EVIL
    assert entry["kinds"][0]["queries"] == [" word1", EVIL, " word8", " word9", EVIL]
    assert "innerHTML" not in text


def test_nothing_is_loaded_from_outside():
    text = re.sub(r'(id="data">).*?</script>', r"\1</script>", made(grown(encoder_only()), "one"), flags=re.S)
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text


def test_an_encoder_and_a_decoder_read_themselves_and_each_other():
    model = grown(encoder_decoder())
    source, target = torch.tensor([[5, 6, 8]]), torch.tensor([[BOS, 9, 10, 11]])
    run = partial(model.teach, source, torch.tensor([3]), target, torch.tensor([4]))
    kinds = content(made(model, passes=[Pass(["pair"], run)]))["entries"][0]["kinds"]
    sides = [([*map(int, re.findall(r"\d+", str(kind["queries"])))], len(kind["keys"])) for kind in kinds]
    assert sides == [([5, 6, 8], 3), ([1, 9, 10], 3), ([1, 9, 10], 3)]
    assert [kind["across"] for kind in kinds] == [False, False, True]
    assert [kind["label"].partition(":")[0] for kind in kinds] == ["encoder", "decoder", "cross"]


def test_long_inputs_are_cut_and_the_rest_is_one_sum(monkeypatch):
    monkeypatch.setattr(pages, "TOKENS", 4)
    model, ids = grown(encoder_only()), torch.tensor([[5, 6, 8, 9, 10, 11, 12]])
    entry = content(made(model, "long", ids=ids))["entries"][0]
    assert "Of 7 tokens the first 4 are shown" in entry["note"]
    (kind,) = entry["kinds"]
    assert len(kind["queries"]) == len(kind["keys"]) == 4
    layer = kind["layers"][0]
    beyond = (np.frombuffer(base64.b64decode(layer["elsewhere"]), np.uint8).reshape(4, 4) / 255) ** 2
    np.testing.assert_allclose(weights(layer, 4, 4).sum(-1) + beyond, 1, atol=0.02)


def test_more_inputs_than_a_page_holds_are_counted(monkeypatch):
    monkeypatch.setattr(pages, "BYTES", 1)
    found = content(made(grown(encoder_only()), "first", "second", "third"))
    assert [entry["title"] for entry in found["entries"]] == ["first"]
    assert "Of 3 inputs the first 1 are shown" in found["about"]


def test_a_rule_without_weights_says_why():
    model = grown(decoder_only())
    for block in model.decoder.blocks:
        own = block.read_own.inner.attention
        own.__class__ = type("Strange", (type(own),), {"weights": Attention.weights})
    (kind,) = content(made(model, "one"))["entries"][0]["kinds"]
    assert kind["label"] == "the text reads itself"
    assert all("no `weights`" in layer["reason"] for layer in kind["layers"])


def test_no_input_is_no_page():
    with pytest.raises(UserError, match="nothing to draw"):
        made(grown(encoder_only()))


def test_pieces_on_axes_tell_where_words_begin():
    assert [plain(piece) for piece in (" cat", "ing", "<bos>", ".", "\n", " ", " $5")] == [
        *("cat", "·ing", "<bos>", ".", "⏎", "␣", "$5"),
    ]
