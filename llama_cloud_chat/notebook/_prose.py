"""An answer's Markdown, which nobody vouches for: as HTML, and as Markdown that holds no markup but its own.

Raw HTML is shown as text. An image is a link to it, for a page that is looked at must fetch nothing. Links lead to the
web or to a mail address, or are shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

_SCHEMES = ("http:", "https:", "mailto:")


def _is_safe_link(url: str) -> bool:
    return url.lower().startswith(_SCHEMES)


def _render_image(renderer: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    """Write an image as a link, or inside a link as what it shows."""
    image = tokens[place]
    depth = sum(token.nesting for token in tokens[:place] if token.type in {"link_open", "link_close"})
    words = renderer.renderInlineAsText(image.children, options, env) or str(image.attrs.get("src", ""))
    label = str(Markup.escape(f"[image: {words}]"))
    return label if depth else f'<a href="{Markup.escape(image.attrs.get("src", ""))}">{label}</a>'


def _make_parser() -> MarkdownIt:
    # A link's definition is shown as it stands: used often, a long one would make megabytes of a few kilobytes.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")
    parser.validateLink = _is_safe_link  # type: ignore[method-assign]
    parser.add_render_rule("image", _render_image)
    return parser


_PARSER = _make_parser()

_TAGS = "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody td th thead tr ul"

# The second line of defence: whatever the parser made, only this passes.
_CLEANER = nh3.Cleaner(
    tags=set(_TAGS.split()),
    attributes={"a": {"href", "title"}, "ol": {"start"}, "td": {"style"}, "th": {"style"}},
    filter_style_properties={"text-align"},
    url_schemes={scheme.rstrip(":") for scheme in _SCHEMES},
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)


def as_html(markdown: str) -> Markup:
    """Return Markdown as HTML that is safe to show."""
    return Markup(_CLEANER.clean(_PARSER.render(markdown)))  # noqa: S704  # this is where it is made safe


# What begins raw HTML or an autolink, an image, a link that leads elsewhere, and a link's definition; and the
# backslashes before it.
_MARKUP = re.compile(r"(\\*)(<(?=[A-Za-z/!?])|!(?=\[)|\](?=\((?!\s*(?:https?|mailto):))|(?<=\]):)", re.IGNORECASE)


def _escape(match: re.Match[str]) -> str:
    slashes, character = match.groups()
    return match[0] if len(slashes) % 2 else f"{slashes}\\{character}"


def as_safe_markdown(markdown: str) -> str:
    """Return Markdown in which raw HTML and images are text, whatever renders it. Code blocks are as they were."""
    lines = markdown.split("\n")
    fences = [token for token in _PARSER.parse(markdown) if token.type == "fence" and token.map is not None]
    in_code = {line for token in fences for line in range(*_inside(token))}
    safe = [line if number in in_code else _MARKUP.sub(_escape, line) for number, line in enumerate(lines)]
    return "\n".join([*safe, *_closing(fences, lines)])


def _inside(fence: Token) -> tuple[int, int]:
    assert fence.map is not None
    return fence.map[0] + 1, fence.map[1]


def _closing(fences: Sequence[Token], lines: Sequence[str]) -> Iterator[str]:
    """Close a code block that the end of the answer leaves open, lest it swallow what follows."""
    if fences and fences[-1].level == 0 and fences[-1].map is not None:
        mark = fences[-1].markup
        start, end = fences[-1].map
        last = lines[end - 1].strip()
        is_closed = end - 1 > start and last.startswith(mark) and not last.strip(mark[0])
        if not is_closed:
            yield mark
