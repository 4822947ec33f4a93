"""Transcripts as HTML and as Markdown. What a service says is text in both, never markup.

The HTML stands by itself in any page: no scripts, no ids, nothing to fetch, and styles that reach no further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llama_cloud_chat import Attachment, Source, Text, Thinking, ToolRun, Turn
from llama_cloud_chat._turn.wording import (
    arguments_line,
    call_line,
    clean_line,
    count,
    name_of,
    pages_of,
)

from ._citations import part_sources
from ._excerpts import SHORTENED, Limits, excerpt, json_excerpt, last_words, passage
from ._pictures import Picture, PictureKey, key_of
from ._prose import as_html, as_safe_markdown
from ._transcript import Transcript

Pictures: TypeAlias = Mapping[PictureKey, Picture]


def render_html(
    transcript: Transcript,
    *,
    limits: Limits = SHORTENED,
    pictures: Pictures | None = None,
    running_for: float | None = None,
    standalone: bool = False,
) -> str:
    """Return a transcript as HTML.

    Args:
        transcript: What to show.
        limits: How much of it.
        pictures: Page pictures that were fetched, by `key_of`.
        running_for: For how many seconds its last turn is being answered; None if it no longer is.
        standalone: Whether to return a whole page; else a fragment.
    """
    template = _environment().get_template("turn.html.j2")
    alone = len(transcript.turns) == 1

    def render(turn: Turn) -> str:
        running = running_for if turn is transcript.turns[-1] else None
        return template.render(turn=turn, limits=limits, pictures=pictures or {}, running_for=running, is_alone=alone)

    turns, left_out = _latest(transcript, limits, render)
    view = _environment().get_template("page.html.j2" if standalone else "transcript.html.j2")
    safe_turns = [Markup(turn) for turn in turns]  # noqa: S704  # the template above has escaped them
    return view.render(transcript=transcript, turns=safe_turns, left_out=left_out, limits=limits)


def render_markdown(transcript: Transcript, *, limits: Limits = SHORTENED) -> str:
    """Return a transcript as Markdown: prompts quoted, answers as they are, their sources listed."""
    turns, left_out = _latest(transcript, limits, lambda turn: "\n\n".join(_turn_as_markdown(turn, limits)))
    parts = [*_heading_as_markdown(transcript), *turns]
    if left_out:
        parts.insert(len(parts) - len(turns), f"*{count(left_out, 'earlier turn')} left out.*")
    return "\n\n".join(parts) + "\n"


def _latest(transcript: Transcript, limits: Limits, render: Callable[[Turn], str]) -> tuple[list[str], int]:
    """Render the latest turns, as many as there is room for; return them, and how many are left out."""
    rendered: list[str] = []
    room = limits.output
    for turn in reversed(transcript.turns[-min(limits.turns, len(transcript.turns)) :]):
        text = render(turn)
        room -= len(text)
        if rendered and room < 0:
            break
        rendered.append(text)
    return rendered[::-1], len(transcript.turns) - len(rendered)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or __name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "arguments_line": arguments_line,
        "count": count,
        "date": date,
        "excerpt": excerpt,
        "json_excerpt": json_excerpt,
        "last_words": last_words,
        "line": clean_line,
        "name_of": name_of,
        "pages_in_words": _pages_in_words,
        "passage": passage,
        "prose": as_html,
        "seconds": seconds,
    }
    environment.globals |= {"part_sources": part_sources, "pictures_of": _pictures_of}
    environment.tests |= {
        "thinking": lambda step: isinstance(step, Thinking),
        "text": lambda step: isinstance(step, Text),
        "tool_run": lambda step: isinstance(step, ToolRun),
    }
    return environment


@cache
def keep_open() -> str:
    """Return the one script there is: in a view that is drawn anew, it keeps open what the reader has opened."""
    source, _, _ = PackageLoader(__package__ or __name__).get_source(_environment(), "keep_open.js")
    return f"<script>\n{source}</script>"


def seconds(milliseconds: float) -> str:
    """Return a duration for people."""
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 100 else f"{milliseconds:.0f} ms"


_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?::\d\d(?:[.,]\d+)?)?(Z|[+-]\d\d:\d\d)?")


def date(timestamp: str) -> str:
    """Return a date and time for people, as in `2 March 2026, 14:05 UTC`; what is no ISO timestamp stays as it is."""
    parts = _TIMESTAMP.fullmatch(timestamp.strip())
    try:
        moment = datetime.fromisoformat(parts[1] + (parts[2] or "").replace("Z", "+00:00")) if parts else None
    except ValueError:
        moment = None
    if moment is None:
        return clean_line(timestamp)
    offset = moment.utcoffset()
    zone = "" if offset is None else f" UTC{moment:%z}" if offset != timedelta() else " UTC"
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def attachments_of(turn: Turn) -> list[tuple[str, Attachment]]:
    """Return a turn's page pictures, each once, with what they show; those of cited passages first."""
    found: dict[PictureKey, tuple[str, Attachment]] = {}
    sources = part_sources(turn)
    for source in [*sources.first, *sources.rest]:
        for attachment in source.attachments:
            caption = ", ".join(filter(None, (name_of(source), _pages_in_words(source))))
            found.setdefault(key_of(attachment), (caption, attachment))
    for run in turn.tool_calls:
        if run.image_attachment is not None:
            attachment = run.image_attachment
            found.setdefault(key_of(attachment), (clean_line(attachment.attachment_name), attachment))
    return list(found.values())


