"""Takes the README's picture of a turn: `python -m tests.notebooks.screenshot`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.notebook import to_html
from notebooks import run

from .browser import MISSING, PageServer, open_browser

WHERE = Path(__file__).parents[2] / "docs" / "images" / "transcript.png"
QUESTION = "How long do two lithium batteries last?"


def make_page(question: str = QUESTION) -> str:
    """Return the page of a turn over the notebooks' documents, with pictures."""
    with (
        LocalService(run.FOLDER / "documents") as service,
        ChatClient(service.api_key, base_url=service.base_url) as client,
    ):
        turn = client.create(service.index_ids).ask(question)
        return to_html(turn, standalone=True, client=client, thumbnails=3)


def main() -> None:
    """Take the picture and save it."""
    if MISSING:
        sys.exit(f"The picture {MISSING}")
    WHERE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, PageServer() as server, open_browser(Path(profile)) as browser:
        browser.look(server.add("/", make_page()), width=840, sharp=True)
        browser.photograph(WHERE)
    print(f"{WHERE} is {WHERE.stat().st_size // 1000} kB large.")


if __name__ == "__main__":
    main()
