"""A conversation that a client has folded into one prompt is told from one that only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_cloud_chat import Message, render_transcript
from llama_cloud_chat._turn.prompts import unfold_transcript

SAID = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\n>[]"), min_size=1
).filter(str.strip)


@given(st.lists(st.tuples(SAID, SAID)), st.text())
def test_what_was_asked_comes_out_as_it_went_in(turns: list[tuple[str, str]], prompt: str) -> None:
    told = [message for asked, said in turns for message in (Message("user", asked), Message("assistant", said))]
    asked, last = unfold_transcript(render_transcript([*told, Message("user", prompt)]))
    assert last == prompt
    assert [each.split() for each in asked] == [each.split() for each, _ in turns]


@pytest.mark.parametrize("prompt", ["", "Hello?", "This conversation has taken place so far:\n\n> no end"])
def test_a_prompt_that_tells_of_nothing_is_returned_as_it_is(prompt: str) -> None:
    assert unfold_transcript(prompt) == ([], prompt)
