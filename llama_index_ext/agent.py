"""LlamaCloud's chat agent as a LlamaIndex workflow agent, alone or as a member of an `AgentWorkflow`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from inspect import signature
from typing import Any
from uuid import uuid4

from llama_index.core.agent.workflow import AgentOutput, AgentSetup, AgentStream, BaseWorkflowAgent, ToolCallResult
from llama_index.core.agent.workflow import ToolCall as ToolCallEvent
from llama_index.core.base.llms.types import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer
from llama_index.core.tools import AsyncBaseTool, ToolSelection
from llama_index.core.workflow import Context, Workflow, step
from pydantic import BaseModel, PrivateAttr
from workflows.handler import WorkflowHandler

from llama_cloud_chat import (
    AsyncChatClient,
    ChatClient,
    ClientPair,
    ConfigurationError,
    ConverseOptions,
    Event,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
)

from ._conversation import Conversation
from ._converter import ToolResultData, answer_message, tracer_usage
from ._live_turn import LiveTurn
from ._messages import anchor_of, from_data, to_core, to_data, user_message
from ._structured import AnswerReader, output_of
from ._tracing import trace_turn

# Where a workflow's context keeps each agent's conversation and its session, the session of the latest answer, and what
# the question is called.
_CONVERSATIONS, _SESSIONS, _SESSION, _KEY = "conversations", "session_ids", "session_id", "question_key"

_NAME = "LlamaCloud"


class LlamaCloudAgent(BaseWorkflowAgent):
    """LlamaCloud's chat agent as a workflow agent. Its tools run on the service and are reported as events.

    Examples:
        >>> import asyncio
        >>> from llama_cloud_chat import AsyncChatClient
        >>> from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent
        >>> from llama_index.core.workflow import Context
        >>> from llama_index_ext import LlamaCloudAgent
        >>> async def ask() -> None:
        ...     async with AsyncChatClient() as client:
        ...         agent = LlamaCloudAgent(async_client=client, index_ids=index_ids)
        ...         handler = agent.run("How many days of leave are there?", ctx=Context(agent))
        ...         async for event in handler.stream_events():
        ...             if isinstance(event, AgentStream):
        ...                 print(event.delta, end="")
        ...         await handler
        >>> asyncio.run(ask())
        Everyone has 30 days of paid leave each year. ...

        With other agents: those that may hand off to it can, and it hands back to the one that `can_handoff_to` names.
        `llm` is any LlamaIndex model that calls functions:

        >>> async def write() -> None:
        ...     async with AsyncChatClient() as client:
        ...         writer = FunctionAgent(name="Writer", description="Writes.", llm=llm, can_handoff_to=["Researcher"])
        ...         researcher = LlamaCloudAgent(
        ...             name="Researcher",
        ...             description="Knows the handbook.",
        ...             async_client=client,
        ...             index_ids=index_ids,
        ...             can_handoff_to=["Writer"],
        ...         )
        ...         workflow = AgentWorkflow([writer, researcher], root_agent="Writer")
        ...         print(await workflow.run("How many days of leave are there?"))
        >>> asyncio.run(write())
        Note: ...Everyone has 30 days of paid leave each year. ...

    A run goes on where its messages say, else where its `Context` says, else in the session `session_id=`, else in a
    new one. A Context keeps the conversation as plain data, which survives `to_dict` and `from_dict`: a second run from
    the same place forks, a session that is gone is no dead end, and after a run that was cancelled the next one answers
    its own question. `run(..., key=)` names a question: under one key it is asked once. A run of an `AgentWorkflow` is
    named by its request, `ChatMessage(..., additional_kwargs={"question_key": ...})`: each agent is then asked its
    first question once, its second, and so on. The output of a run has its `source_nodes`, and so has the `raw_output`
    of each tool's result.

    Args:
        name: What other agents call it.
        description: What other agents know of it.
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough; with neither, the environment's key is used.
        index_ids: The indexes of new sessions; for a session that is bound to none, the indexes of each prompt.
        session_id: A session to go on in.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        system_prompt: What to tell the remote agent before a session's first prompt.
        can_handoff_to: The one agent that it hands over to whenever it has answered; by default none.
        output_cls: A pydantic class that the answer is to hold. The agent is asked for it in the prompt, and once more
            if its answer does not fit; the answer is then the value's JSON, and the output's `structured_response` the
            value as JSON values.
        llm: Only for `output_cls`: a model that puts the answer, which is text then, into that shape instead. The
            agent itself needs none.
        **options: What `BaseWorkflowAgent` takes. Its `tools` and `tool_retriever` are refused, because an agent on
            the service cannot call what runs here.

    Raises:
        ConfigurationError: An argument cannot work, or there is no key.

    A run that fails raises, `StructuredOutputError` if no answer fits `output_cls`; one that is cancelled closes the
    connection.
    """

    _clients: ClientPair = PrivateAttr()
    _options: ConverseOptions = PrivateAttr()
    _first_session_id: str | None = PrivateAttr()
    _made_with: dict[str, Any] = PrivateAttr()
    _reader: AnswerReader | None = PrivateAttr(default=None)

    def __init__(
        self,
        name: str = _NAME,
        description: str = "LlamaCloud's chat agent. It answers questions from the documents of its indexes.",
        *,
        client: ChatClient | None = None,
        async_client: AsyncChatClient | None = None,
        index_ids: Sequence[str] | None = None,
        session_id: str | None = None,
        require_all_indexes: bool | None = None,
        system_prompt: str | None = None,
        can_handoff_to: list[str] | None = None,
        output_cls: type[BaseModel] | None = None,
        llm: LLM | None = None,
        **options: Any,
    ) -> None:
        _check(name, description, can_handoff_to, options)
        _check_names(options, {*type(self).model_fields, *signature(Workflow.__init__).parameters})
        made_with = {**options, "output_cls": output_cls}
        output = output_of(output_cls) if llm is None else None
        reader = AnswerReader(output, name) if output is not None else None
        if reader is not None:
            # With a class of its own the framework would ask a model here.
            output_cls, options = None, {**options, "structured_output_fn": reader}
        super().__init__(
            name=name,
            description=description,
            system_prompt=system_prompt,
            can_handoff_to=can_handoff_to or [],
            llm=llm or _NoLocalModel(),
            output_cls=output_cls,
            **options,
        )
        if name == _NAME:
            self.name = _DefaultName(name)
        self._reader = reader
        self._clients = ClientPair(client, async_client)
        self._options = {"index_ids": index_ids, "require_all_indexes": require_all_indexes, "output": output}
        self._first_session_id = session_id
        self._made_with = {
            "name": name,
            "description": description,
            "client": self._clients.client if async_client is None else client,
            "async_client": async_client,
            "index_ids": index_ids,
            "session_id": session_id,
            "require_all_indexes": require_all_indexes,
            "system_prompt": system_prompt,
            "can_handoff_to": can_handoff_to,
            "llm": llm,
            **made_with,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # A workflow holds on to its runtime; what is pickled is how to make the agent again.
        return partial(type(self), **self._made_with), ()

    def run(  # type: ignore[override]  # as LlamaIndex's own differs from that of a workflow
        self,
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        memory: BaseMemory | None = None,
        ctx: Context | None = None,
        *args: Any,
        **options: Any,
    ) -> WorkflowHandler:
        """Run, and answer what is asked here: a run that was broken off in the Context is not taken up instead.

        Args:
            user_msg: The question. With neither it nor `chat_history` a run that was broken off goes on, in a Context
                that was restored (`Context.from_dict`).
            chat_history: The conversation before it.
            memory: Where the conversation is kept.
            ctx: The Context to go on in.
            *args: LlamaIndex's further ones, as they are.
            **options: LlamaIndex's further ones, as they are, and `key`, which names the question.

        Returns:
            The handler of the run.
        """
        is_asked = user_msg or chat_history or options.get("start_event")
        if ctx is not None and (is_asked or not ctx.is_running):
            _leave_steps(ctx, self)
        return super().run(user_msg, chat_history, memory, ctx, *args, **options)

    @step
    async def run_agent_step(self, ctx: Context, ev: AgentSetup) -> AgentOutput:
        """Take the step, also of a run that goes on in a Context which was left in mid-run and so lost its memory.

        Args:
            ctx: The workflow's context.
            ev: The conversation.

        Returns:
            The answer.
        """
        if await ctx.store.get("memory", default=None) is None:
            said = [message for message in ev.input if message.role != MessageRole.SYSTEM]
            await ctx.store.set("memory", ChatMemoryBuffer.from_defaults(chat_history=said, llm=self.llm))
        output: AgentOutput = await super().run_agent_step(ctx, ev)
        return output

    async def take_step(
        self,
        ctx: Any,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],
        memory: BaseMemory,
    ) -> AgentOutput:
        """Answer: one turn of the remote agent. The workflow calls this.

        Args:
            ctx: The workflow's context.
            llm_input: The conversation.
            tools: What the workflow offers; only a hand-over is ever taken up.
            memory: Where the answer is put.

        Returns:
            The answer, and the hand-over to another agent, if there is one.

        Raises:
            ChatError: The turn failed.
            StructuredOutputError: The answer does not fit `output_cls`.
        """
        messages = await self._messages(ctx, llm_input)
        live = await self._prepare(ctx, messages)
        results: list[ToolCallResult] = []
        text = ""
        async with aclosing(live.aevents()) as events:
            async for event in events:
                if type(event) is TextDelta:
                    text += event.content
                self._report(ctx, event, text, live, results)
        done = await ctx.store.get("current_tool_calls", default=[])
        await ctx.store.set("current_tool_calls", [*done, *results])
        answer = answer_message(live.turn)
        answer.additional_kwargs["agent"] = str(self.name)
        await self._remember(ctx, [*messages, answer])
        await memory.aput(answer)
        value = None if self._reader is None else self._reader.read(live.turn.text)
        output = AgentOutput(
            response=answer,
            structured_response=value,
            tool_calls=self._hand_over(tools),
            raw={"usage": tracer_usage(live.turn)},
            current_agent_name=str(self.name),
        )
        output["source_nodes"] = live.findings.source_nodes  # events hold more than their fields
        return output

    async def handle_tool_call_results(self, ctx: Any, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Tell the next agent that it has been handed the request; nothing else is ever called here.

        Args:
            ctx: The workflow's context.
            results: The hand-over.
            memory: Where it is told.
        """
        for result in results:
            await memory.aput(user_message(result.tool_output.content))

    async def finalize(self, ctx: Any, output: AgentOutput, memory: BaseMemory) -> AgentOutput:
        """Return the output; its answer is in memory already.

        Args:
            ctx: The workflow's context.
            output: The output.
            memory: The memory.
        """
        return output

    async def _init_context(self, ctx: Any, ev: Any) -> None:
        await super()._init_context(ctx, ev)
        await ctx.store.set(_KEY, ev.get("key", default=None))

    async def _messages(self, ctx: Any, llm_input: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the conversation, from what the workflow gives and, where that knows no session, the Context."""
        messages = [_as_anothers(one) if self._is_anothers(one) else one for one in llm_input]
        notice = _pattern(await ctx.store.get("handoff_output_prompt", default=""))
        messages = [one for one in messages if not notice.fullmatch(one.content or "")]
        if not any(message.is_anchor for message in to_core(messages)):
            told = await ctx.store.get(_CONVERSATIONS, default={})
            messages = [*from_data(told.get(str(self.name), ())), *messages]
        return _with_request(messages, await ctx.store.get("user_msg_str", default=None))

    async def _prepare(self, ctx: Any, messages: Sequence[ChatMessage]) -> LiveTurn:
        stands = any(message.is_anchor for message in to_core(messages))
        conversation = Conversation(session_id=None if stands else self._first_session_id)
        asked = next(one for one in reversed(messages) if one.role == MessageRole.USER)
        key = _key_in(messages, asked, str(self.name)) or await ctx.store.get(_KEY, default=None)
        options: ConverseOptions = {**self._options, "key": key}
        trace = trace_turn(self, asked, callbacks=self.llm.callback_manager, is_streaming=self.streaming)
        return LiveTurn(self._clients, conversation, messages, options, trace)

    def _is_anothers(self, message: ChatMessage) -> bool:
        return bool(message.additional_kwargs.get("agent", self.name) != self.name)

    async def _remember(self, ctx: Any, messages: Sequence[ChatMessage]) -> None:
        """Keep the conversation in the Context, for LlamaIndex leaves the memory behind when a Context is written down.

        This is done once the turn is over: one that was broken off and is asked again must be found as it was.
        """
        name, session_id = str(self.name), anchor_of(messages[-1]).session_id
        for key, value in ((_CONVERSATIONS, to_data(messages)), (_SESSIONS, session_id)):
            told = await ctx.store.get(key, default={})
            await ctx.store.set(key, {**told, name: value})
        await ctx.store.set(_SESSION, session_id)

    def _report(self, ctx: Any, event: Event, text: str, live: LiveTurn, results: list[ToolCallResult]) -> None:
        if isinstance(event, TextDelta) and self.streaming:
            ctx.write_event_to_stream(
                AgentStream(delta=event.content, response=text, current_agent_name=str(self.name), raw=event.raw)
            )
        elif isinstance(event, ThinkingDelta) and self.streaming:
            ctx.write_event_to_stream(
                AgentStream(
                    delta="",
                    response=text,
                    current_agent_name=str(self.name),
                    raw=event.raw,
                    thinking_delta=event.content,
                )
            )
        elif isinstance(event, ToolCall):
            ctx.write_event_to_stream(
                ToolCallEvent(tool_name=event.name, tool_kwargs=event.arguments, tool_id=event.call_id)
            )
        elif isinstance(event, ToolResult):
            run = live.turn.run_of(event.call_id)
            result = ToolCallResult(
                tool_name=run.name,
                tool_kwargs=run.arguments,
                tool_id=run.call_id,
                tool_output=live.findings.output_of(run).model_copy(
                    update={"raw_output": ToolResultData(run.result, live.findings.nodes_of(run))}
                ),
                return_direct=False,
            )
            results.append(result)
            ctx.write_event_to_stream(result)

    def _hand_over(self, tools: Sequence[AsyncBaseTool]) -> list[ToolSelection]:
        """Return the call that hands over to the agent that is told, where there is a workflow to take it."""
        if not self.can_handoff_to or not any(tool.metadata.name == "handoff" for tool in tools):
            return []
        arguments = {"to_agent": self.can_handoff_to[0], "reason": f"{self.name} has answered."}
        return [ToolSelection(tool_id=f"handoff-{uuid4()}", tool_name="handoff", tool_kwargs=arguments)]


class _NoLocalModel(CustomLLM):
    """Stands where LlamaIndex wants a model. Its window never makes a memory drop messages."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=2**31, is_chat_model=True, model_name="llama-cloud-chat")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError(_NO_MODEL)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError(_NO_MODEL)


_NO_MODEL = (
    "LlamaCloudAgent answers on the service and has no model here. Give it one with llm=. An output_cls needs none "
    "where it is the agent's own, not its workflow's."
)


def _check(name: object, description: object, can_handoff_to: list[str] | None, options: dict[str, Any]) -> None:
    for one in (name, description):
        if isinstance(one, (ChatClient, AsyncChatClient)):  # where LlamaCloudChatEngine takes it
            kind = "client" if isinstance(one, ChatClient) else "async_client"
            raise ConfigurationError(
                f"The name of an agent comes first, then its description. Pass the client as {kind}=."
            )
    if options.get("tools") or options.get("tool_retriever"):
        raise ConfigurationError(
            "LlamaCloudAgent takes no tools: the agent runs on the service and cannot call what runs here. Let another "
            "model drive, and ask this one as its sub-agent: AgentWorkflow([FunctionAgent(..., tools=your_tools, "
            'can_handoff_to=["LlamaCloud"]), LlamaCloudAgent(...)]), or QueryEngineTool over LlamaCloudQueryEngine.'
        )
    if can_handoff_to is not None and len(can_handoff_to) > 1:
        raise ConfigurationError(
            "can_handoff_to must name one agent: the agent on the service does not see the others, and so cannot "
            "choose among them."
        )


def _check_names(options: dict[str, Any], known: set[str]) -> None:
    """Refuse what LlamaIndex would drop without a word."""
    if unknown := sorted(set(options) - known):
        raise ConfigurationError(
            f"LlamaCloudAgent does not take {', '.join(unknown)}. What says whom to ask, and how, belongs to the "
            "client: LlamaCloudAgent(client=ChatClient(...))."
        )


def _leave_steps(ctx: Context, agent: BaseWorkflowAgent) -> None:
    """Leave the steps that a run was broken off in, which the next one would take up in place of its own question.

    LlamaIndex takes them up whether a run goes on or begins, and one that was cancelled goes on once its Context is
    restored: `rewind_in_progress` and `_process_cancel_run_tick` in workflows/runtime/control_loop/reduce.py.
    """
    told: dict[str, Any] = ctx.to_dict()
    face = getattr(ctx, "_face", None)
    kept = {name: value for name, value in told.items() if name in {"version", "state"}}
    fresh: Context = Context.from_dict(agent, kept, serializer=getattr(face, "_serializer", None))
    is_under_way = ctx.is_running and type(face) is not type(getattr(fresh, "_face", None))
    if not is_under_way:  # else LlamaIndex refuses a second run
        vars(ctx).update(vars(fresh))


def _as_anothers(message: ChatMessage) -> ChatMessage:
    """Return another agent's answer under its name and without its session: where it stands is not said to us."""
    name = message.additional_kwargs.get("agent")
    return ChatMessage(role=message.role, blocks=message.blocks, additional_kwargs={"name": name})


def _pattern(notice: str) -> re.Pattern[str]:
    """Return what matches LlamaIndex's notices of handing over, which mean nothing to an agent on the service."""
    escaped = re.escape(notice)
    for name in ("to_agent", "reason"):
        escaped = escaped.replace(re.escape(f"{{{name}}}"), ".*")
    return re.compile(escaped or r"(?!)", re.DOTALL)


def _key_in(messages: Sequence[ChatMessage], asked: ChatMessage, name: str) -> str | None:
    """Return what a question is called by the message that asks it.

    A run of several agents is one request and many questions: each agent's first one, its second, and so on.
    """
    named = [place for place, one in enumerate(messages) if _KEY in one.additional_kwargs]
    if not named or messages[named[-1]].content != asked.content:
        return None
    answered = sum(anchor_of(one).session_id is not None for one in messages[named[-1] :])
    return f"{messages[named[-1]].additional_kwargs[_KEY]}/{name}/{answered + 1}"


def _with_request(messages: list[ChatMessage], request: str | None) -> list[ChatMessage]:
    """Return the messages with a request of the user to answer, once if it stands there twice.

    A run that was cancelled leaves its request in the memory; asked again, it is the same one.
    """
    if not any(one.role == MessageRole.USER for one in messages) or anchor_of(messages[-1]).session_id:
        return [*messages, user_message(request or "")]
    if len(messages) > 1 and messages[-1] == messages[-2] and messages[-1].role == MessageRole.USER:
        return messages[:-1]
    return messages


class _DefaultName(str):
    """The name of an agent that was given none. Two of them in one workflow would be one, and the other be lost."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _DefaultName) and other is not self:
            raise ConfigurationError(
                f"Two agents are called {str(self)!r}, as they are by default, and cannot be told apart. Give each "
                "LlamaCloudAgent of a workflow a name= of its own."
            )
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)
