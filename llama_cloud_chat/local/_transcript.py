"""Prompts that a client has folded a conversation into: what of it is asked, and what had been asked before."""

from __future__ import annotations

from llama_cloud_chat._conversation import Message, render_transcript

# Taken from an example, so that there is one place that says what a transcript looks like.
_OPENING, _EXAMPLE, _END, _ = render_transcript([Message("user", "?"), Message("user", "")]).split("\n\n")
_USER = _EXAMPLE.partition("\n")[0]


def unfold(prompt: str) -> tuple[list[str], str]:
    """Return the user's earlier messages that a prompt tells of, and the one that is to be answered.

    A prompt that tells of none is returned as it is.
    """
    told, mark, asked = prompt.partition(f"\n\n{_END}\n\n")
    if not mark or not told.startswith(f"{_OPENING}\n\n"):
        return [], prompt
    # Everything that was said is quoted, so no message can be taken for a heading.
    blocks = [block.partition("\n") for block in told.split("\n\n")[1:]]
    return [_unquoted(quoted) for heading, _, quoted in blocks if heading == _USER], asked


def _unquoted(text: str) -> str:
    return "\n".join(line.removeprefix(">").removeprefix(" ") for line in text.split("\n"))
