"""Takes the picture of the web chat that the documentation shows: `make screenshot`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from selenium.webdriver.common.by import By

from llama_cloud_chat.local import LocalService

from ..notebooks.browser import open_browser
from ..notebooks.screenshot import in_few_colours, save
from .test_web_chat import ROOT, answered, ask, chat, until

WHERE = ROOT / "docs" / "images" / "web-chat.png"
# A browser loads what is out of sight late, or never.
_ALL_SEEN = """
    const isSeen = each => each.checkVisibility() && each.getBoundingClientRect().top < innerHeight;
    return [...document.images].every(each => each.complete || !isSeen(each));"""
QUESTIONS = ["Who books hotels?", "And how much may they cost a night?"]


def take(width: int = 800, height: int = 1010) -> bytes:
    """Return the picture, as a PNG of 256 colours."""
    with (
        tempfile.TemporaryDirectory() as profile,
        LocalService(ROOT / "examples/handbook") as service,
        chat(service) as address,
        open_browser(Path(profile)) as browser,
    ):
        browser.look(address, width=width, height=height, sharp=True)
        for number, question in enumerate(QUESTIONS, start=1):
            ask(browser, question)
            until(lambda seen=number: len(browser.driver.find_elements(By.CSS_SELECTOR, "article.assistant")) == seen)
            answered(browser)
        until(lambda: browser.run(_ALL_SEEN), "the page pictures")
        return in_few_colours(browser.driver.get_screenshot_as_png())


if __name__ == "__main__":
    save(take, WHERE)
