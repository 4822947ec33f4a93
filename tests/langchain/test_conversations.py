"""A conversation travels with its messages: it continues, starts or forks."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import ConfigurableField

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import ChatClient, NotFoundError, StreamInterruptedError, TurnFailedError
from llama_cloud_chat.local import LocalService

from ..support.service import ChatService, Play
from . import scripts
from .conftest import Make
from .harness import added_up, read_until


def session_of(message: BaseMessage) -> str:
    return str(message.response_metadata["session_id"])


def turn_of(message: BaseMessage) -> int:
    return int(message.response_metadata["turn"])


def test_a_conversation_goes_on_in_its_session_and_sends_only_what_is_new(model: ChatLlamaCloud) -> None:
    first = model.invoke([SystemMessage("Be brief."), HumanMessage("one")])
    second = model.invoke([SystemMessage("Be brief."), HumanMessage("one"), first, HumanMessage("two")])
    assert session_of(second) == session_of(first)
    assert second.content == "turn 2: two"


def test_streamed_answers_carry_the_conversation_too(model: ChatLlamaCloud) -> None:
    first = added_up(model.stream("one"))
    second = added_up(model.stream([HumanMessage("one"), first, HumanMessage("two")]))
    assert (session_of(second), turn_of(second)) == (session_of(first), 2)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_answers_that_hold_blocks_carry_the_conversation_too(make: Make) -> None:
    model = make(output_version="v1")
    first = model.invoke("one")
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert (session_of(second), turn_of(second)) == (session_of(first), 2)
    if hasattr(model, "_chat_model_stream_v3"):
        third = model.stream_events([first, second, HumanMessage("three")], version="v3").output
        assert (session_of(third), turn_of(third)) == (session_of(first), 3)
    edited = model.invoke([HumanMessage("one"), first, HumanMessage("zwei")])
    assert "> turn 1: one" in edited.text


def test_a_foreign_history_starts_a_session_that_is_told_of_it(model: ChatLlamaCloud) -> None:
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage("one"), AIMessage("eins"), HumanMessage("two")])
    assert turn_of(answer) == 1
    assert all(said in answer.text for said in ("Be brief.", "one", "eins"))
    assert answer.text.endswith("two")


def test_an_edit_forks_and_leaves_the_first_session_as_it_was(model: ChatLlamaCloud, client: ChatClient) -> None:
    first = model.invoke("one")
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    edited = model.invoke([HumanMessage("one"), first, HumanMessage("zwei")])
    assert session_of(edited) != session_of(first)
    assert turn_of(edited) == 1
    assert "turn 1: one" in edited.text
    assert [turn.prompt for turn in client.retrieve(session_of(first)).turns] == ["one", "two"]
    third = model.invoke([HumanMessage("one"), first, HumanMessage("two"), second, HumanMessage("three")])
    assert (session_of(third), turn_of(third)) == (session_of(first), 3)


def test_parallel_branches_do_not_meet(model: ChatLlamaCloud) -> None:
    first = model.invoke("one")
    branches = model.batch([[HumanMessage("one"), first, HumanMessage(word)] for word in ("a", "b", "c")])
    assert len({session_of(branch) for branch in branches}) == 3
    assert [branch.text.splitlines()[-1].removeprefix("turn 2: ") for branch in branches] == ["a", "b", "c"]


def test_a_partial_answer_can_be_continued(raw: ChatService, raw_client: ChatClient) -> None:
    told = [[scripts.text_delta("Half a joke"), scripts.stop()]]
    raw.plays.append(Play([scripts.text_delta("Half an ")], chunked=False, history=told))
    model = ChatLlamaCloud(client=raw_client)
    partial = added_up(read_until(StreamInterruptedError, model.stream("one")))
    assert (partial.text, session_of(partial), turn_of(partial)) == ("Half an ", "ses-1", 1)
    raw.plays.append(Play([scripts.text("Whole."), scripts.stop()]))
    answer = model.invoke([HumanMessage("one"), partial, HumanMessage("go on")])
    assert (answer.text, session_of(answer), turn_of(answer)) == ("Whole.", "ses-1", 2)


def test_other_indexes_fork(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Leave is 30 days.")
    (tmp_path / "b.md").write_text("Trains are preferred.")
    with (
        LocalService([tmp_path / "a.md", tmp_path / "b.md"]) as service,
        ChatClient(service.api_key, base_url=service.base_url) as client,
    ):
        a, b = service.index_ids
        model = ChatLlamaCloud(client=client, index_ids=[a])
        first = model.invoke("How long is leave?")
        assert client.get_summary(session_of(first)).index_ids == [a]
        history = [HumanMessage("How long is leave?"), first, HumanMessage("And trains?")]
        second = model.invoke(history)
        assert session_of(second) == session_of(first)
        history = [*history, second, HumanMessage("And rivers?")]
        other = model.bind(index_ids=[b]).invoke(history)
        assert session_of(other) != session_of(first)
        assert client.get_summary(session_of(other)).index_ids == [b]
        again = model.invoke([*history, other, HumanMessage("How long is leave again?")])
        assert (session_of(again), turn_of(again)) == (session_of(first), 3)
        told = client.session(session_of(first)).turns()[-1].prompt
        assert other.text.splitlines()[0] in told
        assert str(first.text) not in told


@pytest.mark.parametrize("prompt", ["one", "an error"])
def test_without_keep_sessions_none_is_left_behind(make: Make, client: ChatClient, prompt: str) -> None:
    before = {summary.session_id for summary in client.list()}
    model = make(keep_sessions=False)
    for ask in (model.invoke, lambda text: list(model.stream(text))):
        if prompt == "an error":
            with pytest.raises(TurnFailedError):
                ask(prompt)
        else:
            ask(prompt)
    assert {summary.session_id for summary in client.list()} <= before


def test_a_session_that_is_not_kept_is_gone_before_the_last_chunk(make: Make, client: ChatClient) -> None:
    for chunk in make(keep_sessions=False).stream("one"):
        if "session_id" in chunk.response_metadata:
            session_id = session_of(chunk)
        if chunk.chunk_position == "last":
            with pytest.raises(NotFoundError):
                client.retrieve(session_id)


def test_an_answer_whose_session_was_not_kept_is_continued_on_a_fork(make: Make) -> None:
    model = make(keep_sessions=False)
    first = model.invoke("one")
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert turn_of(second) == 1
    assert "turn 1: one" in second.text


async def test_without_keep_sessions_none_is_left_behind_by_asyncio(amake: Make, client: ChatClient) -> None:
    answer = await amake(keep_sessions=False).ainvoke("one")
    with pytest.raises(NotFoundError):
        client.retrieve(session_of(answer))


def test_a_session_can_be_pinned_in_every_way(make: Make, client: ChatClient) -> None:
    session_id = client.create().session_id
    assert turn_of(make(session_id=session_id).invoke("a")) == 1
    assert turn_of(make().bind(session_id=session_id).invoke("b")) == 2
    assert turn_of(make().invoke("c", session_id=session_id)) == 3
    configurable = make().configurable_fields(session_id=ConfigurableField(id="session_id"))
    assert turn_of(configurable.invoke("d", {"configurable": {"session_id": session_id}})) == 4
    assert turn_of(added_up(configurable.stream("e", {"configurable": {"session_id": session_id}}))) == 5
    assert session_of(make(session_id=session_id).invoke("f", session_id=None)) != session_id


def test_a_pinned_session_hears_only_what_came_after_the_last_answer(make: Make, client: ChatClient) -> None:
    model = make(session_id=client.create().session_id)
    assert model.invoke([HumanMessage("a"), AIMessage("b"), HumanMessage("c")]).text == "turn 1: c"


def test_a_pinned_session_is_kept_in_any_case(make: Make, client: ChatClient) -> None:
    session = client.create()
    make(session_id=session.session_id, keep_sessions=False).invoke("a")
    assert [turn.prompt for turn in session.turns()] == ["a"]


def test_a_pinned_session_that_is_gone_is_an_error(make: Make) -> None:
    with pytest.raises(NotFoundError):
        make(session_id="ses-gone").invoke("a")


def test_an_anchor_whose_session_is_gone_forks(model: ChatLlamaCloud, client: ChatClient) -> None:
    first = model.invoke("one")
    client.delete(session_of(first))
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert turn_of(second) == 1


def test_copies_know_what_their_originals_know(service: LocalService) -> None:
    model = ChatLlamaCloud(api_key=service.api_key, base_url=service.base_url)
    rebuilt = model.configurable_fields(keep_sessions=ConfigurableField(id="keep"))
    prepared, _ = rebuilt.prepare({"configurable": {"keep": True}})  # type: ignore[attr-defined]
    again = ChatLlamaCloud(api_key=service.api_key, base_url=service.base_url)
    copies = [copy.copy(model), copy.deepcopy(model), model.model_copy(), prepared, again]
    assert all(one._clients is model._clients for one in copies)
    other_key = ChatLlamaCloud(api_key="another", base_url=service.base_url)
    assert other_key._clients is not model._clients
    first = model.invoke("one")
    assert turn_of(copies[3].invoke([HumanMessage("one"), first, HumanMessage("two")])) == 2


def test_a_client_for_asyncio_alone_serves_threads_too(service: LocalService) -> None:
    from llama_cloud_chat import AsyncChatClient

    async_client = AsyncChatClient(service.api_key, base_url=service.base_url)
    model = ChatLlamaCloud(async_client=async_client)
    assert model.invoke("a").text == "turn 1: a"
    assert model._clients.async_client is async_client
    model._clients.client.close()


def test_threads_share_a_model(model: ChatLlamaCloud) -> None:
    answers: dict[int, AIMessage] = {}

    def talk(number: int) -> None:
        first = model.invoke(f"one {number}")
        answers[number] = model.invoke([HumanMessage("one"), first, HumanMessage(f"two {number}")])

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: answer.text for number, answer in answers.items()} == {n: f"turn 2: two {n}" for n in range(8)}


AGENT = """
    import sys
    from langchain.agents import create_agent
    from langchain_core.messages import AIMessage
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langchain_ext import ChatLlamaCloud

    data, prompt = sys.argv[1:]
    with SqliteSaver.from_conn_string(data) as checkpointer:
        agent = create_agent(ChatLlamaCloud(), tools=[], system_prompt="Be brief.", checkpointer=checkpointer)
        state = agent.invoke({"messages": [("user", prompt)]}, {"configurable": {"thread_id": "t"}})
    answers = [m for m in state["messages"] if isinstance(m, AIMessage)]
    print(answers[-1].response_metadata["session_id"], answers[-1].response_metadata["turn"])
