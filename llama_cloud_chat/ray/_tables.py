"""Batches of Ray Data as tables of Arrow, whose columns have the same types in each, also where it holds no value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
_SOURCE = {
    "text": _TEXT,
    "file_name": _TEXT,
    "file_id": _TEXT,
    "page_start": _WHOLE,
    "page_end": _WHOLE,
    "score": _REAL,
}
_ANSWERS = {
    "answer": _TEXT,
    "sources": pa.list_(pa.struct(_SOURCE)),
    "pages": pa.list_(_TEXT),
    "tokens": _WHOLE,
    "input_tokens": _WHOLE,
    "output_tokens": _WHOLE,
    "seconds": _REAL,
    "session_id": _TEXT,
    "turn": _WHOLE,
    "skipped_index_ids": pa.list_(_TEXT),
    "attempts": _WHOLE,
    "asking": _WHOLE,
    "error": _TEXT,
    "error_type": _TEXT,
}


def read_batch(batch: Any) -> Any:
    """Return a batch as a table; it is one, or pandas', or NumPy's columns by their names."""
    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, dict):
        return pa.table({name: list(column) for name, column in batch.items()})
    return pa.Table.from_pandas(batch, preserve_index=False)


def with_answers(table: Any, rows: list[dict[str, Any]]) -> Any:
    """Return a table with the columns of answers beside its own, in place of those of the same name."""
    answers = pa.Table.from_pylist(rows, schema=pa.schema(_ANSWERS))
    table = table.drop_columns([name for name in table.column_names if name in _ANSWERS])
    for field, column in zip(answers.schema, answers.columns, strict=True):
        table = table.append_column(field, column)
    return table
