"""Indexes, as people type them: `llama-cloud-chat indexes`, and what `--index` names."""

from __future__ import annotations

from collections.abc import Sequence

from llama_cloud_chat import APIStatusError, ChatClient, ConfigurationError, IndexSummary
from llama_cloud_chat._turn.wording import clean_line

from ._connection import Connection, connect
from ._safe import print_json
from ._screen import Screen

_MOST_NAMES = 10


def run_indexes(connection: Connection, *, json: bool) -> None:
    """List the indexes that can be asked."""
    with connect(connection) as service:
        indexes = list(service.client.indexes())
    if json:
        print_json([index.model_dump(mode="json") for index in indexes])
    elif indexes:
        Screen().indexes(indexes)
    else:
        Screen().line("There are no indexes here. They are made in LlamaCloud's own interface, in a project.")


def find_indexes(client: ChatClient, named: Sequence[str]) -> list[str]:
    """Return the ids of indexes that were typed: by either id, or by name, in any case.

    Raises:
        ConfigurationError: There is none of this name, or several.
        ChatError: The service cannot be asked which there are.
    """
    if not named:
        return []
    try:
        indexes = list(client.indexes())
    except APIStatusError as error:
        if error.status_code not in {403, 404, 405}:
            raise
        return list(named)  # it does not tell its indexes, so only ids can be meant
    return list(dict.fromkeys(choose_index(each, indexes) for each in named))


def choose_index(named: str, indexes: Sequence[IndexSummary]) -> str:
    """Return the id of the one index that is named so; an id as it is.

    Raises:
        ConfigurationError: There is none of this name, or several.
    """
    named = named.strip()
    if any(named in (index.id, index.export_config_id) for index in indexes):
        return named
    for found in (
        [index for index in indexes if index.name == named],
        [index for index in indexes if index.name.casefold() == named.casefold()],
    ):
        if len(found) == 1:
            return found[0].id
        if found:
            ids = ", ".join(index.id for index in found)
            raise ConfigurationError(f"There are {len(found)} indexes named {named!r}; name one by its id: {ids}.")
    raise ConfigurationError(f"There is no index {named!r}; {_what_there_is(indexes)}.")


def _what_there_is(indexes: Sequence[IndexSummary]) -> str:
    if not indexes:
        return "there are none at all in this project"
    names = ", ".join(f"{clean_line(index.name, 40)} ({index.id})" for index in indexes[:_MOST_NAMES])
    more = f" and {len(indexes) - _MOST_NAMES} more" if len(indexes) > _MOST_NAMES else ""
    return f"the indexes there are: {names}{more}"
