"""The keyboard: lines with history and completion, and quiet while an answer is shown."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, create_output

from ._connection import folder

PROMPT = "> "


def read_lines(complete: Callable[[str], list[tuple[str, str]]], *, is_plain: bool) -> Iterator[str | None]:
    """Read what is typed until Ctrl-D; None stands for Ctrl-C on an empty line. Alt-Enter begins a new line of it.

    Args:
        complete: Returns what a line can become, each with what it is.
        is_plain: Whether to use no colours.
    """
    # Where the answers go into a file, the prompts are still to be seen.
    output = create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
    session: PromptSession[str] = PromptSession(
        history=_open_history(),
        completer=_Completer(complete),
        key_bindings=_keys(),
        prompt_continuation=" " * len(PROMPT),
        output=output,
        color_depth=ColorDepth.DEPTH_1_BIT if is_plain or os.environ.get("NO_COLOR") else None,
        reserve_space_for_menu=5,
    )
    while True:
        try:
            yield session.prompt(PROMPT)
        except KeyboardInterrupt:  # noqa: PERF203  # each line can be given up
            if not session.default_buffer.text:
                yield None
        except EOFError:
            return


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what is typed meanwhile, Ctrl-C included, from being shown in the middle of an answer."""
    try:
        import termios  # noqa: PLC0415  # not on Windows
    except ImportError:
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    quiet = before[:]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(keyboard, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


class _Completer(Completer):
    def __init__(self, complete: Callable[[str], list[tuple[str, str]]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        for text, meaning in self._complete(line):
            yield Completion(text, start_position=-len(line), display_meta=meaning)


class _TolerantHistory(FileHistory):
    """A history that a full disk does not end the conversation over."""

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)


def _open_history() -> History:
    """Return what was typed before, in a file that only its owner can read; if that cannot be, in memory."""
    file = Path(folder("XDG_STATE_HOME"), "history")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError:
        return InMemoryHistory()
    return _TolerantHistory(file)