"""


def test_an_agents_thread_goes_on_in_a_second_process(service: LocalService, tmp_path: Path) -> None:
    pytest.importorskip("langchain.agents")
    pytest.importorskip("langgraph.checkpoint.sqlite")

    def ask(prompt: str) -> list[str]:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(AGENT), str(tmp_path / "threads.db"), prompt],
            env={
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "LLAMA_CLOUD_API_KEY": service.api_key,
                "LLAMA_CLOUD_BASE_URL": service.base_url,
                "LLAMA_CLOUD_INDEX_IDS": service.index_ids[0],
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()

    first, second = ask("one"), ask("two")
    assert first[1] == "1"
    assert second == [first[0], "2"]


def test_resuming_from_an_older_checkpoint_forks(model: ChatLlamaCloud, client: ChatClient, tmp_path: Path) -> None:
    agents = pytest.importorskip("langchain.agents")
    sqlite = pytest.importorskip("langgraph.checkpoint.sqlite")
    config = {"configurable": {"thread_id": "t"}}
    with sqlite.SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as checkpointer:
        agent = agents.create_agent(model, tools=[], system_prompt="Be brief.", checkpointer=checkpointer)
        first = agent.invoke({"messages": [("user", "one")]}, config)["messages"][-1]
        older = agent.get_state(config).config
        second = agent.invoke({"messages": [("user", "two")]}, config)["messages"][-1]
        travelled = agent.invoke({"messages": [("user", "zwei")]}, older)["messages"][-1]
    assert (session_of(second), turn_of(second)) == (session_of(first), 2)
    assert session_of(travelled) != session_of(first)
    assert "Be brief." in travelled.text
    prompts = [turn.prompt for turn in client.retrieve(session_of(first)).turns]
    assert len(prompts) == 2
    assert prompts[1] == "two"
