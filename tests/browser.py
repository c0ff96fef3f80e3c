"""A headless Chromium for tests of pages: Debian's, driven by selenium; where it lacks, tests are skipped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root needs it, and all pages are the tests' own
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # nothing moves while it is clicked
    "--hide-scrollbars",
    "--no-first-run",
    "--window-size=1400,1000",
)
SECONDS = 20
"""The most that a page may take to open, and a condition to come true."""


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium for the tests of a module; skip them where a part is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install 'lab[test]')")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian's packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver, env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"})
    opened = webdriver.Chrome(options=options, service=service)
    opened.set_page_load_timeout(SECONDS)
    opened.set_script_timeout(SECONDS)
    try:
        yield opened
    finally:
        opened.quit()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of a condition; fail after ``SECONDS``."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"not within {SECONDS} s: {what}")


def messages(opened: Any) -> list[str]:
    """Return what the page's scripts have complained of since the last call."""
    return [f"{entry['level']} {entry['message']}" for entry in opened.get_log("browser")]


def click(opened: Any, selector: str) -> None:
    """Click on an element as a person does, once it is in view."""
    element = opened.find_element("css selector", selector)
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()
