"""`llama-cloud-chat demo`: one conversation through both frameworks, against the embedded service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from llama_cloud_chat import ChatClient, ConfigurationError, Source, ToolRun, Turn
from llama_cloud_chat._turn.prompts import unfold
from llama_cloud_chat._turn.wording import clean_line, count
from llama_cloud_chat.local import HANDBOOK, LocalService

from ._program import shell_line
from ._progress import indexing_bar, what_was_read
from ._screen import HEADING, Screen

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

QUESTION = "Who books hotels?"
FOLLOW_UP = "And how much may they cost a night?"
EDITED = "And how far ahead are trains booked?"
PACE = 0.02
"""Seconds for each word, so that a person can see the answer arrive."""

_CUT_AFTER = 4100
"""Bytes of an answer's stream: that to `FOLLOW_UP` is then in the middle of its sentence."""


def run_demo(docs: Sequence[Path] | None, questions: Sequence[str]) -> None:
    """Ask through LangChain, then further through LlamaIndex in the same session, on a line that is cut.

    Without questions it asks the handbook that comes with this package, and at the end edits a question, which forks.
    Documents are asked nothing but the questions.

    Raises:
        ChatError: The documents cannot be read, or there is no question for them.
    """
    if docs and not questions:
        raise ConfigurationError(
            "What do you want to know from your documents? The demo asks them nothing else: add --question '...'."
        )
    if not all(question.strip() for question in questions):
        raise ConfigurationError("The question is empty. Give one: llama-cloud-chat demo --question '...'")
    screen = Screen(is_tight=True)
    line = _Line(screen)
    with (
        indexing_bar() as on_progress,
        LocalService(docs or HANDBOOK, pace=PACE, on_progress=on_progress) as service,
        httpx.Client(event_hooks={"request": [line.note]}) as http_client,
        ChatClient(service.api_key, base_url=service.base_url, http_client=http_client) as client,
    ):
        for told in what_was_read(service):
            screen.line(told)
        _Demo(screen, service, client, line).run(questions)
    screen.line()
    screen.verbatim(f"Your own documents:  {shell_line('chat', '--local', '--docs', '.')}")
    screen.verbatim(f"LlamaCloud itself:   {shell_line('doctor')}")


class _Line:
    """The connection to the service, which is cut on purpose."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._is_faulty = False
        self._is_asked = False

    def cut(self, service: LocalService) -> None:
        """Let the next answer break off."""
        service.fail_next(cut_after=_CUT_AFTER)
        self._is_faulty, self._is_asked = True, False

    def mend(self) -> None:
        """The answer is over; it may have been too short to break off."""
        self._is_faulty = self._is_asked = False

    def note(self, request: httpx.Request) -> None:
        """Say so at the moment when the core turns from the answer to its session's history."""
        if self._is_faulty and request.method == "POST":
            self._is_asked = True
        elif self._is_asked:
            self.mend()
            self._screen.line("(The line is cut, on purpose. The history has the rest:)", style="bold red")


class _Demo:
    """What is shown, in its order."""

    def __init__(self, screen: Screen, service: LocalService, client: ChatClient, line: _Line) -> None:
        self._screen = screen
        self._service = service
        self._client = client
        self._line = line

    def run(self, questions: Sequence[str]) -> None:
        """Ask the questions, or those that are prepared."""
        from langchain_core.messages import HumanMessage  # noqa: PLC0415  # takes a second; the service is up before

        first, *further = questions or [QUESTION, FOLLOW_UP]
        self._screen.line("1. LangChain: ChatLlamaCloud(...).stream(...)", style=HEADING)
        asked = HumanMessage(first)
        answer = self._ask_in_langchain([asked])
        session_id = str(answer.response_metadata["session_id"])
        if further:
            self._screen.heading("2. LlamaIndex, in the same session: LlamaCloudChatEngine(...).stream_chat(...)")
            self._ask_in_llama_index(session_id, further)
            self._show_history(session_id)
        if not questions:
            self._screen.heading("3. LangChain again, the second question edited, which forks")
            fork = self._ask_in_langchain([asked, answer, HumanMessage(EDITED)], shows_steps=False)
            self._compare(session_id, str(fork.response_metadata["session_id"]))

    def _ask_in_langchain(self, messages: list[BaseMessage], *, shows_steps: bool = True) -> BaseMessage:
        from langchain_ext import ChatLlamaCloud  # noqa: PLC0415  # likewise

        screen = self._screen
        screen.question(messages[-1].text)
        model = ChatLlamaCloud(client=self._client, index_ids=self._service.index_ids)
        answer = None
        sources: list[Source] = []
        for chunk in model.stream(messages):
            answer = chunk if answer is None else answer + chunk
            for block in chunk.content_blocks:
                if block["type"] == "text":
                    screen.answer(block["text"])
                elif not shows_steps:
                    continue
                elif block["type"] == "reasoning":
                    screen.thinking(block.get("reasoning", ""))
                elif block["type"] == "server_tool_call":
                    screen.tool_call(block["name"], block["args"])
                elif block["type"] == "server_tool_result":
                    run = ToolRun(block["tool_call_id"], "", result=block.get("output"), has_result=True)
                    sources += run.sources
                    screen.tool_result(run)
        assert answer is not None
        screen.sources_in_short(sources, answer.text)
        return answer

    def _ask_in_llama_index(self, session_id: str, questions: Sequence[str]) -> None:
        from llama_index_ext import LlamaCloudChatEngine  # noqa: PLC0415  # likewise

        screen = self._screen
        engine = LlamaCloudChatEngine(client=self._client, session_id=session_id)
        for question in questions:
            screen.question(question)
            self._line.cut(self._service)
            response = engine.stream_chat(question)
            has_begun = False
            for piece in response.response_gen:
                if not has_begun:  # what the agent looked up came before its first word
                    has_begun = True
                    for tool in response.sources:
                        screen.tool_call(tool.tool_name, tool.raw_input)
                screen.answer(piece)
            self._line.mend()

    def _show_history(self, session_id: str) -> None:
        asked = [f"{turn.number}. {clean_line(turn.question)}" for turn in self._turns_of(session_id)]
        self._screen.line(f"The history: {'  '.join(asked)}")

    def _compare(self, session_id: str, fork_id: str) -> None:
        old, new = self._turns_of(session_id), self._turns_of(fork_id)
        told = unfold(new[0].prompt).earlier
        kept, known = count(len(old), "prompt"), count(len(told), "question")
        self._screen.line(f"The first session keeps its {kept}; the fork was told {known} of it.")

    def _turns_of(self, session_id: str) -> list[Turn]:
        return self._client.session(session_id).turns()
