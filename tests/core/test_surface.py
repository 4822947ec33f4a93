"""The public face: what is there, the same in both colours, typed and documented."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llama_cloud_chat
from llama_cloud_chat import (
    AsyncChatClient,
    AsyncChatSession,
    AsyncTurnStream,
    ChatClient,
    ChatError,
    ChatSession,
    ClientConfig,
    ConverseOptions,
    Source,
    ToolRun,
    Turn,
    TurnStream,
)

TWINS = [(ChatClient, AsyncChatClient), (ChatSession, AsyncChatSession), (TurnStream, AsyncTurnStream)]
PACKAGE = Path(llama_cloud_chat.__file__).parent

DOCUMENTED = {
    "AsyncChatClient", "AsyncChatSession", "AsyncTurnStream", "ChatClient", "ChatSession", "TurnStream",
    "ClientConfig", "ClientPair", "Timeouts", "Anchor", "ConverseOptions", "Message", "media_mark", "render_transcript",
    "AsyncHttpClient", "HttpClient", "HttpTimeout",
    "DEFAULT_FRESHNESS", "DEFAULT_MAX_EVENT_BYTES", "DEFAULT_MAX_RETRIES", "DEFAULT_RECOVERY_TIMEOUT",
    "Attachment", "Event", "Stop", "Text", "TextDelta", "Thinking", "ThinkingDelta", "ToolCall", "ToolResult",
    "UnknownEvent", "Usage", "UserInput", "Source", "ToolRun", "Turn",
    "Hold", "Ledger", "MemoryLedger", "Note", "PostgresLedger", "SessionCount", "SqliteLedger",
    "IndexSummary", "JobMetadata", "PresignedURL", "SessionDetail", "SessionSummary",
    "APIConnectionError", "APIStatusError", "APITimeoutError", "AuthenticationError", "ChatError",
    "ConfigurationError", "PromptTooLongError", "ConflictError", "InternalServerError", "NotFoundError",
    "PermissionDeniedError", "ProtocolError", "RateLimitError", "SessionBusyError", "StreamInterruptedError",
    "AnswerDraft", "StructuredOutputError", "TurnFailedError", "StructuredAnswer", "StructuredOutput", "StructuredPlay",
    "UnprocessableEntityError", "__version__",
    "BulkResult", "abulk", "bulk",
    "UI_MESSAGE_STREAM_HEADERS", "aui_message_stream", "messages_from_ui", "ui_message_stream",
}  # fmt: skip


def public_members(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


def test_all_is_what_is_documented_sorted_and_there() -> None:
    assert set(llama_cloud_chat.__all__) == DOCUMENTED
    assert llama_cloud_chat.__all__ == sorted(llama_cloud_chat.__all__)
    assert all(hasattr(llama_cloud_chat, name) for name in llama_cloud_chat.__all__)
    # pytest puts names with an @ into the packages of its plugins, of which ours is one.
    public = {name for name in vars(llama_cloud_chat) if not name.startswith(("_", "@"))}
    modules = {name for name in public if inspect.ismodule(getattr(llama_cloud_chat, name))}
    assert public - modules == DOCUMENTED - {"__version__"}
    assert modules <= {"local", "cli", "notebook", "ray"}


def test_every_module_of_the_core_is_private() -> None:
    assert [path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("_")] == []
    assert (PACKAGE / "py.typed").exists()


def asynchronous(text: str) -> str:
    """Return what the twin's names and annotations must be."""
    return re.sub(r"\b(ChatClient|ChatSession|HttpClient|TurnStream|Transport|Iterator|Generator)\b", r"Async\1", text)


RENAMED = {"close": "aclose", "as_async": "as_sync"}


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=lambda kind: kind.__name__)
def test_twins_have_the_same_names(kind: type, twin: type) -> None:
    assert {RENAMED.get(name, name) for name in public_members(kind)} == set(public_members(twin))


def same_members() -> Iterator[Any]:
    for kind, twin in TWINS:
        for name, member in {**public_members(kind), "__init__": kind.__init__}.items():  # type: ignore[misc]
            if name != "as_async":
                yield pytest.param(member, getattr(twin, RENAMED.get(name, name)), id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize(("member", "twin"), list(same_members()))
def test_twins_take_the_same_arguments_and_give_the_same(member: Any, twin: Any) -> None:
    if isinstance(member, property):
        assert isinstance(twin, property)
        member, twin = member.fget, twin.fget
    ours, theirs = inspect.signature(member), inspect.signature(twin)
    for one, other in zip(ours.parameters.values(), theirs.parameters.values(), strict=True):
        assert (one.name, one.kind, one.default) == (other.name, other.kind, other.default)
        if one.name != "client":
            assert asynchronous(str(one.annotation)) == str(other.annotation)
    assert asynchronous(str(ours.return_annotation)) == str(theirs.return_annotation)
    does_io = inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
    assert not inspect.iscoroutinefunction(member)
    assert not inspect.isasyncgenfunction(member)
    assert does_io or member.__name__ in {
        "__init__",
        "stream",
        "converse",
        "session",
        "list",
        "indexes",
        "config",
        "index_ids",
        "text_deltas",
    }


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=lambda kind: kind.__name__)
def test_twins_can_be_used_in_the_same_ways(kind: type, twin: type) -> None:
    pairs = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__", "__next__": "__anext__"}
    for name, other in pairs.items():
        assert hasattr(kind, name) == hasattr(twin, other)


