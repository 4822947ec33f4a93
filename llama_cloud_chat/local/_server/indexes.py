"""The indexes as the API lists them. Each has two ids, and either is taken where an index is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from llama_cloud_chat.local._library.documents import Collection

from .pages import decode_token, encode_token

_DEFAULT_PROJECT = "00000000-0000-4000-8000-000000000000"


class UnknownIndexError(Exception):
    """There is no such index; the message says what there is instead."""


class Catalogue:
    """The indexes of a service. They belong to it, so every project is shown them."""

    def __init__(self, collections: Sequence[Collection]) -> None:
        self._collections = {each.index_id: each for each in collections}
        self._ids = {export_config_id(index_id): index_id for index_id in self._collections}
        self._made_at = datetime.now(timezone.utc).isoformat()

    def identify(self, named: str) -> str:
        """Return the id of the index that is named by either of its ids; any other name as it is."""
        return self._ids.get(named, named)

    def usable(self, named: Iterable[str]) -> list[str]:
        """Return the ids of those that are there, each once."""
        return list(dict.fromkeys(each for each in map(self.identify, named) if each in self._collections))

    def missing(self, named: Iterable[str]) -> list[str]:
        """Return those that are not there, as they were named, each once."""
        return list(dict.fromkeys(each for each in named if self.identify(each) not in self._collections))

    def explain(self, named: str) -> str:
        """Say that there is no such index, and by which id one that goes by this name can be had."""
        return f"There is no index {named!r} here{self._hint(named)}."

    def page(self, project_id: str, directory_id: str | None, size: int, token: str | None) -> dict[str, Any]:
        """Return one page of indexes, in the order of `docs`.

        Raises:
            BadPageTokenError: The token was not given out here.
        """
        start = decode_token(token) if token else 0
        found = [self._detail(project_id, index_id) for index_id in self._collections]
        found = [each for each in found if directory_id in (None, each["source_directory_id"])]
        return {
            "items": found[start : start + size],
            "next_page_token": encode_token(start + size) if start + size < len(found) else None,
            "total_size": None,
        }

    def detail(self, project_id: str, index_id: str) -> dict[str, Any]:
        """Return an index by its id.

        Raises:
            UnknownIndexError: There is none of this id.
        """
        if index_id not in self._collections:
            raise UnknownIndexError(self.explain(index_id))
        return self._detail(project_id, index_id)

    def _hint(self, named: str) -> str:
        if named in self._ids:
            return f": this is the export_config_id of the index {self._ids[named]!r}"
        for index_id, collection in self._collections.items():
            if named == collection.name:
                return f": this is the name of the index {index_id!r} (export_config_id {export_config_id(index_id)!r})"
        return ""

    def _detail(self, project_id: str, index_id: str) -> dict[str, Any]:
        collection = self._collections[index_id]
        dates = dict.fromkeys(("created_at", "updated_at", "last_synced_at", "last_exported_at"), self._made_at)
        return {
            "id": index_id,
            "export_config_id": export_config_id(index_id),
            "name": collection.name,
            "description": f"The documents of {collection.where}" if collection.where else None,
            "project_id": project_id or _DEFAULT_PROJECT,
            "source_directory_id": _sibling("dir", index_id),
            "output_directory_id": _sibling("out", index_id),
            "sync_config_id": _sibling("syn", index_id),
            "metadata": {"status": "ready"},
            **dates,
        }


def export_config_id(index_id: str) -> str:
    """Return the other id of an index."""
    return _sibling("exp", index_id)


def _sibling(kind: str, index_id: str) -> str:
    return f"{kind}-{index_id.removeprefix('idx-')}"
