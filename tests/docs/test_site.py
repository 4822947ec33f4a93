"""The built site in a real browser, as it lies on the disk: it can be searched, and read on a phone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ..notebooks.browser import MISSING, Browser, open_browser

ROOT = Path(__file__).parent.parent.parent
DESK, PHONE = 1200, 390

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=str(MISSING)), pytest.mark.xdist_group("site")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("page", ["index.html", "reference/core.html"])
def test_the_pages_can_be_searched_from_the_disk(site: Path, browser: Browser, page: str, width: int) -> None:
    browser.look((site / page).as_uri(), width=width)
    if width == PHONE:
        browser.driver.find_element(By.CSS_SELECTOR, "label.md-header__button[for=__search]").click()
    field = browser.driver.find_element(By.CSS_SELECTOR, "input.md-search__input")
    WebDriverWait(browser.driver, 20).until(lambda _: field.is_displayed())
    field.send_keys("PromptTooLongError")
    found = WebDriverWait(browser.driver, 20).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, ".md-search-result__link")
    )
    assert any("PromptTooLongError" in each.text for each in found)
    found[0].click()
    WebDriverWait(browser.driver, 20).until(lambda driver: "core.html?h=" in driver.current_url)
    assert browser.requested()
    assert all(url.startswith("file:") for url in browser.requested())


def test_on_a_phone_no_page_is_wider_than_the_screen(site: Path, browser: Browser) -> None:
    wide = []
    for page in sorted(site.rglob("*.html")):
        browser.look(page.as_uri(), width=PHONE)
        if browser.run("return document.documentElement.scrollWidth") > PHONE:
            wide.append(page.name)
    assert wide == []
