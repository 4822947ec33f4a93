"""`llama-cloud-chat demo`: one conversation through both frameworks, against the embedded service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llama_cloud_chat import ChatClient, ConfigurationError, Source, ToolRun
from llama_cloud_chat._turn.wording import count
from llama_cloud_chat.local import LocalService

from ._progress import indexing_bar
from ._screen import Screen

FOLLOW_UP = "And in async code?"
PACE = 0.02
"""Seconds for each word, so that a person can see the answer arrive."""


def run_demo(docs: Sequence[Path] | None, question: str) -> None:
    """Ask a question through LangChain and a follow-up through LlamaIndex, then show what the service kept.

    Raises:
        ChatError: The documents cannot be read, or the question is empty.
    """
    if not question.strip():
        raise ConfigurationError("The question is empty. Give one: llama-cloud-chat demo --question '...'")
    screen = Screen()
    with (
        indexing_bar() as on_progress,
        LocalService(docs or None, pace=PACE, on_progress=on_progress) as service,
        ChatClient(service.api_key, base_url=service.base_url) as client,
    ):
        names = ", ".join(service.index_names.values())
        screen.line(f"The embedded service listens on {service.base_url} and has read: {names}.")
        for skipped in service.skipped:
            screen.line(f"Left out {skipped.path}: {skipped.reason}.", style="dim")
        session_id = _ask_in_langchain(screen, client, service.index_ids, question)
        _ask_in_llama_index(screen, client, session_id)
        _show_what_was_kept(screen, client, session_id)
    _say_how_to_go_on(screen)


def _ask_in_langchain(screen: Screen, client: ChatClient, index_ids: list[str], question: str) -> str:
    from langchain_ext import ChatLlamaCloud  # noqa: PLC0415  # takes a second; the service is up before

    screen.heading("1. LangChain: ChatLlamaCloud(...).stream(...)")
    screen.question(question)
    model = ChatLlamaCloud(client=client, index_ids=index_ids)
    answer = None
    for chunk in model.stream(question):
        answer = chunk if answer is None else answer + chunk
        for block in chunk.content_blocks:
            if block["type"] == "reasoning":
                screen.thinking(block.get("reasoning", ""))
            elif block["type"] == "server_tool_call":
                screen.tool_call(block["name"], block["args"])
            elif block["type"] == "server_tool_result":
                screen.tool_result(ToolRun(block["tool_call_id"], "", result=block.get("output"), has_result=True))
            elif block["type"] == "text":
                screen.answer(block["text"])
    assert answer is not None
    screen.sources([Source(**source) for source in answer.response_metadata["sources"]])
    return str(answer.response_metadata["session_id"])


def _ask_in_llama_index(screen: Screen, client: ChatClient, session_id: str) -> None:
    from llama_index_ext import LlamaCloudChatEngine  # noqa: PLC0415  # likewise

    screen.heading("2. LlamaIndex, in the same session: LlamaCloudChatEngine(...).stream_chat(...)")
    screen.question(FOLLOW_UP)
    engine = LlamaCloudChatEngine(client=client, session_id=session_id)
    response = engine.stream_chat(FOLLOW_UP)
    has_begun = False
    for piece in response.response_gen:
        if not has_begun:  # what the agent thought and looked up came before its first word
            has_begun = True
            screen.thinking(response.thinking)
            for tool in response.sources:
                screen.tool_call(tool.tool_name, tool.raw_input)
                screen.tool_result(ToolRun("", tool.tool_name, tool.raw_input, tool.raw_output, has_result=True))
        screen.answer(piece)
    screen.line(f"{count(len(response.source_nodes), 'source node')}.", style="dim")


def _show_what_was_kept(screen: Screen, client: ChatClient, session_id: str) -> None:
    screen.heading("3. What the service kept")
    screen.sessions(list(client.list()))
    screen.line("The history of the session, as turns:")
    screen.history(client.session(session_id).turns())


def _say_how_to_go_on(screen: Screen) -> None:
    screen.heading("What next")
    screen.line("On your own documents:      llama-cloud-chat demo --docs PATH --question '...'")
    screen.line("Against LlamaCloud itself:  set LLAMA_CLOUD_API_KEY, then ChatLlamaCloud(index_ids=['idx-...'])")
