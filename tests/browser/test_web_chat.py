"""The example in a real browser: what is asked and shown, and that nothing is lost whatever happens to the page."""

from __future__ import annotations

import contextlib
import json
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("itsdangerous", reason="the example signs with it")
pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_cloud_chat.local import LocalService

from ..notebooks.browser import MISSING, Browser, luminance, open_browser
from .support import Line, serve

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = runpy.run_path(str(ROOT / "examples/web_chat/server.py"), run_name="web_chat")
in_a_browser = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
TRAIN = "How do I book a train?"
TRAIN_ANSWER = "Book them a week ahead."
PATIENCE = 60.0


@pytest.fixture
def service() -> Iterator[LocalService]:
    with LocalService(ROOT / "examples/handbook") as service:
        yield service


@pytest.fixture
def slow_service() -> Iterator[LocalService]:
    """An agent that takes about five seconds for an answer."""
    with LocalService(ROOT / "examples/handbook", pace=0.1) as service:
        yield service


@contextlib.contextmanager
def chat(service: LocalService, secret: str = "a secret of the tests") -> Iterator[str]:
    client = AsyncChatClient(service.api_key, base_url=service.base_url)
    with serve(EXAMPLE["create_app"](client, service.index_ids, secret)) as address:
        yield address


@pytest.fixture
def address(service: LocalService) -> Iterator[str]:
    with chat(service) as address:
        yield address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Chromium with one tab and nothing remembered."""
    driver = chromium.driver
    yield chromium
    for extra in driver.window_handles[1:]:
        driver.switch_to.window(extra)
        driver.close()
    driver.switch_to.window(driver.window_handles[0])
    driver.get("about:blank")


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots")


def until(holds: Callable[[], Any], what: str = "something") -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited for {what}, which never came"
        time.sleep(0.02)
    return found


def ask(browser: Browser, words: str) -> None:
    box = browser.driver.find_element(By.ID, "question")
    box.send_keys(words)
    box.send_keys(Keys.ENTER)


def status(browser: Browser) -> str:
    return browser.driver.find_element(By.ID, "status").text


def answered(browser: Browser) -> None:
    until(lambda: status(browser) == "Answered.", "the answer")


def answers(browser: Browser) -> list[str]:
    """Return the words of the answers that are seen."""
    texts: list[str] = browser.run(
        "return [...document.querySelectorAll('article.assistant')].map(each => "
        "[...each.querySelectorAll('.text')].map(part => part.textContent).join(''))"
    )
    return texts


def held(browser: Browser) -> list[dict[str, Any]]:
    """Return what the browser keeps of the conversation."""
    kept = browser.run("return localStorage.getItem('chat:' + location.hash.slice(1))")
    messages: list[dict[str, Any]] = json.loads(kept or '{"messages": []}')["messages"]
    return messages


def prompts(service: LocalService) -> list[list[str]]:
    """Return what was asked, by session."""
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        sessions = sorted(client.list(), key=lambda each: each.last_updated_at)
        return [[turn.prompt for turn in client.retrieve(each.session_id).turns] for each in sessions]


@in_a_browser
def test_an_answer_with_its_thinking_tools_sources_and_page_pictures(browser: Browser, address: str) -> None:
    browser.look(address)
    ask(browser, TRAIN)
    answered(browser)
    [answer] = browser.driver.find_elements(By.CSS_SELECTOR, "article.assistant")
    assert TRAIN_ANSWER in answer.text
    thinking, tool = answer.find_elements(By.CSS_SELECTOR, ".thinking > summary, .tool > summary")
    assert tool.text == 'Used retrieve(query="book train", top_k=6)'
    assert "I search the indexes" not in answer.text
    thinking.click()
    tool.click()
    assert "I search the indexes for passages that speak of it." in answer.text
    assert '"rerank_score"' in answer.text
    assert "travel.pdf, page 1" in answer.find_element(By.CSS_SELECTOR, ".sources").text
    picture = answer.find_element(By.CSS_SELECTOR, ".sources img")
    assert picture.get_attribute("alt") == "Picture of travel.pdf, page 1"
    until(lambda: browser.run("return document.querySelector('.sources img').naturalWidth > 100"))


@in_a_browser
def test_the_page_asks_nobody_else(browser: Browser, address: str) -> None:
    browser.look(address)
    ask(browser, TRAIN)
    answered(browser)
    assert all(url.startswith(address) for url in browser.requested())


@in_a_browser
def test_what_the_reader_opened_stays_open_while_the_answer_grows(browser: Browser, slow_service: LocalService) -> None:
    with chat(slow_service) as address:
        browser.look(address)
        ask(browser, TRAIN)
        summary = until(lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".thinking > summary"))[0]
        summary.click()
        answered(browser)
        assert browser.run("return document.querySelector('.thinking').open")


@in_a_browser
def test_a_reload_goes_on_in_the_session(browser: Browser, address: str, service: LocalService) -> None:
    browser.look(address)
    ask(browser, TRAIN)
    answered(browser)
    browser.driver.refresh()
    assert TRAIN_ANSWER in answers(browser)[0]
    ask(browser, "How many days of leave do I have?")
    answered(browser)
    assert len(answers(browser)) == 2
    assert prompts(service) == [[TRAIN, "How many days of leave do I have?"]]


@in_a_browser
def test_a_reload_in_the_middle_of_an_answer_loses_nothing(browser: Browser, slow_service: LocalService) -> None:
    with chat(slow_service) as address:
        browser.look(address)
        ask(browser, TRAIN)
        until(lambda: any(answers(browser)), "the first words")
        browser.driver.refresh()
        answered(browser)
        assert TRAIN_ANSWER in answers(browser)[0]
        assert browser.driver.find_elements(By.CSS_SELECTOR, ".sources img")
        assert prompts(slow_service) == [[TRAIN]]


@in_a_browser
def test_a_line_that_is_cut_loses_nothing(browser: Browser, slow_service: LocalService) -> None:
    with chat(slow_service) as address, Line(address) as line:
        browser.look(line.address)
        ask(browser, TRAIN)
        until(lambda: any(answers(browser)), "the first words")
        line.cut()
        until(lambda: "The line was cut" in status(browser), "the cut")
        line.mend()
        answered(browser)
        assert TRAIN_ANSWER in answers(browser)[0]
        assert prompts(slow_service) == [[TRAIN]]


@in_a_browser
def test_a_line_that_is_cut_before_the_answer_keeps_the_question(
    browser: Browser, address: str, service: LocalService
) -> None:
    with Line(address) as line:
        browser.look(line.address)
        line.cut()
        ask(browser, TRAIN)
        problem = until(lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".problem"), "the notice")[0]
        assert "The line was cut before the answer began." in problem.text
        line.mend()
        problem.find_element(By.TAG_NAME, "button").click()
        answered(browser)
        assert TRAIN_ANSWER in answers(browser)[0]
        assert prompts(service) == [[TRAIN]]


@in_a_browser
def test_an_answer_that_is_stopped_stays_and_the_conversation_goes_on(
    browser: Browser, slow_service: LocalService
) -> None:
    with chat(slow_service) as address:
        browser.look(address)
        ask(browser, TRAIN)
        until(lambda: any(answers(browser)), "the first words")
        browser.driver.find_element(By.ID, "question").send_keys(Keys.ESCAPE)
        until(lambda: "You stopped this answer." in browser.driver.page_source, "the note")
        [words] = answers(browser)
        assert words
        ask(browser, "How many days of leave do I have?")
        answered(browser)
        assert answers(browser)[0] == words
        assert "30 days" in answers(browser)[1]


@in_a_browser
def test_a_second_tab_shows_the_conversation_and_waits_for_its_turn(
    browser: Browser, slow_service: LocalService
) -> None:
    driver = browser.driver
    with chat(slow_service) as address:
        browser.look(address)
        first = driver.current_window_handle
        ask(browser, TRAIN)
        until(lambda: any(answers(browser)), "the first words")
        url = driver.current_url
        driver.switch_to.new_window("tab")
        driver.get(url)
        ask(browser, "How many days of leave do I have?")
        until(lambda: len(answers(browser)) == 2 and status(browser) == "Answered.", "both answers")
        assert TRAIN_ANSWER in answers(browser)[0]
        assert "30 days" in answers(browser)[1]
        driver.switch_to.window(first)
        until(lambda: "30 days" in "".join(answers(browser)[1:]), "the other tab's answer")
        assert prompts(slow_service) == [[TRAIN, "How many days of leave do I have?"]]


@in_a_browser
@pytest.mark.parametrize("away", ["reload", "another conversation"])
def test_a_question_that_waits_for_another_tab_is_not_lost(
    browser: Browser, slow_service: LocalService, away: str
) -> None:
    driver, second = browser.driver, "How many days of leave do I have?"
    with chat(slow_service) as address:
        browser.look(address)
        ask(browser, TRAIN)
        until(lambda: any(answers(browser)), "the first words")
        url, first = driver.current_url, driver.current_window_handle
        driver.switch_to.new_window("tab")
        driver.get(url)
        ask(browser, second)
        until(lambda: status(browser) == "Another tab is asking ...", "its turn")
        if away == "reload":
            driver.refresh()
        else:
            driver.find_element(By.ID, "new").click()
        assert driver.find_element(By.ID, "question").get_attribute("value") == second
        driver.switch_to.window(first)
        answered(browser)
        assert prompts(slow_service) == [[TRAIN]]


@in_a_browser
def test_a_button_is_one_line_on_a_narrow_screen(browser: Browser, address: str) -> None:
    browser.look(address, width=320)
    heights = browser.run("return [...document.querySelectorAll('nav summary, button')].map(each => each.offsetHeight)")
    assert max(heights) < 50
    assert browser.overflowing("header") == []


@in_a_browser
def test_an_edited_question_forks(browser: Browser, address: str, service: LocalService) -> None:
    browser.look(address)
    for words in (TRAIN, "How many days of leave do I have?"):
        ask(browser, words)
        answered(browser)
    browser.driver.find_elements(By.CSS_SELECTOR, "article.user button")[1].click()
    box = browser.driver.find_element(By.ID, "question")
    box.clear()
    ask(browser, "When do I need a doctor's note?")
    until(lambda: "third morning" in "".join(answers(browser)[1:]), "the other answer")
    answered(browser)
    first, second = sorted(prompts(service), key=len, reverse=True)
    assert first == [TRAIN, "How many days of leave do I have?"]
    assert second[0].endswith("When do I need a doctor's note?")


@in_a_browser
def test_an_error_is_told_and_can_be_asked_again(browser: Browser, address: str, service: LocalService) -> None:
    service.fail_next(stop_with="The model is overloaded.")
    browser.look(address)
    ask(browser, TRAIN)
    problem = until(lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".problem"), "the error")[0]
    assert "The model is overloaded." in problem.text
    problem.find_element(By.TAG_NAME, "button").click()
    answered(browser)
    assert TRAIN_ANSWER in answers(browser)[-1]
    assert not browser.driver.find_elements(By.CSS_SELECTOR, ".problem")


@in_a_browser
def test_earlier_conversations_are_found_again(browser: Browser, address: str) -> None:
    browser.look(address)
    ask(browser, TRAIN)
    answered(browser)
    browser.driver.find_element(By.ID, "new").click()
    assert answers(browser) == []
    browser.driver.find_element(By.CSS_SELECTOR, "#earlier > summary").click()
    until(lambda: browser.driver.find_elements(By.LINK_TEXT, TRAIN), "the list")[0].click()
    until(lambda: answers(browser), "the conversation")
    assert TRAIN_ANSWER in answers(browser)[0]


@in_a_browser
def test_everything_can_be_reached_with_the_keyboard_and_has_a_name(browser: Browser, address: str) -> None:
    browser.look(address)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "question"
    ask(browser, TRAIN)
    answered(browser)
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}
    assert {
        ("main", "Conversation"),
        ("navigation", "Conversations"),
        ("article", "You"),
        ("article", "The agent"),
        ("region", "Sources"),
        ("textbox", "Your question"),
        ("button", "Ask"),
        ("button", "New"),
        ("button", f"Edit the question: {TRAIN}"),
        ("image", "Picture of travel.pdf, page 1"),
        ("link", "Go to the question"),
    } <= told
    needing = {"button", "link", "textbox", "image", "article"}
    assert [role for role, name in told if role in needing and not name] == []
    reached: list[str] = []
    browser.run("document.activeElement.blur()")
    for _ in range(30):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.run("const at = document.activeElement; return at.id || at.className || at.textContent"))
    assert {"new", "question", "send"} <= set(reached)
    assert any("Thinking" in each for each in reached)
    assert any(each.startswith("Used retrieve") for each in reached)
    browser.driver.find_element(By.CSS_SELECTOR, ".thinking > summary").send_keys(Keys.SPACE)
    assert browser.run("return document.querySelector('.thinking').open")


@in_a_browser
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read_in_every_theme_and_width(
    browser: Browser, address: str, screenshots: Path, dark: bool, width: int
) -> None:
    browser.look(address, width=width, dark=dark)
    for words in (TRAIN, "How many days of leave do I have, and what about expenses?"):
        ask(browser, words)
        answered(browser)
    until(
        lambda: browser.run("return [...document.images].every(each => each.naturalWidth || each.loading === 'lazy')")
    )
    browser.driver.save_screenshot(str(screenshots / f"{'dark' if dark else 'light'}-{width}.png"))
    browser.run("document.querySelectorAll('main details').forEach(each => { each.open = true })")
    assert browser.overflowing("main") == []
    assert browser.run("return document.documentElement.scrollWidth") <= width
    texts = browser.texts("body")
    assert texts
    for text in texts:
        assert text.contrast >= 4.5, text
        if text.words not in {"Ask"}:
            assert (luminance(text.ground) < 0.2) is dark, text


HOSTILE = """<img src=x onerror="document.title='taken'"> **bold** [click](javascript:document.title='taken')

