"""What the two clients, and their handles of sessions, have in common: all that has no colour."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ._bulk.run import NOTES, Run, SessionPer
from ._config import ClientConfig, check_asked_indexes, check_index_ids
from ._display import Displayable
from ._errors import ConfigurationError
from ._httpx import alike
from ._ledgers.memory import MemoryLedger
from ._session.answers import SessionDetail, SessionSummary
from ._session.brake import Caution
from ._session.clock import Clock
from ._session.conversation import Conversation
from ._session.exchange import Exchange
from ._session.knowledge import SCOPES, KnownSessions
from ._session.ledger import Ledger
from ._session.retry import RetryPolicy

if TYPE_CHECKING:
    from typing_extensions import Self

C = TypeVar("C", bound="BaseClient")


class BaseClient:
    """A client but for its operations: what it was made with, what it knows of its sessions, and its twin.

    Attributes:
        _transport_kind: What does the I/O of a client's colour.
    """

    _transport_kind: ClassVar[type[Any]]

    def _set_up(
        self,
        config: ClientConfig,
        http_client: Any = None,
        known: KnownSessions | None = None,
        clock: Clock | None = None,
        refusal: str | None = None,
    ) -> None:
        _check_ledger(config.ledger)
        self._config = config
        self._own_knowledge = known
        self._clock = clock or Clock()
        self._policy = RetryPolicy(config.max_retries)
        self._has_own_http = http_client is not None
        self._refusal = refusal
        _check_http_client(http_client, self._transport_kind.http_kind)
        self._transport = self._transport_kind(config, self._clock, http_client, refusal)
        self._lock = threading.Lock()
        self._twin: Any = None

    @classmethod
    def _from_parts(
        cls,
        config: ClientConfig,
        known: KnownSessions | None = None,
        clock: Clock | None = None,
        refusal: str | None = None,
    ) -> Self:
        client = cls.__new__(cls)
        client._set_up(config, known=known, clock=clock, refusal=refusal)
        return client

    def _twin_of(self, kind: type[C]) -> C:
        """Return the one client of the other colour that shares what this one knows."""
        with self._lock:
            if self._twin is None:
                refusal = self._refusal_of_twin(kind) if self._has_own_http else self._refusal
                self._twin = kind._from_parts(self._config, self._own_knowledge, self._clock, refusal)
                self._twin._twin = self
            twin: C = self._twin
            return twin

    def _refusal_of_twin(self, kind: type[BaseClient]) -> str:
        """Say why a twin does nothing: it would go around the proxy or the certificates that people chose."""
        ours, theirs = type(self).__name__, kind.__name__
        http = kind._transport_kind.http_kind.__name__
        argument = "async_client" if http == "AsyncClient" else "client"
        return (
            f"A {theirs} is needed, but only a {ours} with an http_client of its own was given, which a {theirs} "
            f"cannot use and must not go around. Make {theirs}(http_client=httpx.{http}(...)) as well, and pass it "
            f"as {argument}= beside the other, or call it where you called this one's twin."
        )

    def _refusal_of_pickle(self) -> str:
        """Say why what comes out of a pickle does nothing: it would go around what people chose, as a twin would."""
        name = type(self).__name__
        return (
            f"This {name} was pickled, and the http_client it was made with stayed behind; its proxy and certificates "
            f"must not be gone around. Make {name}(http_client=...) anew in this process."
        )

    @property
    def _known(self) -> KnownSessions:
        """What is known of sessions: the process's, which needs the key to tell whose they are."""
        if self._own_knowledge is None:
            self._own_knowledge = SCOPES.get(self._config.scope)
        return self._own_knowledge

    @property
    def config(self) -> ClientConfig:
        """What the client was made with; safe to show."""
        return self._config

    def _make_exchange(
        self,
        asked: tuple[str, str] | Conversation,
        index_ids: Sequence[str] | None,
        require_all_indexes: bool | None,
        key: str | None,
        *,
        ledger: Ledger | None = None,
        caution: Caution | None = None,
    ) -> Exchange:
        return Exchange(
            asked,
            check_asked_indexes(index_ids),
            require_all_indexes,
            sessions=self._known,
            config=self._config,
            clock=self._clock,
            ledger=ledger or self._config.ledger or (None if key is None else MemoryLedger.default),
            key=key,
            caution=caution,
        )

    def _make_run(
        self,
        concurrency: int,
        ledger: Ledger | None,
        index_ids: Sequence[str] | None,
        *,
        keep_sessions: bool,
        session_per: SessionPer,
    ) -> Run:
        return Run(
            self._make_exchange,
            self._known.drop_idle,
            self._config,
            self._clock,
            concurrency,
            ledger or self._config.ledger or MemoryLedger(NOTES),
            index_ids,
            keep_sessions=keep_sessions,
            session_per=session_per,
        )

    def _indexes_for(self, index_ids: Sequence[str] | None) -> Sequence[str] | None:
        """Return the indexes to bind a new session to: those given, else the environment's."""
        return (self._config.index_ids or None) if index_ids is None else index_ids

    def _note_created(self, summary: SessionSummary, index_ids: Sequence[str] | None) -> None:
        bound_to = summary.index_ids or check_index_ids(index_ids)
        self._known.get(summary.session_id).note(bound_to, [], self._clock.monotonic())

    def _note_read(self, session_id: str, detail: SessionDetail) -> None:
        self._known.get(session_id).note(detail.index_ids, detail.turns, self._clock.monotonic())

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(base_url={self._config.base_url!r}, project_id={self._config.project_id!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        refusal = self._refusal_of_pickle() if self._has_own_http else self._refusal
        return type(self)._from_parts, (self._config, None, None, refusal)


def _check_ledger(ledger: Any) -> None:
    if ledger is not None and not isinstance(ledger, Ledger):
        raise ConfigurationError(
            f"ledger must be a MemoryLedger, SqliteLedger, PostgresLedger or another Ledger, not {ledger!r}."
        )


def _check_http_client(http_client: Any, kind: type[Any]) -> None:
    if http_client is None:
        return
    if not isinstance(http_client, alike(kind)):
        raise ConfigurationError(
            f"http_client must be an httpx.{kind.__name__}, not {type(http_client).__name__}: ChatClient takes an "
            "httpx.Client, AsyncChatClient an httpx.AsyncClient; httpx2's serve as well."
        )
    if http_client.is_closed:
        raise ConfigurationError("http_client is closed. Pass one that is open, and keep it open.")


class BaseSession(Displayable, Generic[C]):
    """A handle of one session but for its operations."""

    def __init__(self, client: C, session_id: str) -> None:
        self._client = client
        self.session_id = session_id

    @property
    def index_ids(self) -> list[str] | None:
        """The indexes it is bound to; None for an unbound session, or one that was not looked at yet."""
        return self._client._known.get(self.session_id).index_ids or None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session_id!r})"
