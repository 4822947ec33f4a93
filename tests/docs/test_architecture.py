"""The picture of the architecture shows the code as it is."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HOOK = runpy.run_path(str(ROOT / "docs/hooks/architecture.py"))
GROUPS = HOOK["read"]()
ROWS = [row for rows in GROUPS.values() for row in rows]


def test_every_module_of_the_core_and_every_package_has_a_row() -> None:
    core = ROOT / "llama_cloud_chat"
    modules = {f"llama_cloud_chat.{path.stem}" for path in core.glob("*.py") if path.stem != "__init__"}
    packages = {f"llama_cloud_chat.{path.parent.name}" for path in core.glob("*/__init__.py")}
    adapters = {"langchain_ext", "llama_index_ext"}
    assert {row.name for row in ROWS} == modules | packages | adapters | {"llama_cloud_chat"}
    assert all(row.says for row in ROWS)


def test_imports_point_down_but_for_the_twins() -> None:
    places = {row.name: place for place, row in enumerate(ROWS)}
    up = [(row.name, name) for row in ROWS for name in row.imports if places[name] < places[row.name]]
    assert up == [("llama_cloud_chat._async_client", "llama_cloud_chat._client")]


def test_the_adapters_stand_on_the_public_face_alone() -> None:
    imports = {row.name: row.imports for row in ROWS}
    assert imports["langchain_ext"] == imports["llama_index_ext"] == ["llama_cloud_chat"]


def test_the_picture_has_a_row_and_a_line_for_each() -> None:
    picture = HOOK["draw"](GROUPS)
    assert picture.count('class="row"') == len(ROWS)
    assert picture.count("<path") == sum(len(row.imports) for row in ROWS)
