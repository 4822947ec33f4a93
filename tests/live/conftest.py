"""What is assumed of the service, one assumption a test, and the table of what held.

By itself this runs against the embedded service, so that it cannot rot. With `--live` it runs against the service that
the environment names, whatever that is: `make live`. Each test's docstring is its assumption.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from llama_cloud_chat.local import LocalService

from .recording import write_recording
from .wire import DEFAULT_QUESTION, Answer, Event, Place, Wire, ends

Came: TypeAlias = Callable[[object], None]

collect_ignore: list[str] = []

_VARIABLES = ("LLAMA_CLOUD_API_KEY", "LLAMA_CLOUD_INDEX_IDS")
_DEFAULT_URL = "https://api.cloud.llamaindex.ai"
_PLACE = pytest.StashKey[Place]()
_CAME = pytest.StashKey["list[str]"]()
_HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="Ask the service that the environment names.")
    parser.addoption("--question", default=DEFAULT_QUESTION, help="What to ask: short, it is asked several times.")
    parser.addoption("--record", metavar="FILE", help="Write what came, without ids and keys.")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--live", default=False):
        return
    collect_ignore.append("test_itself.py")
    # Here, for every test is given other indexes than those of the environment.
    missing = [name for name in _VARIABLES if not os.environ.get(name, "").strip()]
    if missing:
        raise pytest.UsageError(f"The live suite asks a service of yours; set {' and '.join(missing)}.")
    names = {"project_id": "LLAMA_CLOUD_PROJECT_ID", "organization_id": "LLAMA_CLOUD_ORGANIZATION_ID"}
    ids = [each.strip() for each in os.environ["LLAMA_CLOUD_INDEX_IDS"].split(",")]
    config.stash[_PLACE] = Place(
        os.environ.get("LLAMA_CLOUD_BASE_URL") or _DEFAULT_URL,
        os.environ["LLAMA_CLOUD_API_KEY"].strip(),
        tuple(each for each in ids if each),
        {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)},
        config.getoption("--question"),
    )


@pytest.fixture(scope="session")
def place(pytestconfig: pytest.Config) -> Iterator[Place]:
    given = pytestconfig.stash.get(_PLACE, None)
    if given is not None:
        yield given
        return
    with LocalService(_HANDBOOK, pace=0.01, keep_alive=0.02) as service:
        yield Place(service.base_url, service.api_key, tuple(service.index_ids), pause=0.02)


@pytest.fixture(scope="session")
def wire(place: Place, pytestconfig: pytest.Config) -> Iterator[Wire]:
    wire = Wire(place)
    try:
        yield wire
    finally:
        file = pytestconfig.getoption("--record", default=None)
        if file:
            write_recording(Path(file), wire.recorded, place)
        wire.close()


@pytest.fixture
def came(request: pytest.FixtureRequest) -> Came:
    """Note what came, for the table."""
    noted = request.node.stash.setdefault(_CAME, [])
    return lambda what: noted.append(str(what))


@pytest.fixture(scope="session")
def bound(wire: Wire) -> str:
    """A session that is bound to the indexes, and has one turn."""
    return wire.create(*wire.place.index_ids)


@pytest.fixture(scope="session")
def turn(wire: Wire, place: Place, bound: str) -> Answer:
    """The one turn of `bound`, as it streamed."""
    answer = wire.recorded["stream"] = wire.ask(bound, place.question)
    assert answer.status == 200, answer.problem
    return answer


@pytest.fixture(scope="session")
def history(wire: Wire, bound: str, turn: Answer) -> list[Event]:
    """The history of `bound`, once its turn is over."""
    wire.history_when(bound, ends)
    answer = wire.recorded["history"] = wire.history(bound)
    events: list[Event] = answer.json["events"]
    return events


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        held = {"passed": "yes", "failed": "NO", "skipped": "not tried"}[report.outcome]
        noted = item.stash.get(_CAME, [])
        if call.excinfo is not None and (not noted or report.skipped):
            noted = [str(call.excinfo.value).partition("\n")[0] or call.excinfo.typename]
        assumption = (getattr(item, "obj", item).__doc__ or item.name).partition("\n")[0]
        report.user_properties.append(("assumption", (assumption, held, "; ".join(noted))))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _PLACE not in config.stash:
        return
    reports = [each for kind in ("passed", "failed", "error", "skipped") for each in terminalreporter.getreports(kind)]
    rows = [row for report in reports for name, row in getattr(report, "user_properties", []) if name == "assumption"]
    if not rows:
        return
    terminalreporter.section(f"What was assumed of {config.stash[_PLACE].base_url}")
    for row in [("assumption", "held", "what came"), *sorted(rows, key=lambda row: row[1])]:
        for line in _lines(*row):
            terminalreporter.write_line(line)
    count = sum(held == "yes" for _, held, _ in rows)
    terminalreporter.write_line(f"{count} of {len(rows)} assumptions held.")


def _lines(assumption: str, held: str, came: str) -> Iterator[str]:
    left, right = textwrap.wrap(assumption, 60), textwrap.wrap(came, 60)
    for number in range(max(len(left), len(right))):
        cells = [lines[number] if number < len(lines) else "" for lines in (left, [held], right)]
        yield f"{cells[0]:<62}{cells[1]:<11}{cells[2]}".rstrip()
