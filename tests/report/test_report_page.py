"""The page by itself: whole, closed to the network, and safe from what names hold."""

import re
from html.parser import HTMLParser

import pytest
from planted import run, sweep

from manyheads.report import html
from manyheads.report.content import gather
from manyheads.report.svg import Scale, scale

VOID = {"meta", "link", "wbr"}


class Strict(HTMLParser):
    """Every element is closed, in order, and no id is given twice."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


@pytest.fixture
def text(tmp_path):
    scores = {"dense": [0.90, 0.94], "linear": [0.6, 0.5]}
    return html.page(gather([sweep(tmp_path / "sweep", scores, {"dense": 1000, "linear": 4000})]))


def test_the_page_is_whole_and_has_all_its_parts(text):
    tags = parsed(text).tags
    assert tags.count("svg") == 3
    assert tags.count("table") == 3
    assert tags.count("main") == 1
    for said in ("Take dense", "majority" and "tfidf", "python train.py attention=linear seed=2", "Differences"):
        assert said in text


def test_nothing_is_fetched(text):
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:,)""", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_names_are_text_and_nothing_else(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    run(tmp_path / "0", evil, reason=evil, overrides=(f"note={evil}",), curve=[0.1, 0.2])
    run(tmp_path / "1", "b", 1, status="failed", reason=evil)
    text = html.page(gather([tmp_path]))
    parser = parsed(text)
    assert parser.tags.count("script") == 1
    assert "img" not in parser.tags
    assert "<script>alert" not in text


def test_many_groups_are_told_apart(tmp_path):
    for number in range(20):
        run(tmp_path / str(number), f"attention{number}", score=number / 20, curve=[0.1, number / 20])
    text = html.page(gather([tmp_path]))
    parsed(text)
    assert "<polygon" in text
    assert text.count(" over attention") == 19  # the best with each


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-3.0, 5.0], [1e-6, 1e6], [1e9, 1e9 + 1], [0.5, 0.9]])
@pytest.mark.parametrize("log", [False, True])
def test_scales_hold_their_values_and_ticks(values, log):
    found = scale(values, 10, 110, log)
    assert all(10 <= found.at(value) <= 110 for value in [*values, *found.ticks()])
    assert 1 <= len(found.ticks()) <= 12


def test_a_scale_is_a_straight_line():
    assert [Scale(0, 10, 0, 100).at(v) for v in (0, 2.5, 10)] == [0, 25, 100]
    assert [Scale(1, 100, 100, 0, log=True).at(v) for v in (1, 10, 100)] == [100, 50, 0]
