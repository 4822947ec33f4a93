"""What came, as a file that the tests of the core replay: the bytes, without the ids and keys in them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .wire import Answer, Place

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IS_ID = re.compile(r"(?:^|_)(?:id|ids|token|key|url)$")
_KEPT_HEADERS = ("content-type", "content-encoding", "retry-after")


class Scrubber:
    """Puts a made-up id in place of each real one, always the same for the same.

    Args:
        place: Where all this was; its key, ids and address are secrets.
    """

    def __init__(self, place: Place) -> None:
        self._fakes: dict[str, str] = {place.api_key: "llx-scrubbed", place.base_url: "https://service.example"}
        for secret in (*place.index_ids, *place.scope.values()):
            self._learn("index", secret)

    def __call__(self, text: str) -> str:
        """Return `text` with what is known to be an id replaced, longer ones first."""
        for real in sorted(self._fakes, key=len, reverse=True):
            text = text.replace(real, self._fakes[real])
        return text

    def learn_from(self, text: str) -> None:
        """Take note of the ids in a JSON document, or in the data of server-sent events."""
        for document in _documents(text):
            for kind, value in _ids_in(document, ""):
                self._learn(kind, value)
        for uuid in _UUID.findall(text):
            self._learn("uuid", uuid)

    def _learn(self, kind: str, real: str) -> None:
        if len(real) > 2 and real not in self._fakes and real not in self._fakes.values():
            number = len(self._fakes)
            is_uuid = _UUID.fullmatch(real) is not None
            self._fakes[real] = f"00000000-0000-4000-8000-{number:012}" if is_uuid else f"{kind}-{number:04}"


def write_recording(file: Path, answers: Mapping[str, Answer], place: Place) -> None:
    """Write these answers, scrubbed, as one JSON document."""
    scrub = Scrubber(place)
    for answer in answers.values():
        scrub.learn_from(answer.body.decode())
    recorded = {
        name: {
            "status": answer.status,
            "headers": {each: answer.headers[each] for each in _KEPT_HEADERS if each in answer.headers},
            "body": scrub(answer.body.decode()),
        }
        for name, answer in sorted(answers.items())
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _documents(text: str) -> Iterator[Any]:
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    for document in lines or [text]:
        with contextlib.suppress(ValueError):
            yield json.loads(document)


def _ids_in(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _ids_in(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _ids_in(item, name)
    elif isinstance(value, str) and _IS_ID.search(name):
        yield re.sub(r"_?ids?$", "", name) or "id", value