SIGNATURES = {
    "ChatClient": "(api_key=None, *, base_url=None, project_id=None, organization_id=None, timeout=None, "
    "max_retries=5, recovery_timeout=60.0, max_event_bytes=16777216, allow_http=False, http_client=None, "
    "max_prompt_chars=None, long_prompts='refuse', fold=None, ledger=None)",
    "ChatClient.create": "(self, index_ids=None, shared_access=None)",
    "ChatClient.list": "(self, page_size=None)",
    "ChatClient.retrieve": "(self, session_id)",
    "ChatClient.get_summary": "(self, session_id)",
    "ChatClient.set_title": "(self, session_id, first_message)",
    "ChatClient.delete": "(self, session_id)",
    "ChatClient.stream": "(self, session_id, prompt, index_ids=None, require_all_indexes=None, *, key=None)",
    "ChatClient.get_attachment": "(self, attachment)",
    "ChatClient.download": "(self, attachment)",
    "ChatClient.session": "(self, session_id)",
    "ChatSession.stream": "(self, prompt, index_ids=None, require_all_indexes=None, *, key=None)",
    "ChatSession.ask": "(self, prompt, index_ids=None, require_all_indexes=None, *, key=None)",
    "ChatSession.turns": "(self)",
    "ChatSession.summary": "(self)",
    "ChatSession.set_title": "(self, first_message)",
    "ChatSession.delete": "(self)",
    "TurnStream.text_deltas": "(self)",
    "TurnStream.close": "(self)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_of_the_design(name: str) -> None:
    value: Any = llama_cloud_chat
    for part in name.split("."):
        value = getattr(value, part)
    signature = inspect.signature(value)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    shown = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    assert shown.replace(" = ", "=") == SIGNATURES[name]


@pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])
def test_the_options_of_converse_are_its_keyword_arguments(kind: Any) -> None:
    signature = inspect.signature(kind.converse)
    keywords = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    told = {name: reference.__forward_arg__ for name, reference in ConverseOptions.__annotations__.items()}
    assert told == keywords


def test_turns_runs_and_sources_have_the_names_of_the_design() -> None:
    turn = Turn("?", session_id="s", number=1)
    for name in (
        *("prompt", "text", "thinking", "tool_calls", "sources", "usage", "skipped_index_ids", "session_id", "number"),
        *("is_error", "error", "is_complete", "events"),
    ):
        assert hasattr(turn, name)
    names = {field.name for field in dataclasses.fields(ToolRun)}
    assert {"call_id", "name", "arguments", "result", "has_result", "image_attachment"} <= names
    names = {field.name for field in dataclasses.fields(Source)}
    assert {"text", "score", "rerank_score", "file_id", "file_name", "page_start", "page_end"} <= names
    assert {"metadata", "attachments", "tool_call_id"} <= names


def test_the_error_tree() -> None:
    errors = sys.modules["llama_cloud_chat._errors"]

    def tree(kind: type) -> dict[str, Any]:
        return {
            child.__name__: tree(child)
            for child in kind.__subclasses__()
            if vars(errors).get(child.__name__) is child  # others are made where LangChain's adapter is loaded, too
        }

    assert tree(ChatError) == {
        "ConfigurationError": {"PromptTooLongError": {}},
        "APIConnectionError": {"APITimeoutError": {}},
        "APIStatusError": {
            "AuthenticationError": {},
            "PermissionDeniedError": {},
            "NotFoundError": {},
            "ConflictError": {},
            "UnprocessableEntityError": {},
            "RateLimitError": {},
            "InternalServerError": {},
        },
        "ProtocolError": {},
        "SessionBusyError": {},
        "TurnFailedError": {},
        "StreamInterruptedError": {},
        "StructuredOutputError": {},
    }


def documented() -> Iterator[Any]:
    for name in llama_cloud_chat.__all__:
        value = getattr(llama_cloud_chat, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield pytest.param(value, id=name)
        if inspect.isclass(value):
            for member_name, member in public_members(value).items():
                if callable(member) or isinstance(member, property):
                    yield pytest.param(member, id=f"{name}.{member_name}")


@pytest.mark.parametrize("value", list(documented()))
def test_every_public_name_has_a_docstring(value: Any) -> None:
    assert inspect.getdoc(value)
    assert not (inspect.getdoc(value) or "").startswith(f"{getattr(value, '__name__', '')}(")


def test_every_field_is_told_in_its_class_s_docstring() -> None:
    for name in llama_cloud_chat.__all__:
        kind = getattr(llama_cloud_chat, name)
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                if not field.name.startswith("_") and field.repr:
                    assert f"{field.name}: " in (kind.__doc__ or ""), f"{name}.{field.name}"


def test_the_configuration_can_be_read_and_not_changed() -> None:
    config = ChatClient("llx-k").config
    assert isinstance(config, ClientConfig)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.base_url = "https://elsewhere.example.com"  # type: ignore[misc]


def test_importing_the_core_imports_no_framework() -> None:
    heavy = [
        "langchain_core",
        "llama_index",
        "fastapi",
        "starlette",
        "uvicorn",
        "typer",
        "rich",
        "langchain_ext",
        "llama_index_ext",
    ]
    # What httpx itself brings along where it finds it is not ours.
    script = (
        "import sys, httpx, pydantic; before = set(sys.modules); import llama_cloud_chat; "
        f"print(sorted(set({heavy}) & (set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert run.stdout.strip() == "[]"


def test_the_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", llama_cloud_chat.__version__)
    try:
        installed = importlib.metadata.version("llama-cloud-chat")
    except importlib.metadata.PackageNotFoundError:
        return
    assert installed == llama_cloud_chat.__version__


def test_what_users_rely_on_type_checks(pytestconfig: pytest.Config) -> None:
    pytest.importorskip("mypy")
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("typing")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", f"--cache-dir={cache}",
         "--follow-imports=silent", str(Path(__file__).with_name("typing_public.py"))],
        capture_output=True, text=True, check=False, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert run.stdout + run.stderr == ""
