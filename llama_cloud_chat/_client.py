"""The client for threads. `_async_client.py` is its twin, line for line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from ._base_client import BaseClient, BaseSession
from ._config import (
    DEFAULT_FRESHNESS,
    DEFAULT_MAX_EVENT_BYTES,
    DEFAULT_MAX_RETRIES,
    DEFAULT_RECOVERY_TIMEOUT,
    LongPrompts,
    Timeouts,
    check_id,
    make_config,
)
from ._httpx import HttpClient, HttpTimeout
from ._session import operations
from ._session.answers import IndexSummary, PresignedURL, SessionDetail, SessionSummary
from ._session.conversation import Conversation, Message, Renderer
from ._session.exchange import Exchange
from ._session.flows import create, set_title
from ._session.folding import Folder
from ._session.ledger import Ledger
from ._stream import TurnStream
from ._structured.output import StructuredOutput
from ._structured_stream import StructuredAsking, StructuredTurnStream
from ._transport.threads import Transport
from ._turn.events import Attachment
from ._turn.turn import Turn

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._async_client import AsyncChatClient


class ChatClient(BaseClient):
    """LlamaCloud's Chat API.

    Examples:
        >>> from llama_cloud_chat import ChatClient, TextDelta
        >>> with ChatClient() as client:
        ...     session = client.create(index_ids)
        ...     with session.stream("How many days of leave do I have?") as stream:
        ...         for event in stream:
        ...             if isinstance(event, TextDelta):
        ...                 print(event.content, end="")
        Everyone has 30 days of paid leave each year. ...
        >>> stream.turn.sources[0].file_name
        'leave.md'

    Args:
        api_key: The key; by default LLAMA_CLOUD_API_KEY, else LLAMA_PARSE_API_KEY.
        base_url: Where the service is; by default LLAMA_CLOUD_BASE_URL, else LlamaCloud in North America.
        project_id: The project; by default LLAMA_CLOUD_PROJECT_ID, else the key's default project.
        organization_id: The organisation; by default LLAMA_CLOUD_ORGANIZATION_ID, else the key's default one.
        timeout: Seconds of silence to bear, or `Timeouts`, or an `httpx.Timeout` or `httpx2.Timeout`. By default
            5 seconds to connect and 60 seconds of silence.
        max_retries: How often a request is repeated after its first time.
        recovery_timeout: For how many seconds a turn whose stream broke is looked for in the session's history.
        max_event_bytes: The most that one event may hold.
        allow_http: Whether plain http may leave this machine.
        http_client: An `httpx.Client` or `httpx2.Client` to use, with its own pool, proxies and certificates; it
            is not closed.
        max_prompt_chars: How many characters a prompt may hold, if you know; it is learnt from the service's refusal
            otherwise.
        long_prompts: What becomes of a question that is longer: `refuse` it, or tell it in `parts`, each of which
            costs an agent's run.
        fold: Says in so many characters what earlier messages say, where they do not fit into a prompt; called with
            the messages and the characters. By default the oldest are left out.
        ledger: Where questions asked with a `key` are kept; by default in this process's memory.

    Attributes:
        config: What the client was made with; safe to show.

    Raises:
        ConfigurationError: There is no key, or an argument cannot work.

    Safe to share between threads. Copies made in a process are the same client; a pickled one leaves its key
    and its connections behind; if it had an http_client of its own, it refuses to go around that where it arrives.
    """

    _transport_kind = Transport
    _transport: Transport

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        timeout: float | Timeouts | HttpTimeout | None = None,
        max_retries: int = DEFAULT_MAX_RETRIES,
        recovery_timeout: float = DEFAULT_RECOVERY_TIMEOUT,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
        allow_http: bool = False,
        http_client: HttpClient | None = None,
        max_prompt_chars: int | None = None,
        long_prompts: LongPrompts = "refuse",
        fold: Folder | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        config = make_config(
            api_key=api_key,
            base_url=base_url,
            project_id=project_id,
            organization_id=organization_id,
            timeout=timeout,
            max_retries=max_retries,
            recovery_timeout=recovery_timeout,
            max_event_bytes=max_event_bytes,
            allow_http=allow_http,
            max_prompt_chars=max_prompt_chars,
            long_prompts=long_prompts,
            fold=fold,
            ledger=ledger,
        )
        self._set_up(config, http_client)

    def as_async(self) -> AsyncChatClient:
        """Return the client's twin: same configuration, same knowledge of sessions, connections of its own.

        It is the same one each time, so that whoever wants to can close it.
        """
        from ._async_client import AsyncChatClient  # noqa: PLC0415  # the twins know each other

        return self._twin_of(AsyncChatClient)

    def create(self, index_ids: Sequence[str] | None = None, shared_access: str | None = None) -> ChatSession:
        """Create a session.

        Args:
            index_ids: The indexes it is bound to, ten at most; by default those of LLAMA_CLOUD_INDEX_IDS. An empty
                list makes an unbound session: its prompts ask the indexes they name, else those of the variable.
            shared_access: What the holders of the session's share link may do: `read_only`, see what was said; or
                `query`, ask as well, so that people outside your program add turns. None leaves it to the service.

        Returns:
            A handle of the new session.

        Raises:
            ChatError: It failed. The request is repeated only if the service had refused it.
        """
        bound_to = self._indexes_for(index_ids)
        summary = self._transport.run_flow(create(bound_to, shared_access, self._policy, self._clock))
        self._note_created(summary, bound_to)
        return self.session(summary.session_id)

    def list(self, page_size: int | None = None) -> Iterator[SessionSummary]:
        """Iterate over the sessions, fetching pages as they are needed.

        Args:
            page_size: How many sessions to fetch at once; by default the service decides.

        Raises:
            ChatError: While iterating: a page could not be fetched.
        """
        return self._follow(operations.list_page(page_size))

    def indexes(self, page_size: int | None = None) -> Iterator[IndexSummary]:
        """Iterate over the indexes that can be asked, fetching pages as they are needed.

        Args:
            page_size: How many indexes to fetch at once; by default the service decides.

        Raises:
            ChatError: While iterating: a page could not be fetched.
        """
        return self._follow(operations.index_page(page_size))

    def _follow(self, page: operations.PageOperation[Any] | None) -> Iterator[Any]:
        while page is not None:
            answer = self._transport.run(page)
            yield from answer.items
            page = operations.next_page(page, answer)

    def retrieve(self, session_id: str) -> SessionDetail:
        """Return a session with its history.

        Args:
            session_id: The session.

        Raises:
            NotFoundError: There is no such session.
            ChatError: It could not be read.
        """
        detail = self._transport.run(operations.retrieve(session_id))
        self._note_read(session_id, detail)
        return detail

    def get_summary(self, session_id: str) -> SessionSummary:
        """Return a session without its history.

        Args:
            session_id: The session.

        Raises:
            NotFoundError: There is no such session.
            ChatError: It could not be read.
        """
        return self._transport.run(operations.get_summary(session_id))

    def set_title(self, session_id: str, first_message: str) -> SessionSummary:
        """Have the service make a title from the session's first message.

        Args:
            session_id: The session.
            first_message: What to make a title of.

        Returns:
            The session with its new title.

        Raises:
            NotFoundError: There is no such session.
            APIStatusError: The service no longer offers titles (404 or 405), as its published description says; a
                session has its `generated_title` by itself.
            ChatError: It failed.
        """
        return self._transport.run_flow(set_title(session_id, first_message, self._policy, self._clock))

    def delete(self, session_id: str) -> None:
        """Delete a session, for good.

        Args:
            session_id: The session.

        Raises:
            NotFoundError: There is no such session.
            ChatError: It failed.
        """
        self._transport.run(operations.delete(session_id))
        self._known.drop(session_id)

    def stream(
        self,
        session_id: str,
        prompt: str,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        *,
        key: str | None = None,
    ) -> TurnStream:
        """Ask a prompt. It is sent when the stream is first read.

        Args:
            session_id: The session.
            prompt: What to ask.
            index_ids: The indexes to ask, for an unbound session.
            require_all_indexes: Whether an index that cannot be queried fails the turn; else it is skipped and
                listed in `Turn.skipped_index_ids`.
            key: What the question is called. Under one key the service is asked once, whoever asks and however often:
                asked again, the turn is delivered from the session's history.

        Returns:
            The turn's events, to be iterated over.

        Raises:
            ConfigurationError: An argument cannot work; nothing was sent.
        """
        exchange = self._make_exchange((session_id, prompt), index_ids, require_all_indexes, key)
        return self._play(exchange)

    def converse(
        self,
        messages: Sequence[Message],
        *,
        session_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        keep_session: bool = True,
        freshness: float = DEFAULT_FRESHNESS,
        render: Renderer | None = None,
        key: str | None = None,
        output: StructuredOutput | None = None,
    ) -> TurnStream:
        """Answer the last of `messages`, in the session that they belong to.

        The conversation continues from the last answer that carries its `session_id` and `turn`, sending only what
        came after it. If that answer is no longer its session's last turn, it forks: a new session is given the
        transcript so far. Without such an answer a new session begins. Which session it became is in
        `stream.turn.session_id`.

        Args:
            messages: The conversation; its last message is the user's.
            session_id: A session to use as it is: only what came after the last answer is sent.
            index_ids: The indexes of a new session, or for this prompt on an unbound one. An anchor's session that
                is bound to others is forked.
            require_all_indexes: Whether an index that cannot be queried fails the turn.
            keep_session: Whether a session that is opened for this outlives it.
            freshness: After how many seconds a session must be read again, for another client may have moved it on.
            render: Turns messages, of which the last is to be answered, into a prompt; by default a transcript that
                histories show as the user's words.
            key: What the question is called; see `stream`.
            output: What the answer is to hold. It is asked for in the prompt, and once more in the same session if the
                answer does not fit. The turn's text is then the value's JSON alone, for `output.read`; or the last
                answer, if that does not fit either.

        Returns:
            The turn's events, to be iterated over.

        Raises:
            ConfigurationError: There is nothing to ask, or an argument cannot work; nothing was sent.
        """
        if output is not None:

            def ask(messages: Sequence[Message], key: str | None) -> TurnStream:
                return self.converse(
                    messages,
                    session_id=session_id,
                    index_ids=index_ids,
                    require_all_indexes=require_all_indexes,
                    freshness=freshness,
                    render=render,
                    key=key,
                )

            asking = StructuredAsking(output, messages, session_id=session_id, keep_session=keep_session, key=key)
            return StructuredTurnStream(asking, ask, self.delete)
        conversation = Conversation(tuple(messages), session_id, freshness, render, keep_session)
        exchange = self._make_exchange(conversation, index_ids, require_all_indexes, key)
        return self._play(exchange)

    def _play(self, exchange: Exchange) -> TurnStream:
        return TurnStream(self._transport, exchange, self)

    def get_attachment(self, attachment: Attachment) -> PresignedURL:
        """Return a download URL that the service makes for a page picture.

        Args:
            attachment: The page picture, from a source or a tool's result.

        Raises:
            NotFoundError: There is no such picture.
            ChatError: It failed.
        """
        return self._transport.run(operations.get_attachment(attachment))

    def download(self, attachment: Attachment | PresignedURL) -> bytes:
        """Return the bytes of a page picture. The key does not go there.

        httpx (or httpx2) logs the address of every request at level INFO: whoever turns that on finds the signed
        address there.

        Args:
            attachment: The page picture, or its address.

        Raises:
            ChatError: It could not be fetched.
        """
        url = self.get_attachment(attachment) if isinstance(attachment, Attachment) else attachment
        return self._transport.run(operations.download(url))

    def session(self, session_id: str) -> ChatSession:
        """Return a handle of an existing session. No request is sent.

        Args:
            session_id: The session.

        Raises:
            ConfigurationError: `session_id` is blank.
        """
        return ChatSession(self, check_id("session_id", session_id))

    def close(self) -> None:
        """Close the connections. The client opens new ones if it is used again."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ChatSession(BaseSession["ChatClient"]):
    """A handle of one session, made by `ChatClient`. Handles of the same session share what is known of it.

    Attributes:
        session_id: Its id.
        index_ids: The indexes it is bound to; None for an unbound session, or one that was not looked at yet.
    """

    def stream(
        self,
        prompt: str,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        *,
        key: str | None = None,
    ) -> TurnStream:
        """Ask a prompt; see `ChatClient.stream`."""
        return self._client.stream(self.session_id, prompt, index_ids, require_all_indexes, key=key)

    def ask(
        self,
        prompt: str,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        *,
        key: str | None = None,
    ) -> Turn:
        """Ask a prompt and wait for the whole turn; see `ChatClient.stream`.

        Returns:
            The turn.

        Raises:
            TurnFailedError: The agent failed; `.turn` holds what it said.
            StreamInterruptedError: The answer was cut off for good; `.turn` holds what was received.
            ChatError: The prompt could not be asked.
        """
        with self.stream(prompt, index_ids, require_all_indexes, key=key) as stream:
            for _ in stream:
                pass
        return stream.turn

    def turns(self) -> list[Turn]:
        """Return the conversation so far; see `ChatClient.retrieve`."""
        return self._client.retrieve(self.session_id).turns

    def summary(self) -> SessionSummary:
        """Return the session without its history; see `ChatClient.get_summary`."""
        return self._client.get_summary(self.session_id)

    def set_title(self, first_message: str) -> SessionSummary:
        """Have the service make a title; see `ChatClient.set_title`."""
        return self._client.set_title(self.session_id, first_message)

    def delete(self) -> None:
        """Delete the session; see `ChatClient.delete`."""
        self._client.delete(self.session_id)
