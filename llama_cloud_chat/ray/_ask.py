"""What answers a batch of questions in one of Ray's actors."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from llama_cloud_chat import AuthenticationError, ChatClient, ConfigurationError, Ledger, MemoryLedger, bulk
from llama_cloud_chat._config import check_count, check_id, check_index_ids

from ._tables import read_batch, with_answers

_NEEDED = ("id", "question")


class Ask:
    """What answers questions in Ray's actors: a class for `Dataset.map_batches`.

    A row needs an `id` and a `question`. It comes back with all its columns and with those of a bulk run's output file
    (`answer`, `sources`, `tokens`, `session_id`, `error` and so on), in place of any of the same name. A question that
    fails is a row with an `error`, and stops no other. Run again under the same name, what has no answer yet is asked,
    and the rest is fetched.

    Each actor asks the questions of a batch side by side, and takes the next batch when all are answered: a batch
    should be several times as large as `concurrency`. Where the service says that it is asked too much, all of an actor
    wait.

    The key and the database's password come from the environment of the actors: that of their nodes, or Ray's
    `runtime_env={"env_vars": ...}`. So do address and indexes, where they are not given.

    Args:
        run: What the run is called. A question is asked once in a run, and anew in another one.
        ledger: Where all nodes see what was asked: a `PostgresLedger`; on one machine a `SqliteLedger` will do.
        index_ids: The indexes to ask; by default those of LLAMA_CLOUD_INDEX_IDS.
        concurrency: How many questions an actor asks at once. The service sees so many for each actor.
        keep_sessions: Whether the sessions outlive their questions.
        client: What else `ChatClient` is to be made with, such as `base_url` or `timeout`.

    Raises:
        ConfigurationError: An argument cannot work, or the rows have no `id` or no `question`; nothing was asked.
        AuthenticationError: When it is called: the key is wrong, and no question would be answered.
    """

    def __init__(
        self,
        *,
        run: str,
        ledger: Ledger,
        index_ids: Sequence[str] | None = None,
        concurrency: int = 8,
        keep_sessions: bool = True,
        **client: Any,
    ) -> None:
        if not isinstance(ledger, Ledger) or isinstance(ledger, MemoryLedger):
            kind = type(ledger).__name__
            raise ConfigurationError(f"ledger must be one that outlives a node, such as a PostgresLedger, not {kind}.")
        self._run = check_id("run", run)
        self._index_ids = check_index_ids(index_ids)
        self._concurrency = check_count("concurrency", concurrency, least=1)
        self._keep_sessions = keep_sessions
        self._client = ChatClient(ledger=ledger, **client)
        weakref.finalize(self, self._client.close)

    def __call__(self, batch: Any) -> Any:
        """Answer the questions of a batch.

        Args:
            batch: The rows, in any of Ray's formats.

        Returns:
            The rows with their answers, as a table of Arrow.
        """
        table = read_batch(batch)
        if missing := [name for name in _NEEDED if name not in table.column_names]:
            raise ConfigurationError(
                f"The rows have no {' and no '.join(map(repr, missing))}, only {', '.join(table.column_names)}. "
                "Dataset.rename_columns names them."
            )
        asked = table.select(_NEEDED).to_pylist()
        answers: list[dict[str, Any]] = [{}] * len(asked)
        for result in bulk(
            ({**row, "id": self._name(row["id"]), "place": place} for place, row in enumerate(asked)),
            client=self._client,
            concurrency=self._concurrency,
            index_ids=self._index_ids,
            keep_sessions=self._keep_sessions,
        ):
            if isinstance(result.error, AuthenticationError):
                raise result.error
            answers[result.given["place"]] = result.as_row()
        return with_answers(table, answers)

    def _name(self, question_id: object) -> object:
        """Return what a question is called among all runs. What cannot be an id stays what it is, and is refused."""
        if isinstance(question_id, (str, int)) and str(question_id).strip():
            return f"{self._run}/{question_id}"
        return "" if question_id is None else question_id
