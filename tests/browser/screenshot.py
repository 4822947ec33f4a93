"""Takes the picture of the web chat that the documentation shows: `make screenshot`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.by import By

from llama_cloud_chat.local import LocalService

from ..notebooks.browser import MISSING, open_browser
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
        picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    """Take the picture and save it."""
    if MISSING:
        sys.exit(f"The picture {MISSING}")
    WHERE.write_bytes(take())
    print(f"{WHERE} is {WHERE.stat().st_size // 1000} kB large.")


if __name__ == "__main__":
    main()
