"""LlamaCloud's chat agent as a LlamaIndex chat engine."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import BaseChatEngine
from typing_extensions import Self

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair, ConverseOptions

from ._answers import LlamaCloudChatResponse
from ._conversation import Conversation
from ._live_turn import LiveTurn
from ._messages import check_text, system_message, user_message
from ._portable import Portable
from ._streaming import LlamaCloudStreamingResponse
from ._tracing import as_trace, trace_turn, untraced


class LlamaCloudChatEngine(Portable, BaseChatEngine):
    """A conversation with LlamaCloud's chat agent, which has its own sessions, tools and indexes.

    Examples:
        >>> from llama_index_ext import LlamaCloudChatEngine
        >>> engine = LlamaCloudChatEngine(index_ids=index_ids)
        >>> answer = engine.chat("How many days of leave are there?")
        >>> print(answer)
        Everyone has 30 days of paid leave each year. ...
        >>> [(node.node.metadata["file_name"], node.score) for node in answer.source_nodes]
        [('leave.md', ...)]

        As it comes, with what the agent looked up ahead of the text that uses it:

        >>> response = engine.stream_chat("When do unused days expire?")
        >>> for text in response.response_gen:
        ...     print(text, end="")
        Unused days expire in March. ...
        >>> [source.tool_name for source in response.sources]
        ['retrieve']

        Later, in another process:

        >>> later = LlamaCloudChatEngine(session_id=engine.session_id)
        >>> [message.content for message in later.chat_history if message.role == "user"]
        ['How many days of leave are there?', 'When do unused days expire?']

    Turns on one engine come one after the other, in the order they were asked, from threads and tasks alike. The
    conversation may also be given with each call, as `chat_history`: it is continued if its last answer is still its
    session's last turn, and forked into a new session otherwise. (An earlier message that was edited while the last
    answer was kept is not noticed.)

    Args:
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough; with neither, the environment's key is used.
        session_id: A session to go on in.
        index_ids: The indexes of new sessions; for a session that is bound to none, the indexes of each prompt.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        system_prompt: What holds for all answers. A session is told it once, and again when it changes; the attribute
            of this name may be set at any time.
        page_images: Whether `source_nodes` hold page pictures, too, as image nodes that are fetched when resolved.
        callback_manager: Where to send callback events.

    Raises:
        ConfigurationError: An argument cannot work, or there is no key.

    Copies go on from the conversation as it is: the first that asks continues it, others fork. A pickled engine
    leaves its key, its connections and its callbacks behind.
    """

    def __init__(
        self,
        client: ChatClient | None = None,
        *,
        async_client: AsyncChatClient | None = None,
        session_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        system_prompt: str | None = None,
        page_images: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._clients = ClientPair(client, async_client)
        self._options: ConverseOptions = {
            "index_ids": index_ids,
            "require_all_indexes": require_all_indexes,
        }
        self.system_prompt = system_prompt
        self._page_images = page_images
        self._conversation = Conversation(session_id=session_id)
        self.callback_manager = callback_manager or CallbackManager([])

    @classmethod
    def from_defaults(cls, client: ChatClient | None = None, **options: Any) -> Self:
        """Make an engine; LlamaIndex's customary way to say `LlamaCloudChatEngine(...)`.

        Args:
            client: The client for threads; by default one is made from the environment.
            **options: What the constructor takes.

        Returns:
            The engine.

        Raises:
            ConfigurationError: An argument cannot work, or there is no key.
        """
        return cls(client, **options)

    @property
    def session_id(self) -> str | None:
        """The session that the conversation goes on in; None before the first answer."""
        return self._conversation.session_id

    @as_trace
    def chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, *, key: str | None = None
    ) -> LlamaCloudChatResponse:
        """Ask, and wait for the whole answer.

        Args:
            message: The prompt.
            chat_history: A conversation to go on from instead of the engine's own; `[]` begins a new one.
            key: What the question is called. Under one key it is asked once, however often this is called.

        Returns:
            The answer with its `sources`, `source_nodes` and `metadata`.

        Raises:
            ConfigurationError: The prompt is no text, or an argument cannot work.
            TurnFailedError: The agent failed; `.turn` holds what it said.
            StreamInterruptedError: The answer was cut off for good; `.turn` holds what was received.
            ChatError: The prompt could not be asked.
        """
        live = self._prepare(message, chat_history, key)
        live.run()
        return LlamaCloudChatResponse.of(live.turn, live.findings)

    @as_trace
    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None, *, key: str | None = None
    ) -> LlamaCloudChatResponse:
        """Ask, and wait for the whole answer; see `chat`."""
        live = self._prepare(message, chat_history, key)
        await live.arun()
        return LlamaCloudChatResponse.of(live.turn, live.findings)

    @untraced
    @as_trace
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, *, key: str | None = None
    ) -> LlamaCloudStreamingResponse:
        """Return an answer to be read as it comes. It is asked when it is first read; errors are raised there.

        Args:
            message: The prompt.
            chat_history: A conversation to go on from instead of the engine's own; `[]` begins a new one.
            key: What the question is called. Under one key it is asked once, however often this is called.
        """
        return LlamaCloudStreamingResponse(self._prepare(message, chat_history, key, "stream_chat"))

    @untraced
    @as_trace
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, *, key: str | None = None
    ) -> LlamaCloudStreamingResponse:
        """Return an answer to be read as it comes; see `stream_chat`."""
        return LlamaCloudStreamingResponse(self._prepare(message, chat_history, key, "astream_chat"))

    def reset(self) -> None:
        """Begin a new conversation, in a new session. The old one is kept by the service."""
        self._conversation = Conversation()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The conversation so far. Of a session that is resumed it is read once, on first use.

        Where calls bring a `chat_history=` of their own it is that of the call that began last, whoever made it.

        Raises:
            ChatError: It cannot be read.
        """
        conversation = self._conversation
        if (unread := conversation.unread_session_id) is not None:
            conversation.take_history(self._clients.client.retrieve(unread).turns)
        return conversation.messages()

    async def aload_history(self) -> list[ChatMessage]:
        """Return `chat_history` without blocking the event loop.

        Raises:
            ChatError: It cannot be read.
        """
        conversation = self._conversation
        if (unread := conversation.unread_session_id) is not None:
            conversation.take_history((await self._clients.async_client.retrieve(unread)).turns)
        return conversation.messages()

    def _prepare(
        self, message: str, chat_history: Sequence[ChatMessage] | None, key: str | None, stream_of: str | None = None
    ) -> LiveTurn:
        prompt = user_message(check_text(message))
        options: ConverseOptions = {**self._options, "key": key}
        # Other threads change the engine's conversation meanwhile: it is looked at once.
        if chat_history is None:
            conversation = self._conversation
        else:
            conversation = self._conversation = Conversation(chat_history)
            options["freshness"] = 0.0
        instruction = [system_message(self.system_prompt)] if self.system_prompt else []
        trace = trace_turn(
            self,
            prompt,
            callbacks=self.callback_manager,
            is_streaming=stream_of is not None,
            method=stream_of,
            arguments={"message": message, "chat_history": chat_history},
        )
        return LiveTurn(
            self._clients, conversation, [*instruction, prompt], options, trace, page_images=self._page_images
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._clients!r}, session_id={self.session_id!r})"