def _pictures_of(turn: Turn, pictures: Pictures) -> list[tuple[str, Picture]]:
    found = attachments_of(turn) if pictures else []
    return [(caption, pictures[key_of(one)]) for caption, one in found if key_of(one) in pictures]


def _pages_in_words(source: Source) -> str:
    """Return `page 7` or `pages 7-9`; nothing if the source has none."""
    pages = pages_of(source)
    return f"{'pages' if '-' in pages else 'page'} {pages}" if pages else ""


def _heading_as_markdown(transcript: Transcript) -> Iterator[str]:
    if transcript.session_id is not None:
        session_id = clean_line(transcript.session_id)
        yield f"# {_escaped(clean_line(transcript.title or f'Session {session_id}'))}"
        updated = f", last updated {_escaped(date(transcript.updated_at))}" if transcript.updated_at else ""
        yield f"Session {_as_code(session_id)}{updated}."
    if transcript.hint:
        yield transcript.hint


def _turn_as_markdown(turn: Turn, limits: Limits) -> Iterator[str]:
    if turn.number is not None:
        yield f"## Turn {turn.number}"
    if turn.prompt.strip():
        prompt = excerpt(turn.prompt, limits.prompt)
        yield "\n".join(f"> {line}".rstrip() for line in as_safe_markdown(prompt.text).split("\n"))
    if turn.text:
        answer = excerpt(turn.text, limits.answer)
        yield as_safe_markdown(answer.text)
        if answer.is_cut:
            yield f"*Shortened: the first {limits.answer:,} of {answer.total:,} characters.*"
    if turn.is_error:
        yield f"*The agent failed: {_escaped(clean_line(turn.error or 'it gave no reason'))}*"
    elif not turn.is_complete:
        yield "*This turn is not finished.*"
    sources = turn.sources
    if sources:
        lines = list(dict.fromkeys(_source_as_markdown(source) for source in sources))
        more = [f"- and {count(len(lines) - limits.sources, 'more')}"] if len(lines) > limits.sources else []
        yield "\n".join(["Sources:", "", *lines[: limits.sources], *more])
    if turn.tool_calls:
        calls = turn.tool_calls[-limits.steps :]
        yield "\n".join(["Tools:", "", *(f"- {_as_code(call_line(run.name, run.arguments))}" for run in calls)])


def _source_as_markdown(source: Source) -> str:
    return ", ".join(filter(None, (f"- {_as_code(name_of(source))}", _pages_in_words(source))))


def _as_code(line: str) -> str:
    return f"`{line.replace('`', chr(39))}`"


def _escaped(line: str) -> str:
    """Return a line of text as Markdown that says exactly this."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#!|&~" else character for character in line)
