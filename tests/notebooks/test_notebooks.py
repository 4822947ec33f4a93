"""The notebooks run, show what is saved in them, and what is saved bears out what they say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from notebooks import run

SAVED = {name: run.read(run.FOLDER / name) for name in run.NAMES}
PICTURE = re.compile(r"data:image/[^\"']*")
LANGCHAIN = SAVED["01_langchain.ipynb"]
LLAMA_INDEX = SAVED["02_llama_index.ipynb"]
SESSIONS = SAVED["03_sessions_sources_forks.ipynb"]
EVALUATE = SAVED["04_evaluate.ipynb"]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode, cell_id: str) -> str:
    """What a cell printed."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def all_text(notebook: NotebookNode, cell_id: str) -> str:
    """What a cell printed, and the words of what it showed."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    data = [output.data for output in cell.outputs if "data" in output]
    shown = [visible_text(each["text/html"]) if "text/html" in each else each["text/plain"] for each in data]
    return printed(notebook, cell_id) + "".join(shown)


def seen(output: NotebookNode, *, varies: bool) -> Any:
    """What a reader sees of an output. The pixels of a picture depend on the machine's fonts."""
    if output.output_type == "stream":
        return output.name, None if varies else output.text
    data = {kind: content for kind, content in output.data.items() if not kind.startswith("image/")}
    pictures = output.data.keys() - data.keys()
    if varies:
        return data.keys() | pictures
    if "text/html" in data:
        data["text/html"] = PICTURE.sub("data:picture", data["text/html"])
    return data, pictures


def visible_text(html: str) -> str:
    page = BeautifulSoup(html, "html.parser")
    for style in page("style"):
        style.decompose()
    return page.get_text(" ", strip=True)


@pytest.mark.parametrize("name", run.NAMES)
def test_a_notebook_runs_and_shows_what_is_saved_in_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(run.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    fresh = run.execute(SAVED[name], folder)
    for cell, saved in zip(code_cells(fresh), code_cells(SAVED[name]), strict=True):
        varies = run.varies(cell)
        assert [seen(each, varies=varies) for each in cell.outputs] == [
            seen(each, varies=varies) for each in saved.outputs
        ], f"{name} shows something else in {cell.id!r} than is saved; run `make notebooks` and look at the difference"


@pytest.mark.parametrize("name", run.NAMES)
def test_a_notebook_is_saved_as_a_run_from_top_to_bottom_leaves_it(name: str) -> None:
    cells = code_cells(SAVED[name])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    streams = {output.name for cell in cells for output in cell.outputs if output.output_type == "stream"}
    assert streams <= {"stdout"}
    assert "error" not in {output.output_type for cell in cells for output in cell.outputs}


@pytest.mark.parametrize("name", run.NAMES)
def test_nothing_of_the_machine_or_the_moment_is_saved(name: str) -> None:
    for cell in code_cells(SAVED[name]):
        assert not cell.metadata.keys() - {"tags"}
        data = [output.get("data", output).items() for output in cell.outputs]
        text = str([content for each in data for kind, content in each if not kind.startswith("image/")])
        text = PICTURE.sub("", text)
        assert not re.search(r"/(?:home|root|tmp|usr|Users|work)/|127\.0\.0\.1|localhost", text)
        assert not re.search(r"[0-9a-f]{16}|\d\d:\d\d:\d\d|20\d\d-\d\d-\d\d|20\d\d, \d\d:\d\d", text)
        assert not re.search(r"\d (?:ms|s|seconds)\b(?! until)", text)


@pytest.mark.parametrize("name", run.NAMES)
def test_every_notebook_begins_with_the_same_choice_of_service(name: str) -> None:
    assert code_cells(SAVED[name])[0].source == code_cells(LANGCHAIN)[0].source


def test_a_second_run_changes_nothing_until_measurements_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = "import secrets\na, b = ('ses-' + secrets.token_hex(16) for _ in 'ab')\nprint(b, a, b)"
    measured = new_code_cell("import time\nprint(time.time_ns())", id="time", metadata={"tags": ["varies"]})
    path = tmp_path / "made.ipynb"
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["run", path.name])

    def save(notebook: NotebookNode) -> NotebookNode:
        nbformat.write(notebook, path)
        run.main()
        return run.read(path)

    first = save(new_notebook(cells=[new_code_cell(ids, id="ids"), measured]))
    assert printed(first, "ids") == "ses-1 ses-2 ses-1\n"
    assert save(first) == first
    cleared = run.read(path)
    cleared.cells[1].outputs = []
    assert printed(save(cleared), "time") != printed(first, "time")


