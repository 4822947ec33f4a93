"""Batches of Ray Data as tables of Arrow, whose columns have the same types in each, also where it holds no value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from llama_cloud_chat._bulk.rows import COLUMNS, arrow_schema

_OF_QUESTIONS = ("id", "question")
_ANSWERS = arrow_schema(name for name in COLUMNS if name not in _OF_QUESTIONS)


def read_batch(batch: Any) -> Any:
    """Return a batch as a table; it is one, or pandas', or NumPy's columns by their names."""
    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, dict):
        return pa.table({name: list(column) for name, column in batch.items()})
    return pa.Table.from_pandas(batch, preserve_index=False)


def with_answers(table: Any, rows: list[dict[str, Any]]) -> Any:
    """Return a table with the columns of answers beside its own, in place of those of the same name."""
    answers = pa.Table.from_pylist(rows, schema=_ANSWERS)
    table = table.drop_columns([name for name in table.column_names if name in _ANSWERS.names])
    for field, column in zip(answers.schema, answers.columns, strict=True):
        table = table.append_column(field, column)
    return table
