"""Turns with everything in them, hostile ones, and a judge of what a page may hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from llama_cloud_chat import Stop, Text, Thinking, ToolCall, ToolResult, Turn, Usage

from ..support.turns import WireEvent, segment, stop, tool

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=//evil.example/x.png>",
    "</style><style>*{display:none}</style>",
    "</div></section></details>",
    "</pre><iframe src=https://evil.example></iframe>",
    "<!-- hidden",
    "<svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "![remote](https://evil.example/track.png)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[![x](https://evil.example/a.png)](https://ok.example)",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](<javascript:alert(1)>)",
    "[click](&#106;avascript:alert(1))",
    "[click]( javascript:alert(1))",
    "[click](//evil.example)",
    "[click](file:///etc/passwd)",
    "[click](data:text/html,<script>alert(1)</script>)",
    '[click](https://ok.example "title\\" onclick=alert(1)")',
    '[click](https://ok.example/"onclick="alert(1))',
    "<javascript:alert(1)>",
    "[ref]\n\n[ref]: javascript:alert(1)",
    "[ref]: https://evil.example\n\n![ref]",
    "```\nopen",
    "~~~ <script>\nopen",
    "\\<script>alert(1)</script>",
    "\\\\<script>alert(1)</script>",
    "`\\`<script>alert(1)</script>",
    "`` ` <script>alert(1)</script>",
    "    <script>alert(1)</script>",
    "<a href='https://ok.example' onclick='alert(1)'>x</a>",
    "{{ config }}{% include 'page.html.j2' %}",
    "<style>@import 'https://evil.example'</style>",
    "| a | b |\n|---|---|\n| <script>alert(1)</script> | ![x](http://evil.example) |",
    "\x1b]0;owned\x07\u202eevil\x00",
    "$\\href{javascript:alert(1)}{x}$",
]

WITH_EVERYTHING: list[WireEvent] = [
    *segment("thinking", "I look for it."),
    *tool(
        "c1",
        "retrieve",
        {"query": "days of leave", "top_k": 6},
        {
            "results": [
                {
                    "content": "Everyone has 30 days of leave.",
                    "score": 0.913,
                    "metadata": {"file_name": "Employee handbook.pdf"},
                    "static_fields": {
                        "page_range_start": 7,
                        "page_range_end": 8,
                        "attachments": [
                            {"attachment_name": "screenshots/page_7.jpg", "source_id": "file-1"},
                            {"attachment_name": "screenshots/page_8.jpg", "source_id": "file-1"},
                        ],
                    },
                }
            ]
        },
    ),
    *segment("text", "You have ", "**30 days**."),
    stop(skipped_index_ids=["idx-2"]),
]


def turn_saying(text: str, **changes: Any) -> Turn:
    """Return a complete turn with this answer."""
    return Turn.from_events(changes.pop("prompt", "How many?"), [Text(text), Stop(**changes)])


def hostile_turn(attack: str) -> Turn:
    """Return a turn in which everything that a service can say is an attack."""
    result = {
        "results": [
            {
                "content": attack,
                "score": 1,
                "metadata": {"file_name": attack},
                "static_fields": {"attachments": [{"attachment_name": attack, "source_id": attack}]},
            }
        ]
    }
    return Turn.from_events(
        attack,
        [
            Thinking(attack),
            ToolCall("c1", attack, {attack: attack}),
            ToolResult("c1", attack, result),
            ToolCall("c2", attack, {}),
            ToolResult("c2", attack, attack),
            Text(attack),
            Text(f"Some words. {attack} {attack}\n{attack}"),
            Stop(is_error=True, error=attack, usage=Usage(1.0, 2, 3), skipped_index_ids=[attack]),
        ],
        session_id=attack,
        number=1,
    )


_PROSE = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"),
    *("s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_OURS = {"details", "div", "img", "section", "span", "style", "summary"}
# What tells MathJax, in its newer and its older versions, to leave the view alone.
_NO_FORMULAS = {"mathjax_ignore", "tex2jax_ignore"}
_PAGE = {"body", "head", "html", "main", "meta", "title"}
_ATTRIBUTES = {
    "a": {"href", "rel", "target", "title"},
    "details": {"class", "data-step", "open"},
    "img": {"alt", "height", "src", "width"},
    "meta": {"charset", "content", "http-equiv", "name"},
    "ol": {"start"},
    "span": {"class", "dir", "style"},
    "th": {"scope", "style"},
    "td": {"class", "dir", "style"},
}


@dataclass
class Page:
    """What a browser would find in a piece of HTML.

    Attributes:
        tags: Each start tag with its attributes.
        text: The text, outside of styles.
        styles: The styles.
    """

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    styles: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))
        if tag not in {"br", "hr", "img", "meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # HTML knows no `/>`: what ends there is void anyway, or stays open

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, "elements overlap"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.page.styles.append(data)
        else:
            self.page.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"a processing instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")


def read_page(html: str) -> Page:
    """Parse HTML whose elements are all closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.page


def judge(html: str, *, tags: set[str] = _PROSE | _OURS | _PAGE) -> Page:
    """Hold a page against what pages of ours may hold: elements, attributes, addresses and styles."""
    page = read_page(html)
    for tag, attributes in page.tags:
        assert tag in tags, f"<{tag}>"
        assert set(attributes) <= _ATTRIBUTES.get(tag, {"class", "dir"}), (tag, attributes)
        if "href" in attributes:
            assert str(attributes["href"]).startswith(("http://", "https://", "mailto:")), attributes
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/webp;base64,"), attributes
        if "style" in attributes:
            named = str(attributes["style"]).replace(" ", "").rstrip(";").partition(":")[0]
            assert named == ("animation-delay" if tag == "span" else "text-align")
        for name in (attributes.get("class") or "").split():
            assert name.startswith("lcc") or name in _NO_FORMULAS
    return page


JUST_PROSE = _PROSE
