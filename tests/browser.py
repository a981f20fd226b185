"""A real browser without a screen, for pages that users open: Debian's `chromium` and `chromium-driver`, by Selenium.

with browser() as page:
    page.open(path)                       # or a URL of this machine; nothing else can be reached
    page.driver.find_element("css selector", "th").click()
    page.wait("document.querySelectorAll('svg').length > 0")
    assert not page.errors()
    page.picture(tmp_path / "page.png")
"""

import base64
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)

FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


class Page:
    """driver: Selenium's own, for all that is not here."""

    def __init__(self, driver: Any) -> None:
        self.driver, self._told = driver, []

    def open(self, where: Path | str) -> None:
        self.driver.get(where.absolute().as_uri() if isinstance(where, Path) else where)

    def size(self, width: int, height: int) -> None:
        """The window in CSS pixels; a phone's is narrower than Chromium's own windows can be."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def dark(self, wanted: bool = True) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return ({expression});")

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """The expression's value as soon as it is true."""
        until = time.monotonic() + seconds
        while not (found := self.run(expression)):
            assert time.monotonic() < until, f"not within {seconds} s: {expression}"
            time.sleep(0.1)
        return found

    def errors(self) -> list[str]:
        """What the page complained about since it was opened: exceptions, and what it could not load."""
        self._told += [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return list(self._told)

    def picture(self, path: Path) -> Path:
        """The whole page as PNG, also what lies below the window's edge."""
        self.wait("document.readyState === 'complete' && document.documentElement.scrollWidth > 0")
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        asked = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@contextmanager
def browser(width: int = DESKTOP[0], height: int = DESKTOP[1]) -> Iterator[Page]:
    """A page in a browser of its own, which ends with the block. Skips the test where there is no browser."""
    driver = _driver()
    try:
        page = Page(driver)
        page.size(width, height)
        yield page
    finally:
        driver.quit()


def _driver() -> Any:
    program, drives = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or drives is None:
        pytest.skip("no Chromium with its chromedriver here: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Root has no sandbox, and pages of this repository's own need none.
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(drives))
