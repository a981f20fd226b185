"""report.html as a user has it: in Chromium."""

import pytest
from planted import run, sweep

from browser import PHONE, browser
from manyheads.report import report

NAME = "[...row.cells[0].childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data).join('')"
FIRST = f"[...document.querySelectorAll('table')[0].tBodies[0].rows].map(row => {NAME})"
"""Names in the first table, without what is said on top of them."""


@pytest.fixture
def page(tmp_path):
    scores = {"dense": [0.90, 0.94, 0.98], "sliding_window": [0.92, 0.93, 0.94], "linear": [0.6, 0.5, 0.7]}
    folder = sweep(tmp_path / "sweep", scores, {"dense": 1000, "sliding_window": 2000, "linear": 4000})
    run(folder / "9", "dense", 4, status="failed", reason="the loss is <b>NaN</b>")
    return report([folder])[0]


@pytest.mark.slow
def test_the_page_loads_sorts_and_shows(page, tmp_path):
    with browser() as open_page:
        open_page.open(page)
        assert open_page.errors() == []
        assert open_page.run("document.querySelectorAll('figure svg').length") == 3
        assert open_page.run("Math.min(...[...document.querySelectorAll('svg')].map(x => x.clientWidth))") > 200
        _sorts(open_page)
        _tells(open_page)
        _hides(open_page)
        assert open_page.errors() == []
        assert open_page.picture(tmp_path / "page.png").stat().st_size > 10_000


def _sorts(open_page):
    from selenium.webdriver.common.keys import Keys

    assert open_page.run(FIRST) == ["dense", "sliding_window", "linear"]
    speed = open_page.run("[...document.querySelectorAll('table')[0].tHead.rows[0].cells]"
                          ".findIndex(cell => cell.textContent === 'tokens a second')")  # fmt: skip
    heading = open_page.driver.find_elements("css selector", "thead th")[speed]
    heading.find_element("tag name", "button").click()
    assert open_page.run(FIRST) == ["linear", "sliding_window", "dense"]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert open_page.run(FIRST) == ["dense", "sliding_window", "linear"]
    open_page.driver.find_elements("css selector", "thead button")[0].click()
    assert open_page.run(FIRST) == ["dense", "linear", "sliding_window"]


def _tells(open_page):
    """What a point is: under the mouse, and with the keyboard on it."""
    from selenium.webdriver import ActionChains

    assert open_page.run("document.getElementById('tip').hidden")
    mark = open_page.driver.find_element("css selector", "svg .mark")
    ActionChains(open_page.driver).move_to_element(mark).perform()
    assert open_page.wait("!document.getElementById('tip').hidden")
    assert "seed 1" in open_page.run("document.getElementById('tip').textContent")
    open_page.run("document.querySelectorAll('svg .mark')[4].focus()")
    assert "sliding_window" in open_page.run("document.getElementById('tip').textContent")


def _hides(open_page):
    open_page.driver.find_element("css selector", ".legend button").click()
    assert open_page.run("document.querySelectorAll('.away').length") >= 3
    open_page.driver.find_element("css selector", ".legend button").click()
    assert open_page.run("document.querySelectorAll('.away').length") == 0


@pytest.mark.slow
def test_a_phone_scrolls_down_and_not_sideways(page):
    with browser(*PHONE) as open_page:
        open_page.open(page)
        assert open_page.run("document.documentElement.scrollWidth <= innerWidth")
        light = open_page.run("getComputedStyle(document.body).backgroundColor")
        open_page.dark()
        assert open_page.run("getComputedStyle(document.body).backgroundColor") != light
        assert open_page.errors() == []