<script>document.title='taken'</script>

```
<b>code</b>
"""


@in_a_browser
def test_what_an_agent_says_is_never_markup(browser: Browser) -> None:
    result = {"results": [{"content": HOSTILE, "metadata": {"file_name": HOSTILE, "url": "javascript:alert(1)"}}]}
    script: list[Any] = [
        {"type": "thinking", "content": HOSTILE},
        {"type": "tool_call", "call_id": "1", "name": HOSTILE, "arguments": {HOSTILE: HOSTILE}},
        {"type": "tool_result", "call_id": "1", "name": HOSTILE, "result": result},
        {"type": "text", "content": HOSTILE},
    ]
    with LocalService(ROOT / "examples/handbook", agent=script) as service, chat(service) as address:
        browser.look(address)
        ask(browser, HOSTILE.replace("\n", " "))
        answered(browser)
        article = "document.querySelector('article.assistant')"
        assert browser.run(f"return {article}.querySelectorAll('script, img, b, a').length") == 0
        assert browser.run(f"return {article}.querySelector('strong').textContent") == "bold"
        assert browser.run("return document.title") == "Ask the documents"


# The server, without a browser


def question(words: str) -> dict[str, Any]:
    return {"id": "1", "role": "user", "parts": [{"type": "text", "text": words}]}


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(frame.removeprefix("data: ")) for frame in response.text.split("\n\n")[:-2]]


def metadata_of(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    return next(chunk["messageMetadata"] for chunk in chunks if "messageMetadata" in chunk)


def asked(client: httpx.Client, words: str, *before: dict[str, Any]) -> list[dict[str, Any]]:
    return chunks_of(client.post("/api/chat", json={"messages": [*before, question(words)]}))


def an_answer(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"id": "2", "role": "assistant", "parts": [{"type": "text", "text": "So."}], "metadata": metadata}


@contextlib.contextmanager
def user(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, trust_env=False) as client:
        page = client.get("/")
        assert "HttpOnly" in page.headers["set-cookie"]
        assert "SameSite=strict" in page.headers["set-cookie"]
        assert "default-src 'self'" in page.headers["content-security-policy"]
        yield client


def test_a_page_cannot_continue_read_or_look_into_another_users_session(address: str, service: LocalService) -> None:
    with user(address) as ada, user(address) as eve:
        metadata = metadata_of(asked(ada, TRAIN))
        naming = {"session_id": metadata["session_id"], "turn": 1}
        for stolen in (metadata, naming, {**metadata, "token": f"{metadata['token']}x"}, {**naming, "token": 5}):
            gained = metadata_of(asked(eve, "And?", question(TRAIN), an_answer(stolen)))
            assert gained["session_id"] != metadata["session_id"]
        assert eve.post("/api/answer", json={"token": metadata["token"]}).status_code == 403
        picture = {"token": metadata["token"], "name": "screenshots/page_1.jpg", "source_id": "x"}
        assert eve.get("/api/picture", params=picture).status_code == 403
        assert (
            metadata_of(asked(ada, "And?", question(TRAIN), an_answer(metadata)))["session_id"]
            == (metadata["session_id"])
        )


def test_only_pictures_of_the_answer_are_shown(address: str) -> None:
    with user(address) as ada:
        chunks = asked(ada, TRAIN)
        token = metadata_of(chunks)["token"]
        source = next(chunk for chunk in chunks if chunk["type"] == "source-document")
        attachment = source["providerMetadata"]["llama_cloud"]["attachments"][0]
        known = {"token": token, "name": attachment["attachment_name"], "source_id": attachment["source_id"]}
        picture = ada.get("/api/picture", params=known)
        assert picture.status_code == 200
        assert picture.headers["content-type"].startswith("image/")
        assert ada.get("/api/picture", params={**known, "name": "screenshots/page_9.jpg"}).status_code == 404


def test_an_answer_is_told_again_as_it_was(address: str) -> None:
    with user(address) as ada:
        live = asked(ada, TRAIN)
        told = chunks_of(ada.post("/api/answer", json={"token": metadata_of(live)["token"]}))
        texts = ["".join(chunk["delta"] for chunk in one if chunk["type"] == "text-delta") for one in (live, told)]
        assert texts[0] == texts[1]
        assert metadata_of(told) == metadata_of(live)


def test_with_another_secret_a_conversation_goes_on_in_a_new_session(service: LocalService) -> None:
    with chat(service, "one") as address, user(address) as ada:
        metadata = metadata_of(asked(ada, TRAIN))
        identity = dict(ada.cookies)
    with chat(service, "two") as address, httpx.Client(base_url=address, cookies=identity, trust_env=False) as ada:
        later = metadata_of(asked(ada, "And?", question(TRAIN), an_answer(metadata)))
        assert later["session_id"] != metadata["session_id"]


@pytest.mark.parametrize("body", ["", "[]", "{", '{"messages": []}', '{"messages": [{"role": "user"}]}'])
def test_a_malformed_request_is_refused(address: str, body: str) -> None:
    with user(address) as ada:
        response = ada.post("/api/chat", content=body)
        assert response.status_code == 400
        assert response.text
