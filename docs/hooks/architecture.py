"""Draws the architecture: who imports whom, in the order of the layers that pyproject.toml holds the code to.

A page shows it where `<!-- architecture -->` stands.
"""

from __future__ import annotations

import ast
import html
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
CORE = "llama_cloud_chat"
MARK = "<!-- architecture -->"

_WIDTH, _LEFT, _ROW, _GAP = 900, 190, 24, 34


@dataclass
class Row:
    """A line of the picture: a package, or a module of the core.

    Attributes:
        name: Its full name.
        says: The first sentence of its docstring.
        y: Where its line is.
        imports: What it imports, as names of other rows.
    """

    name: str
    says: str
    y: int = 0
    imports: list[str] = field(default_factory=list)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the picture where a page wants it; MkDocs calls this for every page."""
    return markdown.replace(MARK, draw(read())) if MARK in markdown else markdown


def read() -> dict[str, list[Row]]:
    """Read the code: the rows of the picture, under their headings, from the top layer down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = _layers_of(settings)
    modules = [name for name in layers if name.startswith(f"{CORE}._")]
    packages = [name for name in layers if name not in modules]
    graph = grimp.build_graph(*settings["root_packages"], exclude_type_checking_imports=True)
    for package in packages:
        graph.squash_module(package)
    imports = _without_the_obvious(graph, [*packages, CORE, *modules])
    rows = {name: Row(name, _first_sentence(name), imports=imports[name]) for name in imports}
    return {
        "Packages": [rows[name] for name in packages],
        "The core: its public face, and what is behind it": [rows[name] for name in (CORE, *modules)],
    }


def _without_the_obvious(graph: grimp.ImportGraph, names: list[str]) -> dict[str, list[str]]:
    """Return what each imports, without what another of its imports brings along."""
    imports = {name: graph.find_modules_directly_imported_by(name) & set(names) - {name} for name in names}
    for place, name in enumerate(names):
        for above in imports[name] & set(names[:place]):
            graph.remove_import(importer=name, imported=above)  # twins know each other, which says nothing of the rest
    return {
        name: [
            imported
            for imported in sorted(all_imported)
            if not any(graph.chain_exists(other, imported) for other in all_imported - {imported})
        ]
        for name, all_imported in imports.items()
    }


def draw(groups: dict[str, list[Row]]) -> str:
    """Return the picture as SVG, to stand in a page: its colours are the page's."""
    y = 0
    parts: list[str] = []
    for heading, rows in groups.items():
        y += _GAP
        parts.append(f'<text class="heading" x="{_LEFT}" y="{y}">{html.escape(heading)}</text>')
        for row in rows:
            y += _ROW
            row.y = y
    places = {row.name: row.y for row in _all(groups)}
    parts += [_draw_row(row, places, height=y) for row in _all(groups)]
    title = "Which package and which module of the core imports which; nearly every import points down."
    return (
        f'<svg class="architecture" role="img" aria-label="{title}" viewBox="0 0 {_WIDTH} {y + _ROW}">'
        f"{''.join(parts)}</svg>"
    )


def _draw_row(row: Row, places: dict[str, int], height: int) -> str:
    arcs = "".join(_arc(row.y, places[name], height) for name in row.imports)
    name = html.escape(row.name.replace(f"{CORE}._", "_"))
    return (
        f'<g class="row"><rect x="{_LEFT - 8}" y="{row.y - 16}" width="{_WIDTH - _LEFT}" height="{_ROW - 2}"/>{arcs}'
        f'<text class="name" x="{_LEFT}" y="{row.y}">{name}</text>'
        f'<text class="says" x="{_LEFT + 210}" y="{row.y}">{html.escape(row.says)}</text></g>'
    )


def _arc(start: int, end: int, height: int) -> str:
    x = _LEFT - 14
    bend = x - 1.3 * x * (abs(end - start) / height) ** 0.6  # where it heads for: the further, the further out
    a, b = start - 5, end - 5
    return f'<path d="M{x},{a} C{bend:.0f},{a} {bend:.0f},{b} {x},{b}"/><circle cx="{x}" cy="{b}" r="2"/>'


def _all(groups: dict[str, list[Row]]) -> Iterator[Row]:
    for rows in groups.values():
        yield from rows


def _layers_of(settings: dict[str, Any]) -> list[str]:
    """Return all packages and modules that the contracts put into layers, from the top down."""
    names: dict[str, None] = {}
    for contract in settings["contracts"]:
        for container in contract.get("containers", [""]):
            for layer in contract.get("layers", []):
                for name in re.split(r"[|:]", layer):
                    names[f"{container}.{name.strip()}".lstrip(".")] = None
    return list(names)


def _first_sentence(name: str) -> str:
    path = ROOT.joinpath(*name.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"[.:;](?:\s|$)", docstring.replace("`", ""), maxsplit=1)[0].replace("\n", " ")
    return textwrap.shorten(sentence, 76, placeholder=" ...")
