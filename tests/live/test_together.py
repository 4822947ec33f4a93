"""Two prompts at once, and a line that is cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .conftest import Came
from .wire import Answer, Event, Wire, ends

OTHER = "Answer with the one word: ok."


@dataclass(frozen=True)
class Together:
    """Two prompts at once on one session.

    Attributes:
        first: What came of the first one.
        meanwhile: The history once the first one had begun to stream.
        second: What came of the second one.
        after: The history when both were over.
    """

    first: Answer
    meanwhile: list[Event]
    second: Answer
    after: list[Event]


@pytest.fixture(scope="module")
def together(wire: Wire) -> Together:
    session_id = wire.create(*wire.place.index_ids)
    with ThreadPoolExecutor(1) as pool, wire.asking(session_id, wire.place.question) as (first, pieces):
        next(pieces)
        meanwhile = wire.history(session_id).json["events"]
        rest = pool.submit(list, pieces)
        second = wire.ask(session_id, OTHER)
        rest.result()
    _, after = wire.history_when(session_id, ends)
    wire.recorded["second"] = second
    return Together(first, meanwhile, second, after)


def test_the_history_shows_a_turn_that_runs(wire: Wire, together: Together, came: Came) -> None:
    """The history shows a prompt as soon as its answer streams: one that is not there was not taken."""
    came(f"{len(together.meanwhile)} events" + (", already over" if ends(together.meanwhile) else ""))
    assert [event["content"] for event in together.meanwhile if event["type"] == "user_input"] == [wire.place.question]


def test_two_prompts_at_once(wire: Wire, together: Together, came: Came) -> None:
    """Of two prompts at once on one session, the second is refused with 409, or asked after the first."""
    came(f"{together.first.status} and {together.second.status}")
    prompts = [event["content"] for event in together.after if event["type"] == "user_input"]
    assert together.first.status == 200
    if together.second.status == 200:
        assert prompts == [wire.place.question, OTHER]
        assert [event["type"] for event in together.after].index("stop") < len(together.after) - 1
    else:
        assert together.second.status == 409
        assert prompts == [wire.place.question]


def test_what_a_cut_leaves(wire: Wire, came: Came) -> None:
    """A turn whose line is cut goes on, and the history shows it to its end, once."""
    session_id = wire.create(*wire.place.index_ids)
    with wire.asking(session_id, wire.place.question) as (answer, pieces):
        next(pieces)
    passed, events = wire.history_when(session_id, ends)
    kinds = [event["type"] for event in events]
    came(f"{answer.status}, {passed:.1f} s later {len(events)} events, the last: {kinds[-1] if kinds else 'none'}")
    assert kinds.count("user_input") == kinds.count("stop") == 1
    assert events[-1]["is_error"] is False
