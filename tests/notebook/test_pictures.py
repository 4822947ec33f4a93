"""Page pictures: fetched on request alone, drawn anew, and part of the page."""

from __future__ import annotations

import base64
import io
from collections import deque
from typing import Any

import pytest
from IPython.utils.capture import capture_output
from PIL import Image

from llama_cloud_chat import AsyncChatClient, ChatClient, ConfigurationError
from llama_cloud_chat.notebook import ashow, show, to_html
from llama_cloud_chat.notebook._pictures import shrink

from ..support.server import in_json, plain
from ..support.service import ChatService, Play
from ..support.turns import segment, tool
from .conftest import Notebook
from .support import WITH_EVERYTHING, judge


def picture(width: int = 1200, height: int = 1600, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def session_id(service: ChatService) -> str:
    service.instead["file"] = deque([[plain(200, picture())]] * 50)
    return service.add_session(("How many days?", WITH_EVERYTHING))


def pictures_in(html: str) -> list[Image.Image]:
    sources = [str(attributes["src"]) for tag, attributes in judge(html).tags if tag == "img"]
    return [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]


def test_pictures_are_part_of_the_page_on_request(service: ChatService, client: ChatClient, session_id: str) -> None:
    html = to_html(client.session(session_id), thumbnails=True)
    assert [image.size for image in pictures_in(html)] == [(960, 1280), (960, 1280)]
    # Both pictures and the passage say it.
    assert judge(html).text.count("Employee handbook.pdf, pages 7-8") == 3
    assert service.operations() == ["retrieve", *["attachment", "file"] * 2]


def test_without_a_request_nothing_is_fetched(service: ChatService, client: ChatClient, session_id: str) -> None:
    assert pictures_in(to_html(client.session(session_id), client=client)) == []
    assert service.operations() == ["retrieve"]


def test_there_are_no_more_than_were_asked_for(service: ChatService, client: ChatClient, session_id: str) -> None:
    turn = client.session(session_id).turns()[0]
    assert len(pictures_in(to_html(turn, client=client, thumbnails=1))) == 1
    assert service.operations().count("file") == 1


def test_there_are_no_more_than_twelve(service: ChatService, client: ChatClient) -> None:
    attachments = [{"attachment_name": f"{number}.png", "source_id": "f"} for number in range(30)]
    result = {"results": [{"content": "x", "static_fields": {"attachments": attachments}}]}
    events = [{"type": "tool_result", "call_id": "c", "name": "retrieve", "result": result}]
    session_id = service.add_session(("How many?", events))
    service.instead["file"] = deque([plain(200, picture(10, 10))] for _ in range(50))
    assert len(pictures_in(to_html(client.session(session_id), thumbnails=True))) == 12


def test_pictures_of_a_bare_turn_need_a_client(client: ChatClient, session_id: str) -> None:
    turn = client.session(session_id).turns()[0]
    with pytest.raises(ConfigurationError, match="client="):
        show(turn, thumbnails=True)


def test_show_shows_the_view_first_and_then_its_pictures(
    client: ChatClient, session_id: str, notebook: Notebook
) -> None:
    session = client.session(session_id)
    without, with_pictures = notebook.run(
        "from llama_cloud_chat.notebook import show; show(x, thumbnails=True)", x=session
    )
    assert without["text/html"] == to_html(session)
    assert with_pictures["text/html"] == to_html(session, thumbnails=True)


def test_a_stream_ends_with_its_pictures(
    service: ChatService, client: ChatClient, session_id: str, notebook: Notebook
) -> None:
    service.plays.append(Play(WITH_EVERYTHING))
    stream = client.session(session_id).stream("And?")
    cell = "from llama_cloud_chat.notebook import show\ny = show(x, client=c, thumbnails=1)"
    shown = notebook.run(cell, x=stream, c=client)
    assert shown[-1]["text/html"] == to_html(stream.turn, client=client, thumbnails=1)


def test_a_stream_brings_its_own_client(
    service: ChatService, client: ChatClient, session_id: str, notebook: Notebook
) -> None:
    service.plays.append(Play(WITH_EVERYTHING))
    stream = client.session(session_id).stream("And?")
    shown = notebook.run("from llama_cloud_chat.notebook import show\ny = show(x, thumbnails=True)", x=stream)
    assert len(pictures_in(shown[-1]["text/html"])) == 2


async def test_a_stream_for_tasks_brings_its_own_client(
    service: ChatService, aclient: AsyncChatClient, session_id: str, notebook: Notebook
) -> None:
    service.plays.append(Play(WITH_EVERYTHING))
    with capture_output() as captured:
        await ashow(aclient.session(session_id).stream("And?"), thumbnails=True)
    assert len(pictures_in(notebook.displayed(captured)[-1]["text/html"])) == 2


def test_pictures_stand_above_the_passages_those_of_cited_ones_first(
    service: ChatService, client: ChatClient, session_id: str
) -> None:
    def passage(page: int) -> dict[str, Any]:
        attachment = {"attachment_name": f"page_{page}.jpg", "source_id": "f"}
        fields = {"page_range_start": page, "attachments": [attachment]}
        return {"content": "Leave.", "metadata": {"file_name": "a.pdf"}, "static_fields": fields}

    found = tool("c", "retrieve", {}, {"results": [passage(page) for page in (1, 2, 3)]})
    said = service.add_session(("How many?", [*found, *segment("text", "Thirty (a.pdf, page 3).")]))
    page = judge(to_html(client.session(said), thumbnails=2))
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["a.pdf, page 3", "a.pdf, page 1"]
    assert page.text.index("a.pdf, page 1") < page.text.index("Sources")


def test_a_picture_of_too_many_details_is_made_smaller_until_a_notebook_has_room_for_it() -> None:
    file = io.BytesIO()
    Image.effect_noise((1400, 1800), 200).save(file, "PNG")
    small = shrink(file.getvalue())
    assert len(base64.b64decode(small.url.partition(",")[2])) <= 100_000
    assert small.width > 100


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_task_fetches_with_either_client(
    colour: str, client: ChatClient, aclient: AsyncChatClient, session_id: str, notebook: Notebook
) -> None:
    turn = client.session(session_id).turns()[0]
    with capture_output() as captured:
        await ashow(turn, client=client if colour == "sync" else aclient, thumbnails=True)
        await ashow(aclient.session(session_id), thumbnails=True)
    assert [len(pictures_in(data["text/html"])) for data in notebook.displayed(captured)] == [0, 2, 0, 2]


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (in_json({"detail": "No such file."}, 404), "No picture: "),
        (plain(200, b"<svg onload=alert(1)>"), "No picture: It is no picture that can be shown."),
        (plain(200, b""), "No picture: It is no picture that can be shown."),
        (plain(200, picture()[:2000]), "No picture: It is no picture that can be shown."),
    ],
)
def test_a_picture_that_cannot_be_had_is_a_note(
    answer: bytes, note: str, service: ChatService, client: ChatClient, session_id: str
) -> None:
    service.instead["file"].appendleft([answer])
    html = to_html(client.session(session_id), thumbnails=True)
    assert note in judge(html).text
    assert len(pictures_in(html)) == 1


