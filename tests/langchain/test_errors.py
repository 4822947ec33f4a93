"""Errors are of both families: ours, and LangChain's."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.messages import AIMessage, HumanMessage

import llama_cloud_chat
from langchain_ext import ChatLlamaCloud
from langchain_ext._errors import BothFamilies
from llama_cloud_chat import AsyncChatClient, ChatClient, ChatError, ConfigurationError, PromptTooLongError
from llama_cloud_chat.local import LocalService

from ..support.server import in_json
from ..support.service import ChatService
from .harness import broken_off

needs_families = pytest.mark.skipif(
    not hasattr(exceptions, "ModelError"), reason="this langchain-core has no errors of models"
)

THEIRS = {
    "AuthenticationError": "ModelAuthenticationError",
    "PermissionDeniedError": "ModelPermissionDeniedError",
    "NotFoundError": "ModelNotFoundError",
    "UnprocessableEntityError": "ModelInvalidRequestError",
    "ConfigurationError": "ModelInvalidRequestError",
    "PromptTooLongError": "ContextOverflowError",
    "RateLimitError": "ModelRateLimitError",
    "InternalServerError": "ModelAPIError",
    "APIConnectionError": "ModelConnectionError",
    "APITimeoutError": "ModelTimeoutError",
    "ConflictError": "ModelError",
    "ProtocolError": "ModelError",
    "SessionBusyError": "ModelError",
    "TurnFailedError": "ModelError",
    "StreamInterruptedError": "ModelError",
}


def adopt(error: ChatError) -> ChatError:
    with pytest.raises(ChatError) as caught, BothFamilies():
        raise error
    return caught.value


@needs_families
@pytest.mark.parametrize(("ours", "theirs"), THEIRS.items())
def test_each_of_our_errors_is_one_of_langchains(ours: str, theirs: str) -> None:
    kind: type[ChatError] = getattr(llama_cloud_chat, ours)
    error = adopt(kind("It went wrong."))
    assert isinstance(error, kind)
    assert isinstance(error, getattr(exceptions, theirs))
    assert (type(error).__name__, str(error)) == (ours, "It went wrong.")
    assert error.is_retryable == kind.is_retryable


def test_an_error_stays_what_it_was_and_can_be_pickled() -> None:
    error = adopt(PromptTooLongError("Too long.", length=3, limit=2))
    assert adopt(error) is error
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert isinstance(arrived, PromptTooLongError)
    assert (str(arrived), arrived.length, arrived.limit) == ("Too long.", 3, 2)


def test_an_older_langchain_has_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THEIRS.values():
        monkeypatch.delattr(exceptions, name, raising=False)
    from langchain_ext import _errors

    monkeypatch.setattr(_errors, "_classes", {})
    error = adopt(ConfigurationError("No."))
    assert isinstance(error, ConfigurationError)
    assert not any(kind.__module__.startswith("langchain_core") for kind in type(error).__mro__)


@needs_families
async def test_every_way_of_asking_raises_them(service: LocalService) -> None:
    async with AsyncChatClient("wrong", base_url=service.base_url) as client:
        model = ChatLlamaCloud(async_client=client)
        with client.as_sync():  # the twin that is asked here is closed by whoever used it
            with pytest.raises(exceptions.ModelAuthenticationError):
                model.invoke("hi")
            with pytest.raises(exceptions.ModelAuthenticationError):
                list(model.stream("hi"))
        with pytest.raises(exceptions.ModelAuthenticationError):
            await model.ainvoke("hi")
        with pytest.raises(exceptions.ModelAuthenticationError):
            _ = [chunk async for chunk in model.astream("hi")]
        with pytest.raises(exceptions.ModelInvalidRequestError):
            await model.ainvoke([])


@needs_families
def test_what_is_too_long_is_an_overflow_of_the_context(model: ChatLlamaCloud) -> None:
    with pytest.raises(exceptions.ContextOverflowError) as caught:
        model.invoke("x" * 1001)
    assert isinstance(caught.value, PromptTooLongError)


def retrying(model: ChatLlamaCloud) -> Any:
    agents = pytest.importorskip("langchain.agents")
    middleware = pytest.importorskip("langchain.agents.middleware")
    retry = middleware.ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")
    return agents.create_agent(model, tools=[], middleware=[retry])


@needs_families
def test_a_wrong_key_is_not_tried_again(raw: ChatService) -> None:
    raw.instead["create"].append([in_json({"detail": "No such key."}, 401)])
    with ChatClient("wrong", base_url=raw.base_url) as client, pytest.raises(exceptions.ModelAuthenticationError):
        retrying(ChatLlamaCloud(client=client)).invoke({"messages": [("user", "hi")]})
    assert len(raw.requests) == 1


@needs_families
def test_an_interrupted_question_is_not_asked_again_by_a_retry(raw: ChatService, raw_client: ChatClient) -> None:
    raw.reply = lambda _: broken_off("Half an ")
    with pytest.raises(llama_cloud_chat.StreamInterruptedError):
        retrying(ChatLlamaCloud(client=raw_client)).invoke({"messages": [("user", "one")]})
    assert len(raw.prompts) == 1


def test_an_error_of_the_messages_is_still_a_value_error(model: ChatLlamaCloud) -> None:
    with pytest.raises(ValueError, match="no message of the user"):
        model.invoke([AIMessage("hi")])
    assert model.invoke([AIMessage("hi"), HumanMessage("text alone")]).text
