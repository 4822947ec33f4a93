"""Takes the text out of HTML, as light Markdown, so that headings, lists, tables and code are still known as such."""

from __future__ import annotations

import re
from html.parser import HTMLParser

# What is between these tags is not for readers, or the same on every page.
_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object", "head", "nav"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"}
    | {"footer", "form", "header", "hr", "main", "nav", "ol", "p", "section", "table", "ul"}
)
_LISTS = frozenset({"ol", "ul"})
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n[ \t]*\n[ \t\n]*")


def text_of_html(html: str) -> str:
    """Return what a reader sees of `html`: headings as `#`, items as `-` or `1.`, rows as `|`, code between fences.

    Scripts, styles, menus and other parts that are not shown are left out. The title is the first heading if the page
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
        # How many points each list that is open has so far; None for those without numbers.
        self._lists: list[int | None] = []
        # Where in `_out` each cell of the row that is open begins.
        self._cells: list[int] = []
        self._row_of_headings = False

    def text(self) -> str:
        self._end_row()
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
            self._out.append(f"\n{self._mark()} ")
        elif tag == "br":
            self._out.append("\n")
        elif tag == "tr":
            self._end_row()
            self._out.append("\n")
            self._row_of_headings = True
        elif tag in ("td", "th"):
            self._cells.append(len(self._out))
            self._out.append(" ")
            self._row_of_headings = self._row_of_headings and tag == "th"
        elif tag in _BLOCKS:
            self._open_block(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in _UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self._out.append("\n```\n\n")
        elif tag == "tr":
            self._end_row()
        elif tag in _HEADINGS or tag in _BLOCKS:
            if tag == "table":
                self._end_row()
            elif tag in _LISTS and self._lists:
                self._lists.pop()
            self._out.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # `<svg/>` opens nothing that would have to be closed.
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def _open_block(self, tag: str) -> None:
        if tag == "table":
            # The row around a table within a table only puts it in its place.
            self._cells = []
        elif tag in _LISTS:
            self._lists.append(0 if tag == "ol" else None)
        self._out.append("\n\n")

    def _mark(self) -> str:
        """Return what stands before the next point of the innermost list."""
        count = self._lists[-1] if self._lists else None
        if count is None:
            return "-"
        self._lists[-1] = count + 1
        return f"{count + 1}."

    def _end_row(self) -> None:
        """Write the row that is open as one of a table; one whose cells have lines of their own is none."""
        starts, self._cells = self._cells, []
        if len(starts) < 2:
            return
        ends = [*starts[1:], len(self._out)]
        cells = ["".join(self._out[start:end]).strip() for start, end in zip(starts, ends, strict=True)]
        if any("\n" in cell for cell in cells):
            return
        del self._out[starts[0] :]
        self._out.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        if self._row_of_headings:
            self._out.append("\n|" + "---|" * len(cells))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif self._unseen:
            return
        elif self._preformatted:
            self._out.append(data)
        else:
            self._out.append(_SPACE.sub(" ", data))
