"""`llama-cloud-chat doctor`: whether everything between here and an answer is in order, one thing after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from llama_cloud_chat import (
    APIConnectionError,
    AuthenticationError,
    ChatClient,
    ChatError,
    ConfigurationError,
    IndexSummary,
    InternalServerError,
    Message,
    ProtocolError,
    RateLimitError,
    TextDelta,
)
from llama_cloud_chat._turn.wording import clean_line

from ._connection import Connection, NoKeyError, Reached, connect
from ._indexes import choose_index
from ._safe import print_json, told
from ._screen import Screen

_QUESTION = "Answer with the one word: ok."
_TRY_LATER = "Try again in a few minutes."
_WHICH_INDEXES = "name them in LLAMA_CLOUD_INDEX_IDS, or with --index"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        name: What was looked at.
        is_well: Whether it is in order.
        says: What was found, and what to do if it is not in order.
        numbers: What was measured.
    """

    name: str
    is_well: bool
    says: str
    numbers: Mapping[str, float] = field(default_factory=dict)


Findings: TypeAlias = Iterator[Finding]


def run_doctor(connection: Connection, named: Sequence[str], *, json: bool) -> bool:
    """Look at the key, the address, the project, the indexes and one short turn; return whether all is well."""
    findings: list[Finding] = []
    screen = Screen()
    for finding in _examine(connection, named):
        findings.append(finding)
        if not json:
            screen.finding(finding.name, clean_line(finding.says, 1000), is_well=finding.is_well)
    is_well = all(finding.is_well for finding in findings)
    if json:
        checks = [{"name": each.name, "ok": each.is_well, "says": each.says, **each.numbers} for each in findings]
        print_json({"ok": is_well, "checks": checks})
    return is_well


def _examine(connection: Connection, named: Sequence[str]) -> Findings:
    """Yield what is found, until nothing more can be looked at."""
    with contextlib.ExitStack() as stack:
        try:
            service = stack.enter_context(connect(connection, max_retries=1))
        except ConfigurationError as error:
            yield Finding("key" if isinstance(error, NoKeyError) else "settings", False, told(error))
            return
        for finding in _look_at_access(service.client):
            yield finding
            if not finding.is_well:
                return
        index_ids: list[str] = []
        yield from _look_at_indexes(service, named, index_ids)
        if index_ids:
            yield _look_at_turn(service.client, index_ids)


def _look_at_access(client: ChatClient) -> Findings:
    """Look at all that a list of sessions needs: the address, then the key, then the project.

    The first that is not in order is the last that can be looked at.
    """
    url = client.config.base_url
    began = time.monotonic()
    error: ChatError | None = None
    try:
        list(islice(client.list(page_size=1), 1))
    except ChatError as caught:
        error = caught
    if isinstance(error, APIConnectionError):
        yield Finding("address", False, f"{told(error)} It is set by LLAMA_CLOUD_BASE_URL or --base-url.")
    elif isinstance(error, ProtocolError):
        advice = "Check LLAMA_CLOUD_BASE_URL or --base-url."
        yield Finding("address", False, f"What answers at {url} is not LlamaCloud: {told(error)} {advice}")
    elif isinstance(error, (RateLimitError, InternalServerError)):
        yield Finding("address", False, f"{told(error)} {_TRY_LATER}")
    else:
        yield Finding("address", True, f"{url} answers.", {"seconds": round(time.monotonic() - began, 3)})
    if isinstance(error, AuthenticationError):
        advice = "Make a key at https://cloud.llamaindex.ai; one of Europe is for the address in Europe."
        yield Finding("key", False, f"{told(error)} {advice}")
    yield Finding("key", True, "It is accepted.")
    project = client.config.project_id
    if error is not None:
        yield Finding("project", False, f"{told(error)} Check LLAMA_CLOUD_PROJECT_ID or --project.")
    yield Finding("project", True, f"{project} can be read." if project else "The key's default project can be read.")


def _look_at_indexes(service: Reached, named: Sequence[str], index_ids: list[str]) -> Findings:
    """Look at each index that is to be asked; note those that can be."""
    try:
        indexes = list(service.client.indexes())
    except ChatError as error:
        yield Finding("indexes", False, f"They cannot be listed: {told(error)}")
        index_ids += named or service.index_ids
        return
    wanted = named or service.index_ids
    if not wanted:
        known = ", ".join(f"{clean_line(index.name, 40)} ({index.id})" for index in indexes[:5]) or "none"
        yield Finding("indexes", False, f"None is to be asked; {_WHICH_INDEXES}. There are: {known}.")
    for each in wanted:
        try:
            index_id = choose_index(each, indexes)
        except ConfigurationError as error:
            yield Finding("index", False, f"{told(error)} Of these, {_WHICH_INDEXES}.")
            continue
        index_ids.append(index_id)
        yield _state_of(next(index for index in indexes if index_id in (index.id, index.export_config_id)))


def _state_of(index: IndexSummary) -> Finding:
    name = f"{clean_line(index.name, 40)} ({index.id})"
    if index.status in (None, "ready"):
        return Finding("index", True, f"{name} is {index.status or 'there'}.")
    advice = "Look at it in LlamaCloud's own interface, and have it synced again."
    return Finding("index", False, f"{name} is in the state {clean_line(index.status, 40)!r}. {advice}")


def _look_at_turn(client: ChatClient, index_ids: Sequence[str]) -> Finding:
    """Ask one short question in a session that is deleted again."""
    began = time.monotonic()
    first_text: float | None = None
    try:
        with client.converse([Message("user", _QUESTION)], index_ids=index_ids, keep_session=False) as stream:
            for event in stream:
                if first_text is None and isinstance(event, TextDelta):
                    first_text = time.monotonic() - began
    except ChatError as error:
        advice = f" {_TRY_LATER}" if error.is_retryable else ""
        return Finding("turn", False, f"{told(error)}{advice}")
    seconds = time.monotonic() - began
    if stream.turn.skipped_index_ids:
        skipped = ", ".join(map(clean_line, stream.turn.skipped_index_ids))
        return Finding("turn", False, f"It was answered without these indexes: {skipped}. Check their state.")
    if first_text is None:
        return Finding("turn", False, f"It came without text. {_TRY_LATER}")
    numbers = {"first_text_seconds": round(first_text, 3), "seconds": round(seconds, 3)}
    says = f"It was answered: first text after {first_text:.1f} s, all of it after {seconds:.1f} s."
    return Finding("turn", True, says, numbers)