def test_the_langchain_notebook_goes_on_in_one_session_and_never_asks_for_a_tool() -> None:
    assert "same session: True\nturn: 2" in printed(LANGCHAIN, "converse")
    assert "server_tool_call" in printed(LANGCHAIN, "blocks")
    assert printed(LANGCHAIN, "blocks").endswith("[]\n")
    assert printed(LANGCHAIN, "documents").startswith("handbook.pdf 2 ")
    assert [line.split()[1] for line in printed(LANGCHAIN, "chain").splitlines()] == ["red", "blue"]
    assert "troubleshooting.md" in printed(LANGCHAIN, "tool").splitlines()[-1]


def test_the_llama_index_notebook_follows_up_reports_tools_and_lists_sessions() -> None:
    assert "100 millilitres" in all_text(LLAMA_INDEX, "live")
    assert printed(LLAMA_INDEX, "history").splitlines()[0] == "user ['text']"
    assert printed(LLAMA_INDEX, "history").splitlines()[1] == "assistant ['thinking', 'tool_call', 'text']"
    called, returned, said = printed(LLAMA_INDEX, "agent").splitlines()
    assert (called[0], returned[0]) == ("→", "←")
    assert "two years" in said
    assert len(printed(LLAMA_INDEX, "store").splitlines()) == 3
    assert printed(LLAMA_INDEX, "resume").startswith("2 questions so far\n")


def test_the_sessions_notebook_forks_only_what_is_no_longer_the_last_turn() -> None:
    (amber, _, one), (red, _, two), (blue, _, anew) = map(str.split, printed(SESSIONS, "fork").splitlines())
    assert amber == red != blue
    assert (one, two, anew) == ("1", "2", "1")
    assert "> What does the amber light mean?" in printed(SESSIONS, "transcript")
    assert "red one" not in printed(SESSIONS, "transcript")
    (cleaned, *_), (soap, *_) = map(str.split, printed(SESSIONS, "thread").splitlines())
    assert cleaned == soap != printed(SESSIONS, "travel").split()[0]
    assert all_text(SESSIONS, "untouched") == "['How do I clean the rain gauge?', 'And soap?']"


def test_the_sessions_notebook_resumes_lists_shows_pictures_and_deletes() -> None:
    assert printed(SESSIONS, "resume").endswith("3 turns\n")
    assert "And where do I mount the sensor head?" in all_text(SESSIONS, "show-session")
    assert len(printed(SESSIONS, "list").splitlines()) == 2
    shown = next(cell for cell in SESSIONS.cells if cell.id == "pictures").outputs[-1].data["text/html"]
    assert "data:image/webp;base64," in shown
    assert printed(SESSIONS, "across").startswith("['What does the amber light mean?', 'And the red one?']\n")
    assert printed(SESSIONS, "delete") == "0 sessions\n"


def test_the_evaluation_notebook_finds_every_place_and_shows_an_answer_that_failed() -> None:
    assert "hit rate 1.00" in printed(EVALUATE, "retrieval")
    numbers = re.findall(r"\d\.\d\d", printed(EVALUATE, "retrieval") + printed(EVALUATE, "evaluators"))
    # An evaluation in which all is well, or nothing, would show nothing.
    assert all(0.5 < float(each) <= 1 for each in numbers)
    assert min(numbers) < "1.00"
    assert "How far does the radio reach?" in all_text(EVALUATE, "failures")
    assert "reinforced concrete" in all_text(EVALUATE, "failures")
    for picture in ("plot", "latency"):
        cell = next(cell for cell in EVALUATE.cells if cell.id == picture)
        assert "image/png" in cell.outputs[-1].data
