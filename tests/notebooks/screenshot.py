"""Takes the picture of a turn in JupyterLab that the README and the documentation show: `make screenshot`."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from notebooks import run

from .browser import MISSING, open_browser
from .lab import open_lab

WHERE = Path(__file__).parents[2] / "docs" / "images" / "transcript.png"
SETUP = f"""
from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.notebook import show

service = LocalService({str(run.FOLDER / "documents")!r}).start()
client = ChatClient(service.api_key, base_url=service.base_url)
session = client.create(service.index_ids)
"""
CELL = 'turn = show(session.stream("How long do two lithium batteries last?"), thumbnails=True)'
CELL_SELECTOR = ".jp-Notebook .jp-Cell:nth-child(2)"
_HAS_PICTURES = "[...output.querySelectorAll('img')].some(each => each.complete && each.naturalWidth)"
# A notebook has little room, and this picture none for what is not the cell.
_TIDY = """
    document.activeElement.blur();
    for (const each of document.querySelectorAll(".jp-Collapser, .jp-cell-toolbar, .jp-Toolbar")) each.remove();
    document.querySelectorAll(".jp-Notebook .jp-Cell")[1].querySelector(".jp-InputArea-prompt").textContent = "[1]:";"""


_PLACE = f"JSON.stringify(output.closest({CELL_SELECTOR!r}).getBoundingClientRect())"


def take(width: int = 1000) -> bytes:
    """Return the picture, as a PNG of 256 colours."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as profile,
        open_browser(Path(profile)) as browser,
        open_lab(browser, Path(folder), [SETUP, CELL]) as lab,
        tempfile.TemporaryDirectory() as taken,
    ):
        lab.run_cells()
        lab.wait_for(1, _HAS_PICTURES)
        browser.run("window.jupyterapp.shell.collapseLeft(); window.jupyterapp.shell.collapseRight()")
        browser.resize(width=width, height=1400, sharp=True)
        browser.run(_TIDY)
        places = [""]
        # JupyterLab lays itself out some time after its window has changed.
        lab.wait(lambda: places.append(lab.output(1, _PLACE)) or (len(places) > 10 and len(set(places[-10:])) == 1))
        picture = Path(taken) / "cell.png"
        browser.photograph(picture, CELL_SELECTOR)
        return in_few_colours(picture.read_bytes())


def in_few_colours(png: bytes) -> bytes:
    """Return a PNG as one of 256 colours, which is a quarter as large."""
    file = io.BytesIO()
    colours = Image.open(io.BytesIO(png)).convert("RGB")
    colours.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def save(take: Callable[[], bytes], where: Path) -> None:
    """Take a picture and save it."""
    if MISSING:
        sys.exit(f"The picture {MISSING}")
    where.write_bytes(take())
    print(f"{where} is {where.stat().st_size // 1000} kB large.")


if __name__ == "__main__":
    save(take, WHERE)
