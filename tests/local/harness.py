"""A plain HTTP client that speaks the wire, and something to read for the service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from llama_cloud_chat.local import LocalService

HANDBOOK = {
    "leave.md": "# Leave\n\nEveryone has 30 days of paid leave each year. Unused days expire in March.\n\n"
    "## Sick leave\n\nTell your team before ten o'clock. A doctor's note is needed from the third day.\n",
    "travel.txt": "Trains are preferred to planes for every distance below 600 km.\n\f"
    "Hotels are booked by the office. Breakfast is paid for by the company.\n",
    "tools/editor.rst": "Editors\n=======\n\nThe editor is a matter of taste. Licences are bought by the office.\n",
}


def write_docs(folder: Path, files: dict[str, str] = HANDBOOK) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def events_in(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data:"):
            yield json.loads(line[5:])


class Api:
    """The operations as bare HTTP."""

    def __init__(self, service: LocalService) -> None:
        self.http = httpx.Client(
            base_url=service.base_url, headers={"Authorization": f"Bearer {service.api_key}"}, timeout=20
        )

    def create(self, **body: Any) -> str:
        answer = self.http.post("/api/v1/chat", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["session_id"])

    def post(self, session_id: str, prompt: str = "Hello?", **body: Any) -> httpx.Response:
        params = body.pop("params", None)
        return self.http.post(
            f"/api/v1/chat/{session_id}/messages/stream",
            json={"index_ids": [], "prompt": prompt, **body},
            params=params,
        )

    def ask(self, session_id: str, prompt: str = "Hello?", **body: Any) -> list[dict[str, Any]]:
        answer = self.post(session_id, prompt, **body)
        assert answer.status_code == 200, answer.text
        return list(events_in(answer.text.splitlines()))

    @contextmanager
    def stream(self, session_id: str, prompt: str = "Hello?") -> Iterator[Iterator[dict[str, Any]]]:
        url = f"/api/v1/chat/{session_id}/messages/stream"
        with self.http.stream("POST", url, json={"index_ids": [], "prompt": prompt}) as answer:
            assert answer.status_code == 200
            yield events_in(answer.iter_lines())

    def events(self, session_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/api/v1/chat/{session_id}")
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["events"]
        return events

    def summary(self, session_id: str) -> dict[str, Any]:
        summary: dict[str, Any] = self.http.get(f"/api/v1/chat/{session_id}/summary").json()
        return summary
