"""Structured output by prompt, as one plan that whoever does the asking follows, in either colour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llama_cloud_chat._config import check_prompt
from llama_cloud_chat._errors import PromptTooLongError, StructuredOutputError
from llama_cloud_chat._turn.prompts import SCHEMA

from .extraction import read_beginning, read_object
from .flaw import Flaw
from .notation import Notation, Telling
from .schemas import shape_of

_LEAD = f"{SCHEMA}\n"
_GAP = "\n\n"
_AGAIN = "Send the whole corrected JSON object alone."


@dataclass(frozen=True)
class StructuredAnswer:
    """What an answer holds.

    Attributes:
        value: The value, of the schema: an instance of its class, or a dict.
        json: The object as the agent wrote it, as JSON and nothing else.
    """

    value: Any
    json: str


class StructuredOutput:
    """A schema that an agent is to answer in, though its service knows none: it is asked for in the prompt.

    The schema is written in a compact notation (a class of three fields takes about 120 characters), and the last
    complete JSON object of the answer's text is read and validated. `play` puts it together: one asking, and at most
    one more that says what was wrong.

    Args:
        schema: A pydantic class (of version 2 or 1), a TypedDict, a dataclass, or a JSON schema as a dict, which needs
            the extra `structured`. Its values are objects with fields.

    Raises:
        ConfigurationError: The schema is none of these, or cannot work.
        ModuleNotFoundError: It is a JSON schema, and the extra `structured` is not installed.

    Examples:
        >>> from pydantic import BaseModel
        >>> from llama_cloud_chat import StructuredOutput
        >>> class Lion(BaseModel):
        ...     name: str
        ...     age: int | None = None
        >>> output = StructuredOutput(Lion)
        >>> print(output.prompt("Which lion is meant?"))
        Which lion is meant?
        <BLANKLINE>
        End with one JSON object of this type:
        {name: string, age?: integer|null}
        >>> output.read('It is Leo: {"name": "Leo", "age": 7}').value
        Lion(name='Leo', age=7)
    """

    def __init__(self, schema: Any) -> None:
        self._shape = shape_of(schema)
        notation = Notation(self._shape.json_schema)
        self._tellings = [replace(told, text=_LEAD + told.text) for told in notation.tellings()]

    @property
    def json_schema(self) -> dict[str, Any]:
        """The schema as a JSON schema."""
        return self._shape.json_schema

    def instruction(self, budget: int | None = None) -> str:
        """Return what tells the agent how to end its answer.

        Args:
            budget: How many characters it may have; None for any number. Where it is short, descriptions go first, then
                limits, nested objects, lists, enums, what is optional, and types; the names of the fields stay.

        Raises:
            PromptTooLongError: Not even the names fit.
        """
        found = self._fitting(budget)
        if found is None:
            assert budget is not None
            shortest = self._shortest()
            raise PromptTooLongError(
                f"The schema takes at least {shortest} characters, {shortest - budget} more than there is room for. "
                "Give it fewer fields.",
                length=shortest,
                limit=budget,
            )
        return found.text

    def prompt(self, question: str, limit: int | None = None) -> str:
        """Return the question, as it is, with the instruction after it.

        Args:
            question: What is asked.
            limit: How many characters a prompt may have; None if that is not known.

        Raises:
            ConfigurationError: The question is empty.
            PromptTooLongError: The question and the names of the fields do not fit; it says by how many characters.
        """
        return f"{question}{_GAP}{self._plan(question, limit).text}"

    def left_out(self, question: str, limit: int | None = None) -> tuple[str, ...]:
        """Return what of the schema the prompt does not tell for want of space, such as `("limits", "descriptions")`.

        Args:
            question: What is asked.
            limit: How many characters a prompt may have; None if that is not known.

        Raises:
            ConfigurationError: The question is empty.
            PromptTooLongError: The question and the names of the fields do not fit.
        """
        return self._plan(question, limit).left_out

    def read(self, text: str) -> StructuredAnswer:
        """Return what an answer holds: its last complete outermost JSON object, in fences or not, validated.

        Of a key that stands twice the last counts; half a character becomes U+FFFD.

        Args:
            text: The answer's text (`turn.text`), without thinking and what tools said.

        Raises:
            StructuredOutputError: It holds no such object, or one that does not fit the schema; or it ends with an
                object that is cut off or malformed, whatever stands before.
        """
        try:
            values, json = read_object(text)
            return StructuredAnswer(self._shape.validate(values, json), json)
        except RecursionError:  # a validator's own, or little was left of the caller's stack
            flaw = Flaw("it is nested too deeply")
        except Flaw as found:
            flaw = found
        where = f"{flaw.field}: " if flaw.field else ""
        raise StructuredOutputError(
            f"The agent's answer does not fit the schema: {where}{flaw.reason}. The error holds its text. "
            "Make the schema smaller, or the question clearer; or have another model fill it.",
            reason=flaw.reason,
            field=flaw.field,
            answer=text,
        )

    def partial(self, text: str) -> dict[str, Any] | None:
        """Return the object to which a streamed answer has come so far, not validated; None if there is none yet.

        Args:
            text: The answer's text until now.
        """
        return read_beginning(text)

    def repair(self, error: StructuredOutputError, limit: int | None = None) -> str:
        """Return what to ask in the same session after an answer that could not be read.

        It says in a few words what is wrong, and tells the schema again where there is room.

        Args:
            error: The error that `read` raised.
            limit: How many characters a prompt may have; None if that is not known.

        Raises:
            PromptTooLongError: Not even the shortest such prompt fits.
        """
        where = f"{error.field}: " if error.field else ""
        full = f"That did not fit: {where}{error.reason}. {_AGAIN}"
        for prompt in (full, f"That did not fit: {where.removesuffix(': ') or 'no JSON'}. {_AGAIN}", _AGAIN):
            if limit is None or len(prompt) <= limit:
                told = self._fitting(None if limit is None else limit - len(prompt) - len(_GAP))
                return f"{prompt}{_GAP}{told.text}" if told else prompt
        assert limit is not None
        raise PromptTooLongError(
            f"Asking for a correction takes {len(_AGAIN)} characters, more than the {limit} that the service takes.",
            length=len(_AGAIN),
            limit=limit,
        )

    def play(self, question: str, limit: int | None = None) -> StructuredPlay:
        """Return the plan of asking for a value: what to ask first, and what to do with what is answered.

        Args:
            question: What is asked.
            limit: How many characters a prompt may have; None if that is not known.

        Raises:
            ConfigurationError: The question is empty.
            PromptTooLongError: The question and the names of the fields do not fit.
        """
        return StructuredPlay(self, question, limit)

    def _fitting(self, budget: int | None) -> Telling | None:
        return next((told for told in self._tellings if budget is None or len(told.text) <= budget), None)

    def _shortest(self) -> int:
        return len(self._tellings[-1].text)

    def _plan(self, question: str, limit: int | None) -> Telling:
        check_prompt(question)
        before = len(question) + len(_GAP)
        found = self._fitting(None if limit is None else limit - before)
        if found is not None:
            return found
        assert limit is not None
        length = before + self._shortest()
        raise PromptTooLongError(
            f"The question ({len(question)} characters) and the schema in its shortest form ({self._shortest()}) are "
            f"{length - limit} characters longer than the {limit} that the service takes. Shorten the question, or "
            "give the schema fewer fields.",
            length=length,
            limit=limit,
        )


class StructuredPlay:
    """One question and the value it is answered with: at most two askings, whoever does them.

        play = output.play(question, limit)
        while play.prompt is not None:
            play.take(session.ask(play.prompt).text)
        play.answer.value

    Args:
        output: What the answers are to hold.
        question: What is asked.
        limit: How many characters a prompt may have; None if that is not known.

    Raises:
        ConfigurationError: The question is empty.
        PromptTooLongError: The question and the names of the fields do not fit.

    Attributes:
        prompt: What to ask now, in the same session each time; None when there is an answer.
        askings: How many answers were taken.
        answer: What the answer holds; None until then.
        left_out: What of the schema the first prompt does not tell for want of space.
    """

    def __init__(self, output: StructuredOutput, question: str, limit: int | None) -> None:
        self._output = output
        self._question = question
        self._limit = limit
        self.askings = 0
        self.prompt: str | None
        self.answer: StructuredAnswer | None = None
        self._open()

    def take(self, text: str) -> None:
        """Take the text of the answer to `prompt`.

        Args:
            text: The answer's text, without thinking and what tools said.

        Raises:
            StructuredOutputError: It was the second that does not fit; `.answer` is its text.
        """
        self.askings += 1
        try:
            self.answer = self._output.read(text)
            self.prompt = None
        except StructuredOutputError as error:
            if self.askings > 1:
                raise
            self._error = error
            self.prompt = self._output.repair(error, self._limit)

    def refuse(self, error: PromptTooLongError) -> None:
        """Plan `prompt` anew: the service did not take it, because it and what was told with it are too long.

        Nothing was asked, so it counts as no asking.

        Args:
            error: It says the limit, which is kept from now on, and by its length what else is told with a prompt.

        Raises:
            PromptTooLongError: No shorter prompt will do.
        """
        assert self.prompt is not None
        too_long = len(self.prompt)
        self._limit = error.limit - max(0, error.length - too_long)
        if self.askings:
            self.prompt = self._output.repair(self._error, self._limit)
        else:
            self._open()
        if len(self.prompt) >= too_long:
            raise error

    def _open(self) -> None:
        self.left_out = self._output.left_out(self._question, self._limit)
        self.prompt = self._output.prompt(self._question, self._limit)
