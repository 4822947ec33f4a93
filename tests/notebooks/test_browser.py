"""What the notebooks show, looked at in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from selenium.webdriver.common.keys import Keys

from llama_cloud_chat import ChatClient, SessionDetail, Stop, Text, Turn
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.notebook import to_html
from notebooks import run

from .browser import MISSING, Browser, PageServer, luminance, open_browser

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

NARROW, WIDE = 400, 1200
# Scripts that nbconvert's pages fetch for formulas and widgets; a notebook without them needs none.
NO_SCRIPTS = {"require_js_url": "", "mathjax_url": "", "jquery_url": "", "mermaid_js_url": ""}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer() as server:
        yield server


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def turn() -> Turn:
    with (
        LocalService(run.FOLDER / "documents") as service,
        ChatClient(service.api_key, base_url=service.base_url) as client,
    ):
        return client.create(service.index_ids).ask("How long do two lithium batteries last?")


def as_page(notebook: NotebookNode, theme: str = "light") -> str:
    page: str = HTMLExporter(**NO_SCRIPTS, theme=theme).from_notebook_node(notebook)[0]
    return page


def notebook_page(theme: str = "light") -> str:
    return as_page(run.read(run.FOLDER / "03_sessions_sources_forks.ipynb"), theme)


def test_a_turn_can_be_read_and_unfolded(browser: Browser, server: PageServer) -> None:
    browser.look(server.add("/notebook", notebook_page()))
    turn = browser.driver.find_element("css selector", ".lcc")
    assert "How long do two lithium batteries last?" in turn.text
    assert "Two lithium batteries last 26 months with a reading every five minutes." in turn.text
    assert "handbook.pdf" in turn.text
    assert '"query"' not in turn.text
    thinking, tool = turn.find_elements("css selector", "summary")[:2]
    thinking.click()
    tool.click()
    assert "I search the indexes for passages that speak of it." in turn.text
    assert '"query": "two lithium batteries"' in turn.text


def test_page_pictures_have_pixels(browser: Browser, server: PageServer) -> None:
    browser.look(server.add("/notebook", notebook_page()))
    pictures = browser.run(
        """return [...document.querySelectorAll(".lcc img")].map(picture => {
            const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(picture, 0, 0);
            const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
            return {name: picture.alt, width: picture.naturalWidth, seen: picture.checkVisibility(),
                    colours: new Set(pixels).size};
        })"""
    )
    assert {"handbook.pdf, page 2", "handbook.pdf, page 3"} <= {picture["name"] for picture in pictures}
    for picture in pictures:
        assert picture["width"] > 100
        assert picture["colours"] > 20
        assert picture["seen"]


def test_a_picture_opens_in_full_and_closes_again(browser: Browser, server: PageServer) -> None:
    browser.look(server.add("/notebook", notebook_page()))
    width = "return document.querySelector('.lcc img').getBoundingClientRect().width"
    assert browser.run(width) <= 150
    summary = browser.driver.find_element("css selector", ".lcc-picture summary")
    summary.send_keys(Keys.ENTER)
    assert browser.run(width) > 600
    summary.click()
    assert browser.run(width) <= 150


@pytest.mark.parametrize("kind", ["notebook", "page"])
def test_tables_do_not_break_words(browser: Browser, server: PageServer, kind: str) -> None:
    words = ["Geschäftsführungsmitglieder", "Reimbursement", "Vorstandsgenehmigungsverfahren", "$1,000,000"]
    turn = Turn.from_events("Who?", [Text(f"|a|b|c|d|\n|-|-|-|-|\n|{'|'.join(words)}|"), Stop()])
    page = in_a_notebook(to_html(turn)) if kind == "notebook" else to_html(turn, standalone=True)
    browser.look(server.add("/table", page), width=NARROW)
    lines = browser.run(
        """return [...document.querySelectorAll(".lcc :is(th, td)")].map(cell => {
            const words = document.createRange();
            words.selectNodeContents(cell);
            return words.getClientRects().length;
        })"""
    )
    assert lines == [1] * 8
    # The table scrolls, and nothing around it does.
    assert browser.run("return document.documentElement.scrollWidth") <= NARROW
    table = "document.querySelector('.lcc table')"
    assert browser.run(f"return {table}.scrollWidth > {table}.clientWidth")


def test_a_notebook_asks_for_nothing(browser: Browser, server: PageServer) -> None:
    url = server.add("/notebook", notebook_page())
    browser.look(url)
    unfold(browser)
    browser.driver.get(server.url + "/after")
    assert server.asked == ["/notebook", "/after"]
    assert browser.requested() == [url, server.url + "/after"]


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["notebook", "vscode", "page"])
def test_it_fits_and_can_be_read_in_every_theme_and_width(
    browser: Browser, server: PageServer, screenshots: Path, turn: Turn, kind: str, dark: bool, width: int
) -> None:
    theme = "dark" if dark else "light"
    page = {
        "notebook": lambda: notebook_page(theme),
        "vscode": lambda: f'<body class="vscode-{theme}">{to_html(turn)}</body>',
        "page": lambda: to_html(turn, standalone=True),
    }[kind]()
    # Jupyter and VS Code have themes of their own, whatever that of the system.
    browser.look(server.add(f"/{kind}", page), width=width, dark=dark if kind == "page" else not dark)
    name = f"{kind}-{theme}-{width}"
    browser.photograph(screenshots / f"{name}.png")
    unfold(browser)
    browser.photograph(screenshots / f"{name}-unfolded.png")
    assert browser.overflowing(".lcc") == []
    texts = browser.texts(".lcc")
    assert texts
    for text in texts:
        assert text.contrast >= 4.5, text
        assert (luminance(text.ground) < 0.2) is dark, text


ATTACKS = [
    "<script>fetch('URL/script')</script>",
    "<img src='URL/img' onerror=\"fetch('URL/onerror')\">",
    "![picture](URL/markdown-img)",
    "</style><style>body::before { content: url(URL/style) } @import 'URL/import';</style>",
    "<link rel=stylesheet href='URL/link'><iframe src='URL/iframe'></iframe><object data='URL/object'></object>",
    "<svg onload=\"fetch('URL/svg')\"><image href='URL/svg-image'/></svg>",
    "<video autoplay src='URL/video' poster='URL/poster'></video>",
    "<meta http-equiv=refresh content='0; url=URL/refresh'>",
    "</details></section></div><script>fetch('URL/closed')</script>",
    "\"><script>fetch('URL/quote')</script><a title=\"",
    "]]></textarea></title></pre></code><img src='URL/ended'>",
    "[click](javascript:fetch('URL/href')) <a href=\"javascript:fetch('URL/a')\">click</a>",
    "{{ cycler.__init__.__globals__ }} {% include 'URL/jinja' %}",
]


def hostile_session(url: str) -> SessionDetail:
    """A session whose every word is an attack."""
    attack = "\n\n".join(ATTACKS).replace("URL", url)
    passage = {"content": attack, "score": 1.0, "metadata": {"file_name": attack}}
    turn = [
        {"type": "user_input", "content": attack},
        {"type": "thinking", "content": attack},
        {"type": "tool_call", "call_id": "1", "name": attack, "arguments": {attack: attack}},
        {"type": "tool_result", "call_id": "1", "name": attack, "result": {"results": [passage], attack: attack}},
        {"type": "text", "content": attack},
        {"type": attack, "content": attack},
        {"type": "stop", "is_error": True, "error": attack, "usage": {}, "skipped_index_ids": [attack]},
    ]
    return SessionDetail.model_validate(
        {"session_id": attack, "last_updated_at": attack, "generated_title": attack, "events": turn}
    )


def in_a_notebook(html: str) -> str:
    """A notebook's page with one output."""
    output = new_output("display_data", data={"text/html": html})
    return as_page(new_notebook(cells=[new_code_cell("show(session)", outputs=[output])]))


