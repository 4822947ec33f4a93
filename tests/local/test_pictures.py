"""Page pictures: behind URLs that expire, made when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from llama_cloud import LlamaCloud
from PIL import Image

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.local._library import pictures
from llama_cloud_chat.local._library.documents import stamp_of
from llama_cloud_chat.local._library.index import File
from tests.local.harness import Api, pdf_of

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / "zoo.pdf").write_bytes(pdf_of("Introduction to it all.", "Elephants need much room."))
    return folder


@pytest.fixture
def zoo(start: Start, folder: Path) -> LocalService:
    return start(folder)


def source_of(api: Api, service: LocalService) -> dict[str, Any]:
    events = api.ask(api.create(index_ids=service.index_ids), "What do elephants need?")
    (result,) = [event for event in events if event["type"] == "tool_result"]
    assert "(zoo.pdf, page 2)" in events[-2]["content"]
    attachment: dict[str, Any] = result["image_attachment"]
    fields = result["result"]["results"][0]["static_fields"]
    assert fields["attachments"] == [attachment | {"type": "screenshot"}]
    return attachment


def resolve(api: Api, attachment: dict[str, Any]) -> str:
    name = attachment["attachment_name"].replace("/", "%2F")
    answer = api.http.get(f"/api/v1/beta/attachments/{name}", params={"source_id": attachment["source_id"]})
    assert answer.status_code == 200, answer.text
    assert datetime.fromisoformat(answer.json()["expires_at"]) > datetime.now(timezone.utc)
    return str(answer.json()["url"])


def test_a_page_picture_resolves_to_a_jpeg_with_ink_on_it(zoo: LocalService, connect: Connect) -> None:
    api = connect(zoo)
    url = resolve(api, source_of(api, zoo))
    assert url.startswith(zoo.base_url)
    # Without the key: the URL is enough.
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("JPEG", (1082, 1400))
    darkest, brightest = picture.convert("L").getextrema()
    assert darkest < 60
    assert brightest > 250


def test_the_core_and_the_sdk_resolve_the_attachments_of_a_source(zoo: LocalService) -> None:
    with ChatClient(zoo.api_key, base_url=zoo.base_url) as client:
        turn = client.create(zoo.index_ids).ask("What do elephants need?")
        source = turn.sources[0]
        assert (source.page_start, source.page_end) == (2, 2)
        assert httpx.get(client.get_attachment(source.attachments[0]).url).content[:3] == b"\xff\xd8\xff"
    with LlamaCloud(api_key=zoo.api_key, base_url=zoo.base_url, max_retries=0) as sdk:
        given = sdk.beta.attachments.get("screenshots/page_1.jpg", source_id=source.file_id or "")
        assert httpx.get(given.url).status_code == 200


@pytest.mark.parametrize("change", ["expires", "signature", "page", "source", "nothing"])
def test_a_url_that_was_tampered_with_is_403(zoo: LocalService, connect: Connect, change: str) -> None:
    api = connect(zoo)
    attachment = source_of(api, zoo)
    url = resolve(api, attachment)
    query = parse_qs(urlsplit(url).query)
    (expires,), (signature,) = query["expires"], query["signature"]
    changed = {
        "expires": url.replace(f"expires={expires}", f"expires={int(expires) + 1}"),
        "signature": url.replace(signature, signature[::-1]),
        "page": url.replace("page_2", "page_1"),
        "source": url.replace(attachment["source_id"], "dfl-other"),
        "nothing": url,
    }[change]
    assert httpx.get(changed).status_code == (200 if change == "nothing" else 403)


@pytest.mark.parametrize("query", ["", "?expires=1", "?signature=x", "?expires=x&signature=%ff"])
def test_a_url_without_a_signature_is_refused(zoo: LocalService, connect: Connect, query: str) -> None:
    api = connect(zoo)
    url = resolve(api, source_of(api, zoo)).partition("?")[0]
    assert httpx.get(url + query).status_code in (403, 422)


@pytest.mark.parametrize("name", ["screenshots/page_3.jpg", "screenshots/page_0.jpg", "page_1.jpg", "../zoo.pdf"])
def test_a_picture_that_is_not_there_is_404(zoo: LocalService, connect: Connect, name: str) -> None:
    api = connect(zoo)
    source_id = source_of(api, zoo)["source_id"]
    name = name.replace("/", "%2F")
    assert api.http.get(f"/api/v1/beta/attachments/{name}", params={"source_id": source_id}).status_code == 404


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_a_picture_of_a_file_that_has_changed_is_404(
    zoo: LocalService, connect: Connect, folder: Path, change: str
) -> None:
    api = connect(zoo)
    url = resolve(api, source_of(api, zoo))
    (folder / "zoo.pdf").unlink()
    if change == "edited":
        (folder / "zoo.pdf").write_bytes(pdf_of("Something else.", "Altogether."))
    assert httpx.get(url).status_code == 404


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def album(folder: Path, clock: Clock) -> pictures.Pictures:
    path = folder / "zoo.pdf"
    file = File("dfl-1", "zoo.pdf", path, stamp_of(path.stat()), 2)
    return pictures.Pictures({"dfl-1": file}.get, seconds=60, clock=clock)


def show(album: pictures.Pictures, signed: str) -> bytes:
    parts = urlsplit(signed)
    query = {key: value for key, (value,) in parse_qs(parts.query).items()}
    _, _, source_id, name = parts.path.split("/", 3)
    return album.show(name, source_id, **query)


def test_a_url_is_good_until_it_expires(album: pictures.Pictures, clock: Clock) -> None:
    signed, expires = album.sign("screenshots/page_1.jpg", "dfl-1")
    assert expires == clock.now + 60
    clock.now += 59
    assert show(album, signed)
    clock.now += 1
    with pytest.raises(pictures.ExpiredLinkError, match="expired"):
        show(album, signed)


def test_a_url_is_good_for_the_service_that_gave_it_out_only(album: pictures.Pictures) -> None:
    other = pictures.Pictures(lambda file_id: None, seconds=60)
    with pytest.raises(pictures.ExpiredLinkError):
        show(other, album.sign("screenshots/page_1.jpg", "dfl-1")[0])


def test_a_picture_is_made_once_and_the_cache_is_bounded(
    album: pictures.Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def render(path: Path, page: int) -> bytes:
        made.append(page)
        return bytes(600)

    monkeypatch.setattr(pictures, "render_page", render)
    monkeypatch.setattr(album, "_cache", pictures._Cache(1000))
    urls = [album.sign(f"screenshots/page_{page}.jpg", "dfl-1")[0] for page in (1, 2)]
    for url in (urls[0], urls[0], urls[1], urls[1], urls[0]):
        show(album, url)
    assert made == [1, 2, 1]
