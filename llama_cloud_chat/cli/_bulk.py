"""`llama-cloud-chat bulk`: many questions from a file, their answers into another; progress and summary on stderr."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from llama_cloud_chat import BulkResult, ChatClient, ChatError, ConfigurationError, SqliteLedger, bulk
from llama_cloud_chat._bulk.filed import BadQuestionsError, FileRun
from llama_cloud_chat._bulk.rows import read_rows
from llama_cloud_chat._bulk.run import SessionPer
from llama_cloud_chat._bulk.summary import Summary
from llama_cloud_chat._turn.wording import clean_line, count

from ._connection import Connection, connect
from ._indexes import find_indexes
from ._report import check_report, write_report
from ._safe import complain, told

_MOST_FLAWS = 50
_MOST_FAILURES = 10
_BETWEEN_LINES = 30.0
"""Seconds between two lines that tell how far it is, where no bar can be drawn."""
_SOME_FAILED, _NOT_STARTED, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class BulkOptions:
    """What the command was told.

    Attributes:
        questions: The file of questions.
        out: The output file.
        named: The indexes, as they were typed.
        columns: What the output holds.
        concurrency: How many questions are asked at once.
        limit: How many are asked at all.
        session_per: What has a session of its own.
        retry_failed: Whether those are asked anew that failed.
        max_prompt_chars: How many characters a question may hold.
        report: Where to write a page to look at.
        compare: The output of another run, to be shown beside.
    """

    questions: Path
    out: Path
    named: Sequence[str]
    columns: Sequence[str] | None
    concurrency: int
    limit: int | None
    session_per: SessionPer
    retry_failed: bool
    max_prompt_chars: int | None
    report: Path | None
    compare: Path | None


def run_bulk(connection: Connection, options: BulkOptions) -> int:
    """Ask what is open; return the exit code.

    Raises:
        ConfigurationError: What was given cannot work; nothing was asked.
    """
    with _alone(options.out):
        return _run(connection, options)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let no other run on this machine write the same output, or ask what is open in it, at the same time.

    The lock is the operating system's, and goes with the process. Its file is in the folder for such things, so that
    none is left beside the answers.

    Raises:
        ConfigurationError: Another one does.
    """
    name = hashlib.sha256(str(out.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    user = getpass.getuser() if os.name == "nt" else os.getuid()
    lock = FileLock(Path(tempfile.gettempdir(), f"llama-cloud-chat-{user}-{name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigurationError(f"Another run writes {str(out)!r} at this moment; wait for it to end.") from None
    try:
        yield
    finally:
        lock.release()


def _run(connection: Connection, options: BulkOptions) -> int:
    if options.report is not None:
        check_report(options.report)
    if options.compare is not None:
        if options.report is None:
            raise ConfigurationError("--compare shows the other run in a page; name the page with --report FILE.")
        for _ in islice(read_rows(options.compare), 1):
            pass
    try:
        run = FileRun(
            options.questions,
            options.out,
            columns=options.columns,
            limit=options.limit,
            session_per=options.session_per,
            retry_failed=options.retry_failed,
            max_prompt_chars=options.max_prompt_chars,
        )
    except BadQuestionsError as error:
        _tell_flaws(error)
        return _NOT_STARTED
    stop = _Stop(run)
    failures: list[BulkResult] = []
    if run.open:
        try:
            with connect(connection) as service:
                if service.left_out:
                    complain(service.left_out)
                index_ids = find_indexes(service.client, options.named) or service.index_ids
                _check_access(service.client)
                ended_by = _ask(run, service.client, index_ids, options, stop, failures)
        except _NotStartedError as error:
            complain(str(error))
            return _NOT_STARTED
    else:
        ended_by = None
    return _end(run, options, stop, ended_by, failures)


class _NotStartedError(Exception):
    """The service cannot be asked anything."""


def _check_access(client: ChatClient) -> None:
    """Look whether the service is there and takes the key, before anything is written or asked."""
    try:
        list(islice(client.list(page_size=1), 1))
    except ChatError as error:
        raise _NotStartedError(told(error)) from error


def _ask(
    run: FileRun,
    client: ChatClient,
    index_ids: Sequence[str],
    options: BulkOptions,
    stop: _Stop,
    failures: list[BulkResult],
) -> ChatError | None:
    """Ask what is open; return what ended it before its time, if anything did."""
    if not index_ids:  # said before there is a ledger
        raise ConfigurationError("There is no index to ask; name one with --index, or set LLAMA_CLOUD_INDEX_IDS.")
    results = bulk(
        run.questions(),
        client=client,
        concurrency=options.concurrency,
        ledger=SqliteLedger(run.ledger),
        index_ids=index_ids,
        session_per=options.session_per,
    )
    run.begin()
    with contextlib.closing(results), stop, _progress(run.total, run.open) as show:
        try:
            for result in results:
                run.add(result)
                show(result)
                if result.error is not None and len(failures) < _MOST_FAILURES:
                    failures.append(result)
        except ChatError as error:
            return error
        except KeyboardInterrupt:
            stop.is_wanted = True
    return None


def _end(
    run: FileRun, options: BulkOptions, stop: _Stop, ended_by: ChatError | None, failures: Sequence[BulkResult]
) -> int:
    if ended_by is not None:
        complain(told(ended_by))
    summary = run.finish()
    for result in failures:
        assert result.error is not None
        where = f"line {run.line_of(result.id)} ({clean_line(str(result.id), 40)})"
        complain(f"{where}: {type(result.error).__name__}: {told(result.error)}")
    if summary.failed.total() > len(failures) > 0:
        complain(f"... and {summary.failed.total() - len(failures)} more that failed; --report FILE shows them.")
    if options.report is not None:
        _report(options, summary)
    missing = run.total - summary.answered - summary.failed.total()
    for line in _in_words(run, summary, missing):
        complain(line)
    if missing > 0:
        complain(f"To go on, run the same again: {_this_command()}")
    elif summary.failed:
        complain(f"To ask anew what failed: {_this_command('--retry-failed')}")
    if stop.is_wanted and missing > 0:
        return _INTERRUPTED
    return _SOME_FAILED if missing > 0 or summary.failed else 0


def _in_words(run: FileRun, summary: Summary, missing: int) -> Iterator[str]:
    failed = ", ".join(f"{number} {kind}" for kind, number in summary.failed.most_common())
    parts = [
        f"{summary.answered:,} answered",
        f"{summary.failed.total():,} failed" + (f" ({failed})" if failed else ""),
    ]
    parts += [f"{missing:,} not asked"] if missing > 0 else []
    yield f"{count(run.total, 'question')}: {', '.join(parts)}. Answers: {run.answers}"
    if summary.input_tokens or summary.output_tokens:
        yield f"{_whose(run, 'input_tokens')}{summary.input_tokens:,} tokens read, {summary.output_tokens:,} written."
    if summary.seconds:
        within = [f"{percent}% within {summary.percentile(percent):.1f} s" for percent in (50, 90, 99)]
        yield f"{_whose(run, 'seconds')}{', '.join(within)}, the slowest {summary.percentile(100):.1f} s."


def _whose(run: FileRun, figure: str) -> str:
    return "Of those asked now: " if figure in run.untold and run.open < run.total else ""


def _report(options: BulkOptions, summary: Summary) -> None:
    assert options.report is not None
    before = None if options.compare is None else read_rows(options.compare)
    names = (options.out.name, None if options.compare is None else options.compare.name)
    write_report(options.report, names, read_rows(options.out), before, summary)


def _this_command(*more: str) -> str:
    """Return this command as it can be typed again."""
    arguments = [each for each in sys.argv[1:] if each not in more]
    return shlex.join(["llama-cloud-chat", *arguments, *more])


def _tell_flaws(error: BadQuestionsError) -> None:
    complain(told(error))
    for number, says in error.flaws[:_MOST_FLAWS]:
        complain(f"line {number}: {says}")
    if len(error.flaws) > _MOST_FLAWS:
        complain(f"... and {len(error.flaws) - _MOST_FLAWS:,} more.")


class _Stop:
    """Ctrl-C: the first one lets finish what runs, the second one leaves.

    Attributes:
        is_wanted: Whether the run is to end.
    """

    def __init__(self, run: FileRun) -> None:
        self.is_wanted = False
        self._run = run

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.is_wanted:
            raise KeyboardInterrupt
        self.is_wanted = True
        self._run.stop()
        complain("Finishing what runs; Ctrl-C again leaves at once, and nothing is asked twice by it.")


@contextlib.contextmanager
def _progress(total: int, open_: int) -> Iterator[Callable[[BulkResult], None]]:
    """Give what is told of each result, and shows how far the run is."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("Asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=total, completed=total - open_, rate="", failed=0)
    began = told = time.monotonic()
    done = failed = 0

    def show(result: BulkResult) -> None:
        nonlocal told, done, failed
        done += 1
        failed += result.error is not None
        now = time.monotonic()
        rate = done / max(now - began, 0.001)
        said = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"
        bar.update(task, advance=1, rate=said, failed=failed)
        if bar.disable and now - told >= _BETWEEN_LINES:
            told = now
            left = (open_ - done) / rate
            complain(f"{total - open_ + done:,} of {total:,}, {failed} failed, {said}, {left / 60:.0f} min left")

    with bar:
        yield show
