"""The picture of the architecture and the table of the core's files show the code as it is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CORE = ROOT / "llama_cloud_chat"
DRAWING = runpy.run_path(str(ROOT / "docs/images/architecture.py"))
BOXES = DRAWING["read"]()


def test_every_floor_and_package_is_a_box_beside_the_face_and_the_ground() -> None:
    floors = {f"{path.parent.name}/" for path in CORE.glob("*/__init__.py")}
    around = {"llama_cloud_chat/", "langchain_ext/", "llama_index_ext/", "ground"}
    assert {box.name for box in BOXES} == floors | around
    assert len(BOXES) <= 15  # more than a newcomer reads in a minute
    assert all(box.says for box in BOXES)


def test_the_wings_of_the_embedded_service_are_named_in_its_box() -> None:
    says = next(box.says for box in BOXES if box.name == "local/")
    assert set(re.findall(r"\b_\w+", says)) == {path.parent.name for path in CORE.glob("local/*/__init__.py")}


def test_every_file_of_the_core_is_in_a_box_and_named_there_if_the_box_is_no_folder_of_its_own() -> None:
    named = {box.name: set(re.findall(r"\b_\w+", box.says)) for box in BOXES}
    face, ground = named["llama_cloud_chat/"], named["ground"]
    assert {"_client", "_async_client", "_stream", "_async_stream"} <= face
    assert face | ground == {path.stem for path in CORE.glob("_*.py")} - {"__init__"}
    assert face & ground == set()


def test_every_arrow_points_down() -> None:
    rows = {box.name: box.row for box in BOXES}
    assert [(box.name, name) for box in BOXES for name in box.imports if rows[name] <= rows[box.name]] == []


def test_the_adapters_stand_on_the_public_face_alone() -> None:
    imports = {box.name: box.imports for box in BOXES}
    assert imports["langchain_ext/"] == imports["llama_index_ext/"] == ["llama_cloud_chat/"]


def test_the_picture_has_a_box_and_an_arrow_for_each() -> None:
    picture = DRAWING["draw"](BOXES)
    assert picture.count('class="box"') == len(BOXES)
    assert picture.count('class="arrow"') == sum(len(box.imports) for box in BOXES)


def test_the_saved_picture_is_the_one_that_the_code_gives() -> None:
    saved = (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8")
    assert saved == DRAWING["draw"](BOXES), "draw it anew: .venv/bin/python docs/images/architecture.py"


def test_contributing_has_one_line_for_every_file_of_the_core() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| file | what it decides |")[2]
    lines = re.findall(r"^\| (`.+?`) \| (.+) \|$", table, re.MULTILINE)
    files = [path.relative_to(CORE) for path in CORE.rglob("*.py")]
    core = [file.as_posix() for file in files if file.parts[0] not in {"cli", "notebook", "local", "ray"}]
    written = [file for names, _ in lines for file in re.findall(r"`(.+?)`", names)]
    assert sorted(written) == sorted(file for file in core if not file.endswith("/__init__.py"))
    assert len({says for _, says in lines}) == len(lines)  # two that decide the same are one too many