def unfold(browser: Browser) -> None:
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")


def test_an_attack_that_is_not_shown_as_text_would_be_seen(browser: Browser, server: PageServer) -> None:
    browser.look(server.add("/notebook", in_a_notebook("\n".join(ATTACKS[:4]).replace("URL", server.url))))
    browser.driver.get(server.url + "/after")
    assert {"/script", "/img", "/onerror", "/style"} <= set(server.asked)
    assert {f"{server.url}/script", f"{server.url}/img"} <= set(browser.requested())


@pytest.mark.parametrize("kind", ["notebook", "page"])
def test_hostile_content_runs_nothing_and_fetches_nothing(
    browser: Browser, server: PageServer, screenshots: Path, kind: str
) -> None:
    session = hostile_session(server.url)
    page = in_a_notebook(to_html(session)) if kind == "notebook" else to_html(session, standalone=True)
    url = server.add("/hostile", page)
    browser.look(url)
    unfold(browser)
    browser.photograph(screenshots / f"hostile-{kind}.png")
    shown = browser.driver.find_element("css selector", ".lcc").text
    for attack in ATTACKS[:1] + ATTACKS[4:9]:
        assert attack.replace("URL", server.url) in shown
    links = browser.run(
        "return [...document.querySelectorAll('.lcc a')].map(each => [each.protocol, each.rel, each.target])"
    )
    assert {(protocol, target) for protocol, _, target in links} <= {("http:", "_blank"), ("https:", "_blank")}
    assert all("noopener" in rel for _, rel, _ in links)
    browser.driver.get(server.url + "/after")
    assert server.asked == ["/hostile", "/after"]
    assert browser.requested() == [url, server.url + "/after"]