@pytest.mark.parametrize(
    "content",
    [
        picture(kind="JPEG"),
        picture(kind="WEBP"),
        picture(kind="GIF", mode="P"),
        picture(mode="RGBA"),
        picture(mode="LA"),
        picture(mode="I;16"),
        picture(mode="1"),
        picture(kind="JPEG", mode="CMYK"),
        picture(1, 1),
        picture(6000, 3),
    ],
)
def test_any_picture_becomes_one_that_a_page_has_room_for(content: bytes) -> None:
    small = shrink(content)
    assert small.url.startswith("data:image/webp;base64,")
    assert small.width <= 960
    assert small.height <= 1360
    assert min(small.width, small.height) >= 1
    assert small.small[0] <= 150
    assert small.small[1] <= 200
    assert min(small.small) >= 1


def test_what_a_picture_says_beside_its_pixels_is_left_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script>"
    small = shrink(picture(kind="JPEG", exif=exif, comment=b"<script>"))
    assert b"script" not in base64.b64decode(small.url.partition(",")[2])


@pytest.mark.parametrize(("width", "height"), [(10_000, 9_000), (8_000, 8_000), (20_000, 20_000)])
def test_a_picture_that_is_too_large_is_not_decoded(width: int, height: int) -> None:
    assert shrink(picture(width, height, mode="1")).problem == "It is too large."
