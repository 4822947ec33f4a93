"""Takes the text out of HTML, as light Markdown, so that headings, lists and code are still known as such."""

from __future__ import annotations

import re
from html.parser import HTMLParser

# What is between these tags is not for readers.
_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object", "head"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"}
    | {"footer", "form", "header", "hr", "main", "nav", "ol", "p", "section", "table", "ul"}
)
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n[ \t]*\n[ \t\n]*")


def text_of_html(html: str) -> str:
    """Return what a reader sees of `html`: headings as `#`, items as `-`, preformatted text as fenced code.

    Scripts, styles and other parts that are not shown are left out. The title is the first heading if the page
    has none of the first level.
    """
    parser = _Reader()
    parser.feed(html)
    parser.close()
    return parser.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._title: list[str] = []
        self._unseen = 0
        self._preformatted = 0
        self._in_title = False
        self._has_heading = False

    def text(self) -> str:
        body = "".join(self._out)
        title = _SPACE.sub(" ", "".join(self._title)).strip()
        if title and not self._has_heading:
            body = f"# {title}\n\n{body}"
        return _BLANK_LINES.sub("\n\n", body).strip() + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = not self._title
        elif tag == "body":
            # A head that was never closed ends here.
            self._unseen = 0
        elif tag in _UNSEEN:
            self._unseen += 1
        elif tag in _HEADINGS:
            self._has_heading = self._has_heading or tag == "h1"
            self._out.append(f"\n\n{_HEADINGS[tag]} ")
        elif tag == "pre":
            self._preformatted += 1
            self._out.append("\n\n```\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag in ("br", "tr"):
            self._out.append("\n")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag in _BLOCKS:
            self._out.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in _UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self._out.append("\n```\n\n")
        elif tag in _HEADINGS or tag in _BLOCKS:
            self._out.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # `<svg/>` opens nothing that would have to be closed.
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif self._unseen:
            return
        elif self._preformatted:
            self._out.append(data)
        else:
            self._out.append(_SPACE.sub(" ", data))
