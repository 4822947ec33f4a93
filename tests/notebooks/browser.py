"""A headless Chromium, and a web server that notes everything that is asked of it."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = None if CHROMIUM and DRIVER else "needs Chromium and its driver: apt-get install chromium chromium-driver"

# Chromium asks for it by itself, whatever the page holds.
_ICON = "/favicon.ico"
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


_OVERFLOWING = """
    return [...document.querySelectorAll("SELECTOR, SELECTOR *")].filter(each => {
        const box = each.getBoundingClientRect(), style = getComputedStyle(each);
        const isTooFull = each.clientWidth && each.scrollWidth > each.clientWidth + 1 && style.overflowX === "visible";
        return each.checkVisibility() && (isTooFull || box.left < 0 || box.right > innerWidth);
    }).map(each => each.outerHTML.slice(0, 200))"""
_TEXTS = """
    const ground = each => {
        const colour = getComputedStyle(each).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" && each.parentElement ? ground(each.parentElement) : colour;
    };
    const holdsText = each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll("SELECTOR *")]
        .filter(each => holdsText(each) && each.checkVisibility())
        .map(each => ({words: each.textContent, colour: getComputedStyle(each).color, ground: ground(each)}))"""


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`, 0 to 1, as WCAG defines it."""
    channels = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True)
class PaintedText:
    """A piece of text as it is painted.

    Attributes:
        words: What it says.
        colour: Its colour.
        ground: The colour behind it.
    """

    words: str
    colour: str
    ground: str

    @property
    def contrast(self) -> float:
        """The contrast ratio, 1 to 21, as WCAG defines it; 4.5 is asked of text."""
        darker, lighter = sorted((luminance(self.colour), luminance(self.ground)))
        return (lighter + 0.05) / (darker + 0.05)


class Browser:
    """Chromium, as a reader would use it.

    Attributes:
        driver: Selenium's driver, for whatever is not done here.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False, sharp: bool = False) -> None:
        """Open a page in a window of that size, in the light or the dark theme, on a plain or a sharp screen."""
        self.resize(width=width, height=height, sharp=sharp)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[theme])
        self.driver.get_log("performance")
        self.driver.get(url)

    def resize(self, *, width: int, height: int, sharp: bool = False) -> None:
        """Give the window that size."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1.5 if sharp else 1,
            mobile=False,
        )

    def run(self, script: str) -> Any:
        """Run a piece of JavaScript in the page; returns what it returns."""
        return self.driver.execute_script(script)

    def requested(self) -> list[str]:
        """Return what was asked for since `look`, reached or not; not what the page held itself, nor its icon."""
        logged = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in logged if each["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:") and not url.endswith(_ICON)]

    def overflowing(self, selector: str) -> list[str]:
        """Return what leaves the window, or holds more than there is room for, of the elements that match."""
        found: list[str] = self.run(_OVERFLOWING.replace("SELECTOR", selector))
        return found

    def texts(self, selector: str) -> list[PaintedText]:
        """Return the pieces of text in the elements that match."""
        return [PaintedText(**each) for each in self.run(_TEXTS.replace("SELECTOR", selector))]

    def photograph(self, path: Path, selector: str = "body") -> None:
        """Save a picture of the first element that matches, however long it is."""
        box = self.run(f"const box = document.querySelector({selector!r}).getBoundingClientRect(); return box.toJSON()")
        clip = {name: box[name] for name in ("x", "y", "width", "height")} | {"scale": 1}
        taken = self._command("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _command(self, name: str, **arguments: object) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile in the given folder."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in [*_FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class PageServer:
    """Serves pages on loopback, and notes what is asked of it.

    Attributes:
        pages: The pages, by their path.
        asked: The paths that were asked for, in order.
    """

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []
        page_server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != _ICON:
                    page_server.asked.append(self.path)
                page = page_server.pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((page or "").encode())

            do_POST = do_GET  # noqa: N815  # the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, path: str, page: str) -> str:
        """Serve a page; returns its address."""
        self.pages[path] = page
        return self.url + path

    def __enter__(self) -> PageServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
