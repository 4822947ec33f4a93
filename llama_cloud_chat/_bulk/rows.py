"""The output file: its columns, and how rows are written as JSONL, CSV and Parquet, and read again."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._extras import needing

from .reading import allow_long_cells, parse

COLUMNS: Mapping[str, str] = {
    "id": "text",
    "question": "text",
    "answer": "text",
    "sources": "sources",
    "pages": "texts",
    "tokens": "whole",
    "input_tokens": "whole",
    "output_tokens": "whole",
    "seconds": "number",
    "session_id": "text",
    "turn": "whole",
    "skipped_index_ids": "texts",
    "attempts": "whole",
    "asking": "whole",
    "error": "text",
    "error_type": "text",
}
"""What a row holds, and of which kind each is."""
ALWAYS = ("id", "question", "session_id", "asking", "error", "error_type")
"""What a run goes on from."""
KINDS = (".jsonl", ".csv", ".parquet")
_UNFINISHED = object()
"""A last line whose writer was killed."""
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What JSON lets stand as it is, and `str.splitlines` takes for the end of a line."""
_BATCH = 500
"""Rows of a Parquet file that are in memory at once."""


def write_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of JSON."""
    # Half a character, which UTF-8 cannot write, JSON can.
    text = json.dumps(row, ensure_ascii=False).translate(_LINE_ENDS)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Iterate over the rows of an output file. A last line of JSONL that was not finished is left out.

    Args:
        path: The file; its name says what it is.

    Raises:
        ConfigurationError: It cannot be read, or was not written by a run.
    """
    try:
        for number, row in enumerate(_READERS[path.suffix.lower()](path), start=1):
            if not isinstance(row, dict):
                raise ValueError(f"row {number} is none")
            _check_names(row)
            yield row
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"{str(path)!r} is there, and is no output of a run ({error}). It is left alone; name another file."
        ) from None


def _check_names(names: Iterable[str]) -> None:
    if not {"id", "question"} <= set(names):
        raise ValueError("its rows have no id and question")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write an output file, in place of the one there was, if any; all of it or nothing.

    Args:
        path: The file; its name says what it becomes.
        columns: What it holds.
        rows: The rows.

    Raises:
        OSError: There is no room for it, or it may not be written.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        _WRITERS[path.suffix.lower()](beside, columns, rows)
        os.replace(beside, path)  # noqa: PTH105  # which moves it there at once
    finally:
        beside.unlink(missing_ok=True)


def check_parquet() -> None:
    """Look whether Parquet can be written.

    Raises:
        MissingExtraError: It cannot.
    """
    with needing("Parquet needs"):
        import pyarrow.parquet  # noqa: F401, PLC0415  # comes with the extra


def _read_json(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from takewhile(lambda row: row is not _UNFINISHED, map(_parsed, file))


def _parsed(line: bytes) -> Any:
    try:
        return parse(line.decode())
    except ValueError:
        if line.endswith(b"\n"):
            raise
        return _UNFINISHED


def _write_json(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(write_line({name: row.get(name) for name in columns}) for row in rows)


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        allow_long_cells()
        reader = csv.DictReader(file, strict=True)
        _check_names(reader.fieldnames or ALWAYS)  # a file without anything is ours, too
        for row in reader:
            yield {name: _from_cell(COLUMNS.get(name, "text"), cell) for name, cell in row.items()}


def _from_cell(kind: str, cell: str | None) -> Any:
    if not cell:
        return None
    return {"text": str, "whole": int, "number": float}.get(kind, parse)(cell)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, bool)) else value


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    check_parquet()
    import pyarrow.parquet  # noqa: PLC0415

    with pyarrow.parquet.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()


def arrow_schema(columns: Iterable[str]) -> Any:
    """Return the columns as Arrow has them: the types are the same in each table, also where it holds no value.

    Args:
        columns: Their names; one that the output does not have by itself is a text.
    """
    import pyarrow as pa  # noqa: PLC0415

    source = pa.struct(
        [(name, pa.string()) for name in ("text", "file_name", "file_id")]
        + [(name, pa.int64()) for name in ("page_start", "page_end")]
        + [("score", pa.float64())]
    )
    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "sources": pa.list_(source),
        "whole": pa.int64(),
        "number": pa.float64(),
    }
    return pa.schema([(name, types[COLUMNS.get(name, "text")]) for name in columns])


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    check_parquet()
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    schema = arrow_schema(columns)
    remaining = iter(rows)
    with ParquetWriter(path, schema) as writer:
        while batch := [_of_parquet(columns, row) for row in islice(remaining, _BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _of_parquet(columns: Sequence[str], row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(row.get(name)) if COLUMNS.get(name, "text") == "text" else row.get(name) for name in columns}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


_READERS: Mapping[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
_WRITERS: Mapping[str, Callable[[Path, Sequence[str], Iterable[Mapping[str, Any]]], None]] = {
    ".jsonl": _write_json,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
