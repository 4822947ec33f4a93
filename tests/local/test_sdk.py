"""The official SDK is the judge: every operation, sync and async."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import llama_cloud
import pytest
from llama_cloud import AsyncLlamaCloud, LlamaCloud

from llama_cloud_chat.local import LocalService


@pytest.fixture
def sdk(service: LocalService) -> Iterator[LlamaCloud]:
    with LlamaCloud(api_key=service.api_key, base_url=service.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk(service: LocalService) -> AsyncIterator[AsyncLlamaCloud]:
    async with AsyncLlamaCloud(api_key=service.api_key, base_url=service.base_url, max_retries=0) as client:
        yield client


def test_the_sdk_drives_every_operation(service: LocalService, sdk: LlamaCloud) -> None:
    created = sdk.chat.create(index_ids=service.index_ids, shared_access="read_only")
    assert created.index_ids == service.index_ids
    assert created.shared_access == "read_only"
    assert created.job_metadata is None
    assert created.generated_title is None

    sdk.chat.stream(created.session_id, index_ids=service.index_ids, prompt="How many days of leave?")

    detail = sdk.chat.retrieve(created.session_id)
    assert [event.type for event in detail.events] == [
        "user_input",
        "thinking",
        "tool_call",
        "tool_result",
        "text",
        "stop",
    ]
    assert "30 days of paid leave" in detail.events[4].content
    assert detail.generated_title == "How many days of leave?"

    summary = sdk.chat.get_summary(created.session_id)
    assert summary.job_metadata is not None
    assert summary.job_metadata.is_error is False
    assert summary.job_metadata.turns == 2
    assert (summary.job_metadata.total_output_tokens or 0) > 0

    assert [each.session_id for each in sdk.chat.list()] == [created.session_id]
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.beta.attachments.get("screenshots/page_7.jpg", source_id="dfl-1")

    sdk.chat.delete(created.session_id)
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.chat.retrieve(created.session_id)


async def test_the_async_sdk_drives_every_operation(service: LocalService, async_sdk: AsyncLlamaCloud) -> None:
    created = await async_sdk.chat.create(index_ids=service.index_ids)
    assert created.shared_access == "query"
    await async_sdk.chat.stream(created.session_id, index_ids=service.index_ids, prompt="Who books hotels?")
    detail = await async_sdk.chat.retrieve(created.session_id)
    assert "Hotels are booked by the office. (travel.txt, page 2)" in detail.events[-2].content
    assert detail.events[-1].type == "stop"
    summary = await async_sdk.chat.get_summary(created.session_id)
    assert summary.generated_title == "Who books hotels?"
    assert [each.session_id async for each in async_sdk.chat.list()] == [created.session_id]
    with pytest.raises(llama_cloud.NotFoundError):
        await async_sdk.beta.attachments.get("screenshots/page_7.jpg", source_id="dfl-1")
    await async_sdk.chat.delete(created.session_id)
    with pytest.raises(llama_cloud.NotFoundError):
        await async_sdk.chat.get_summary(created.session_id)


def test_the_sdk_titles_a_session_where_that_is_offered(
    start: Callable[..., LocalService], service: LocalService, sdk: LlamaCloud
) -> None:
    offering = start(titles=True)
    with LlamaCloud(api_key=offering.api_key, base_url=offering.base_url, max_retries=0) as other:
        session = other.chat.create()
        path, body = f"/api/v1/chat/{session.session_id}/title", {"first_message": "A better title"}
        assert other.post(path, body=body, cast_to=type(session)).generated_title == "A better title"
    session = sdk.chat.create()
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.post(f"/api/v1/chat/{session.session_id}/title", body=body, cast_to=type(session))


def test_the_sdk_follows_the_pages_of_a_list(sdk: LlamaCloud) -> None:
    made = [sdk.chat.create().session_id for _ in range(5)]
    page = sdk.chat.list(page_size=2)
    assert len(page.items) == 2
    assert [each.session_id for each in page] == made[::-1]


def test_the_sdk_lists_the_indexes_and_asks_by_either_id(
    tmp_path: Path, start: Callable[..., LocalService], handbook: Path
) -> None:
    (tmp_path / "zoo.md").write_text("Elephants need space.")
    service = start([handbook, tmp_path / "zoo.md"])
    with LlamaCloud(api_key=service.api_key, base_url=service.base_url, max_retries=0) as sdk:
        listed = list(sdk.indexes.list(page_size=1))
        assert [index.id for index in listed] == service.index_ids
        assert listed[1].name == "zoo.md"
        assert sdk.indexes.get(listed[1].id).to_dict() == listed[1].to_dict()
        session = sdk.chat.create()
        for index_id in (listed[1].id, listed[1].export_config_id):
            sdk.chat.stream(session.session_id, index_ids=[index_id], prompt="What do elephants need?")
            events = sdk.chat.retrieve(session.session_id).events
            assert "Elephants need space." in events[-2].content


def test_projects_and_organisations_do_not_see_each_others_sessions(service: LocalService, sdk: LlamaCloud) -> None:
    project, organization = str(uuid.uuid4()), str(uuid.uuid4())
    scopes = [
        {},
        {"project_id": project},
        {"organization_id": organization},
        {"organization_id": organization, "project_id": project},
    ]
    made = [sdk.chat.create(**scope).session_id for scope in scopes]
    for scope, own in zip(scopes, made, strict=True):
        assert [each.session_id for each in sdk.chat.list(**scope)] == [own]
        for session_id in made:
            if session_id == own:
                assert sdk.chat.retrieve(session_id, **scope).session_id == own
                continue
            with pytest.raises(llama_cloud.NotFoundError):
                sdk.chat.retrieve(session_id, **scope)
            with pytest.raises(llama_cloud.NotFoundError):
                sdk.chat.get_summary(session_id, **scope)
            with pytest.raises(llama_cloud.NotFoundError):
                sdk.chat.stream(session_id, index_ids=service.index_ids, prompt="Hello?", **scope)
            with pytest.raises(llama_cloud.NotFoundError):
                sdk.chat.delete(session_id, **scope)


def test_the_sdks_errors_name_what_is_wrong(service: LocalService, sdk: LlamaCloud) -> None:
    with pytest.raises(llama_cloud.AuthenticationError, match="API key"):
        sdk.with_options(api_key="wrong").chat.list()
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="no index 'idx-nowhere'"):
        sdk.chat.create(index_ids=["idx-nowhere"])
    session_id = sdk.chat.create(index_ids=service.index_ids).session_id
    with pytest.raises(llama_cloud.ConflictError, match="locked"):
        sdk.chat.stream(session_id, index_ids=["idx-other"], prompt="Hello?")
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="string_too_long"):
        sdk.chat.stream(session_id, index_ids=service.index_ids, prompt="x" * 1001)
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="too_short"):
        sdk.chat.stream(session_id, index_ids=[], prompt="Hello?")
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="uuid_parsing"):
        sdk.chat.list(project_id="mine")
