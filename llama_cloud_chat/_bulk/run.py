"""What asking many questions means, for threads and for asyncio alike: under which key each is asked, and where."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from llama_cloud_chat._config import ClientConfig, check_asked_indexes, check_count
from llama_cloud_chat._errors import ChatError, ConfigurationError
from llama_cloud_chat._session.brake import Brake, Caution
from llama_cloud_chat._session.clock import Clock
from llama_cloud_chat._session.conversation import Conversation, Message
from llama_cloud_chat._session.exchange import Exchange
from llama_cloud_chat._session.ledger import Ledger
from llama_cloud_chat._turn.prompts import digest_of
from llama_cloud_chat._turn.turn import Turn

from .lanes import Lane
from .question import Question
from .result import BulkResult

SessionPer: TypeAlias = Literal["question", "row-group"]

NOTES = 1000
"""How many answers a run without a ledger remembers; its memory must not grow with the questions."""


def check_questions(questions: object, *, may_be_async: bool = False) -> None:
    """Look whether what was given can be many questions.

    Raises:
        ConfigurationError: It cannot.
    """
    is_iterable = hasattr(questions, "__iter__") or (may_be_async and hasattr(questions, "__aiter__"))
    if isinstance(questions, (str, bytes, Mapping)) or not is_iterable:
        raise ConfigurationError(
            f"questions must be an iterable of questions, such as a list, not {type(questions).__name__}."
        )
    if hasattr(questions, "__dataframe__"):  # as the tables of pandas, Polars and Arrow have, which go over columns
        raise ConfigurationError(
            f"questions must be rows, and a {type(questions).__name__} is iterated over by its columns. Give its rows, "
            "such as df.to_dict('records') of pandas."
        )


class Run:
    """Many questions that are asked together.

    Args:
        make_exchange: Makes what asks a question; the client's.
        forget: Forgets what the client knows of a session.
        config: The client's configuration.
        clock: The client's.
        concurrency: How many are asked at once.
        ledger: Where it is kept what was asked where.
        index_ids: The indexes to ask.
        keep_sessions: Whether sessions outlive their questions.
        session_per: What has a session of its own.

    Attributes:
        concurrency: How many are asked at once.
        by_group: Whether a group shares a session.

    Raises:
        ConfigurationError: An argument cannot work; nothing was asked.
    """

    def __init__(
        self,
        make_exchange: Callable[..., Exchange],
        forget: Callable[[str], None],
        config: ClientConfig,
        clock: Clock,
        concurrency: int,
        ledger: Ledger,
        index_ids: Sequence[str] | None,
        *,
        keep_sessions: bool,
        session_per: SessionPer,
    ) -> None:
        if session_per not in {"question", "row-group"}:
            raise ConfigurationError(f"session_per must be 'question' or 'row-group', not {session_per!r}.")
        self.concurrency = check_count("concurrency", concurrency, least=1)
        self.by_group = session_per == "row-group"
        if self.by_group and not keep_sessions:
            raise ConfigurationError("Sessions of groups are kept; leave keep_sessions out, or session_per.")
        self._indexes = check_asked_indexes(index_ids) or list(config.index_ids)
        if not self._indexes:
            raise ConfigurationError(
                "There is no index to ask. Pass index_ids, or set LLAMA_CLOUD_INDEX_IDS; client.indexes() lists what "
                "there is."
            )
        if not isinstance(ledger, Ledger):
            raise ConfigurationError(f"ledger must be a Ledger, not {type(ledger).__name__}.")
        self._make_exchange = make_exchange
        self._forget = forget
        self._ledger = ledger
        self._keep_sessions = keep_sessions
        self._clock = clock
        self._brake = Brake(self._clock)

    def begin(self, question: Question, lane: Lane) -> Asking:
        """Begin with a question."""
        return Asking(question, lane, Caution(self._brake), self._clock.monotonic())

    def exchange(self, asking: Asking) -> Exchange:
        """Return what asks the question; nothing is sent yet.

        Raises:
            ConfigurationError: It cannot be asked.
        """
        question = asking.question
        if question.flaw is not None:
            raise ConfigurationError(question.flaw)
        session_id = asking.lane.session_id if self.by_group else None
        keep = self._keep_sessions
        return self._make_exchange(
            Conversation((Message("user", question.prompt),), session_id, keep_session=keep),
            None if session_id else self._indexes,
            None,
            self._key(question),
            ledger=self._ledger,
            caution=asking.caution,
        )

    def _key(self, question: Question) -> str:
        """Return what names the question in the ledger: its id, its words, and whom it is put to.

        So a question whose words were changed is another one, and one ledger serves many lists.
        """
        words = digest_of(question.prompt.strip())
        return json.dumps(["bulk", str(question.id), words, sorted(self._indexes), question.asking])

    def end(self, asking: Asking, turn: Turn | None, error: ChatError | None = None) -> BulkResult:
        """Return what came of a question."""
        told: Turn | None = turn or getattr(error, "turn", None)
        session_id = None if told is None else told.session_id
        if session_id is not None and self.by_group and asking.question.group is not None:
            asking.lane.session_id = session_id
        elif session_id is not None:  # memory must not grow with the questions
            self._forget(session_id)
        return BulkResult(
            asking.question.id,
            asking.question.prompt,
            turn,
            error,
            max(1, asking.caution.attempts),
            self._clock.monotonic() - asking.began,
            asking.question.asking,
            asking.question.fields,
        )


class Asking:
    """A question that is being asked.

    Attributes:
        question: The question.
        lane: Whose it is.
        caution: What holds its requests back.
        began: When it began, by the client's clock.
    """

    def __init__(self, question: Question, lane: Lane, caution: Caution, began: float) -> None:
        self.question = question
        self.lane = lane
        self.caution = caution
        self.began = began
        lane.begin(question)
