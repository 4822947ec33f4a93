"""`llama-cloud-chat chat`: a conversation at the keyboard, or one question through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llama_cloud_chat import ChatError, ConfigurationError, Source, Turn
from llama_cloud_chat._turn.wording import clean_line, count

from ._ask import run_ask
from ._connection import Connection, connect
from ._program import shell_line
from ._safe import told
from ._screen import Screen, place_of
from ._sessions import make_title
from ._talk import Talk, open_talk
from ._terminal import read_lines, silence


def run_chat(
    connection: Connection,
    question: str | None,
    session_id: str | None,
    index_ids: Sequence[str],
    *,
    goes_on: bool = False,
    plain: bool = False,
) -> None:
    """Hold a conversation, of which `question` is the first; where nobody sits at the keyboard, answer that alone.

    Raises:
        ChatError: The service cannot be reached, there is no such session, or the one question failed.
    """
    if not sys.stdin.isatty() or (question is not None and not sys.stdout.isatty()):
        run_ask(connection, question, session_id, index_ids, goes_on=goes_on, plain=plain)
        return
    with connect(connection) as service:
        talk = open_talk(service, session_id, index_ids, goes_on=goes_on)
        screen = Screen(plain=plain)
        keyboard = _Keyboard(talk, screen, connection)
        for each in service.report:
            screen.line(each, style="dim")
        keyboard.run(question)


class Command(NamedTuple):
    """What can be typed instead of a question."""

    usage: str
    does: str
    run: Callable[[str], None]


class _Keyboard:
    """Reads questions and commands until the user leaves."""

    def __init__(self, talk: Talk, screen: Screen, connection: Connection) -> None:
        self._talk = talk
        self._screen = screen
        self._connection = connection
        self._sources: list[Source] | None = None
        self._prompts: dict[int, str] = {}
        self._has_left = False
        self._commands = {
            command.usage.split()[0]: command
            for command in (
                Command("/sources", "what the last answer is based on", self._show_sources),
                Command("/source N", "source N, whole", self._show_source),
                Command("/history", "the conversation so far", self._show_history),
                Command("/new", "begin a new session", self._begin_anew),
                Command("/fork N", "go on from turn N in a new session", self._fork),
                Command("/title [TEXT]", "title the session after TEXT, else after its first question", self._title),
                Command("/help", "this list", self._help),
                Command("/quit", "leave", self._quit),
            )
        }

    def run(self, question: str | None) -> None:
        if self._talk.session_id is not None:
            self._greet()
        elif not self._talk.index_ids:
            self._screen.line(
                "No index is asked, so the agent has no documents to look into; name one with --index. The command "
                "indexes lists what there is.",
                style="dim",
            )
        self._screen.line("Ask something. /help lists the commands, /quit or Ctrl-D leaves.", style="dim")
        if question is not None:
            self._take(question)
        for line in read_lines(self._complete, is_plain=not self._screen.is_live):
            self._take(line)
            if self._has_left:
                break
        left = self._leave()
        if left:
            self._screen.verbatim(f"To go on: {left}")

    def _take(self, line: str | None) -> None:
        """Do what a line says; None is Ctrl-C. Whatever goes wrong, the conversation goes on."""
        try:
            if line is None:
                self._screen.line("To leave: /quit or Ctrl-D.", style="dim")
            elif line.startswith("/"):
                self._obey(line)
            elif line.strip():
                self._ask(line)
        except ChatError as error:
            self._screen.line(clean_line(told(error), 1000), style="red")
        except KeyboardInterrupt:
            self._screen.line("(stopped)", style="dim")

    def _ask(self, prompt: str) -> None:
        stream = self._talk.ask(prompt)
        self._sources = None
        try:
            with silence(), stream:
                self._screen.turn(stream)
        except KeyboardInterrupt:
            self._screen.line("(stopped) The next question waits until the service is done with this one.", style="dim")
        finally:
            self._talk.note(stream.turn)
            self._remember([stream.turn])
            self._sources = stream.turn.sources
        self._screen.skipped(stream.turn)
        if self._sources:
            self._screen.line(f"{count(len(self._sources), 'source')}; /sources shows them.", style="dim")

    def _obey(self, line: str) -> None:
        name, _, argument = line.strip().partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise ConfigurationError(
                f"There is no command {clean_line(name, 40)}; /help lists them. A question that begins with a slash "
                "needs a space before it."
            )
        command.run(argument.strip())

    def _greet(self) -> None:
        detail = self._talk.client.retrieve(self._session())
        self._remember(detail.turns)
        title = clean_line(detail.generated_title or "no title yet")
        self._screen.line(
            f"Session {clean_line(detail.session_id)}, {title}, {count(len(detail.turns), 'turn')} so far."
        )

    def _show_sources(self, _: str) -> None:
        sources = self._read_sources()
        if sources:
            self._screen.sources(sources)
        else:
            self._screen.line("The last answer names no sources.")

    def _show_source(self, argument: str) -> None:
        sources = self._read_sources()
        number = _read_number(argument)
        if not 1 <= number <= len(sources):
            raise ConfigurationError(
                f"/source takes the number of a source, from 1 to {len(sources)}; /sources shows them."
                if sources
                else "The last answer names no sources."
            )
        source = sources[number - 1]
        self._screen.source(source)
        for attachment in source.attachments:
            url = self._talk.client.get_attachment(attachment).url
            self._screen.verbatim(f"{clean_line(attachment.attachment_name)}: {url}", style="dim")

    def _read_sources(self) -> list[Source]:
        if self._sources is None:
            turns = self._read_turns() if self._talk.session_id is not None else []
            self._sources = turns[-1].sources if turns else []
        return self._sources

    def _show_history(self, _: str) -> None:
        self._screen.history(self._read_turns())

    def _begin_anew(self, _: str) -> None:
        left = self._leave()
        self._talk.begin_anew()
        self._sources = None
        self._prompts = {}
        self._screen.line("The next question begins a new session.", style="dim")
        self._name(left)

    def _fork(self, argument: str) -> None:
        detail = self._talk.client.retrieve(self._session())
        last = len(detail.turns)
        number = _read_number(argument)
        if not 1 <= number <= last:
            raise ConfigurationError(
                f"/fork takes the number of a turn, from 1 to {last}; /history shows them."
                if last
                else "There is no turn to fork from yet; ask something first."
            )
        left = self._leave()
        self._talk.begin_anew(detail.turns[:number], detail.index_ids)
        self._prompts = {}
        which = "turn 1" if number == 1 else f"turns 1 to {number}"
        self._screen.line(
            f"The next question begins a new session that knows {which}; this one stays as it is.", style="dim"
        )
        self._name(left)

    def _leave(self) -> str:
        """Return the command that goes back to the session that is left behind; nothing if none is."""
        left = self._talk.leave()
        if left is None or not self._connection.keeps_sessions:
            return ""
        return shell_line("chat", "--session", clean_line(left), options=self._connection.as_options())

    def _name(self, left: str) -> None:
        if left:
            self._screen.verbatim(f"To go back: {left}", style="dim")

    def _title(self, argument: str) -> None:
        summary = make_title(self._talk.client, self._session(), argument or None)
        self._screen.line(f"The title is now: {clean_line(summary.generated_title or '(none)')}")

    def _help(self, _: str) -> None:
        for command in self._commands.values():
            self._screen.line(f"{command.usage:<15}{command.does}")
        self._screen.line("Alt-Enter      begin a new line of the question")
        self._screen.line("Ctrl-C         stop the answer")

    def _quit(self, _: str) -> None:
        self._has_left = True

    def _session(self) -> str:
        if self._talk.session_id is None:
            raise ConfigurationError("There is no session yet; it begins with the first question.")
        return self._talk.session_id

    def _read_turns(self) -> list[Turn]:
        turns = self._talk.client.retrieve(self._session()).turns
        self._remember(turns)
        return turns

    def _remember(self, turns: Sequence[Turn]) -> None:
        """Keep what the turns asked, to complete `/fork` with."""
        asked = {turn.number: turn.question for turn in turns if turn.number is not None}
        self._prompts |= {number: clean_line(prompt, 60) for number, prompt in asked.items()}

    def _complete(self, line: str) -> list[tuple[str, str]]:
        """Return what `line` can become, each with what it is."""
        name, space, argument = line.partition(" ")
        if space:
            numbers = {"/fork": self._prompts, "/source": self._names_of_sources()}.get(name, {})
            return [(f"{name} {n}", prompt) for n, prompt in numbers.items() if str(n).startswith(argument.strip())]
        if not line.startswith("/"):
            return []
        return [(each, command.does) for each, command in self._commands.items() if each.startswith(name)]

    def _names_of_sources(self) -> dict[int, str]:
        return {number: place_of(source) for number, source in enumerate(self._sources or [], start=1)}


def _read_number(argument: str) -> int:
    """Return a number as it is typed; 0 if it is none."""
    return int(argument) if argument.isascii() and argument.isdigit() and len(argument) < 10 else 0
