"""The page in a real browser: a token is picked, heads are picked, and text stays text."""

from functools import partial

import pytest
import torch
from test_page import EVIL, Words
from tiny import BOS, JOINT, encoder_decoder, grown

from browser import browser
from manyheads.analysis.capture import captured
from manyheads.analysis.labels import Labels
from manyheads.analysis.page import Pass, page


@pytest.mark.slow
def test_a_reader_picks_tokens_and_heads(tmp_path):
    model = grown(encoder_decoder())
    source, target = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[BOS, 9, 10, 11]])
    run = partial(model.teach, source, torch.tensor([5]), target, torch.tensor([4]))
    path = tmp_path / "page.html"
    path.write_text(page(model, Labels(model, JOINT, Words()), [Pass([EVIL], run)], "a run", "about"))
    with torch.no_grad(), captured(model, 1) as reads:
        run()
    with browser() as opened:
        opened.open(path)
        assert opened.run("document.querySelectorAll('#queries button').length") == 5
        opened.driver.find_elements("css selector", "#queries button")[1].click()
        cards = opened.driver.find_elements("css selector", "#heads button")
        assert len(cards) == 8
        cards[6].click()
        weights = reads["encoder.1"][0].weights(torch.tensor([1]))[2, 0]
        best = ["word5", "word6", EVIL, "word8", "word9"][int(weights.argmax())]
        said = opened.run("document.getElementById('said').textContent")
        assert said.startswith(f"“word6” reads “{best}” {100 * weights.max():.0f} %")
        opened.driver.find_elements("css selector", "#queries button")[1].send_keys("\ue014")  # arrow to the right
        assert opened.run("document.activeElement.textContent") == EVIL
        assert opened.run("document.querySelector('[aria-selected=true]').textContent") == EVIL
        opened.driver.find_elements("css selector", "#kinds button")[2].click()
        assert opened.run("document.querySelectorAll('#queries button').length") == 3
        assert opened.run("document.querySelectorAll('#keys span').length") == 5
        assert opened.run("document.querySelectorAll('img').length") == 0
        opened.size(390, 844)
        assert opened.run("document.documentElement.scrollWidth <= 390")
        assert not opened.errors()
