"""Turns of any kind, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ..support.turns import WireEvent, segment, stop

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("🦁é\u2028\n \0"), max_size=6)
RESULTS = st.sampled_from([None, "plain", '{"results": []}', [1, "🦁"], {"results": [{"content": "é"}]}, 0])


def _halved(piece: str) -> list[str]:
    """Cut a piece inside its first emoji, if it holds one, as a service that counts UTF-16 units does."""
    place = piece.find("🦁")
    if place < 0:
        return [piece]
    return [piece[:place] + "\ud83e", "\udd81" + piece[place + 1 :]]


@st.composite
def segments(draw: st.DrawFn, kind: str) -> list[WireEvent]:
    pieces = draw(st.lists(TEXTS, min_size=1, max_size=3).filter(any))
    halves = [half for piece in pieces for half in _halved(piece)]
    deltas = segment(kind, *halves)[:-1]
    return [*deltas, {"type": kind, "content": "".join(pieces)}]


@st.composite
def tool_events(draw: st.DrawFn, number: int) -> list[WireEvent]:
    """One to three calls at once, whose results come in any order, or not at all."""
    ids = [f"c{number}.{place}" for place in range(draw(st.integers(1, 3)))]
    calls: list[WireEvent] = [
        {"type": "tool_call", "call_id": one, "name": "retrieve", "arguments": {"query": draw(TEXTS)}} for one in ids
    ]
    results: list[WireEvent] = [
        {"type": "tool_result", "call_id": one, "name": "retrieve", "result": draw(RESULTS)}
        for one in draw(st.permutations(ids))[: draw(st.integers(0, 3))]
    ]
    return [*calls, *results]


@st.composite
def turns(draw: st.DrawFn, *, side_by_side: bool = False) -> list[WireEvent]:
    """A whole turn, as a stream tells it that says everything twice.

    Segments of one kind stand side by side only if asked for: a history that keeps only deltas cannot part them.
    """
    events: list[WireEvent] = []
    before = ""
    for number in range(draw(st.integers(0, 6))):
        kinds = [kind for kind in ("text", "thinking", "tool") if side_by_side or kind == "tool" or kind != before]
        before = draw(st.sampled_from(kinds))
        events += draw(tool_events(number) if before == "tool" else segments(before))
    end: dict[str, Any] = draw(st.sampled_from([{}, {"skipped_index_ids": ["i"]}, {"is_error": True, "error": "bad"}]))
    return [*events, stop(**end)]


def texts_of(events: list[WireEvent], kind: str) -> list[str]:
    """Return what a turn's segments of one kind say."""
    return [event["content"] for event in events if event["type"] == kind and event["content"]]
