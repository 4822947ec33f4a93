"""Draws `architecture.svg`: what imports what, as the code says and in the order that pyproject.toml holds it to.

    .venv/bin/python docs/images/architecture.py

A folder of the core is a box, and so is each other package. The core's files above its folders are its face, those
below them its ground; the embedded service names its wings. An import that other imports bring along has no arrow.
"""

from __future__ import annotations

import ast
import html
import re
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
PICTURE = Path(__file__).with_suffix(".svg")
CORE = "llama_cloud_chat"
LOCAL = f"{CORE}.local"
GROUND = "ground"

_LEFT, _RIGHT = (10, 430), (476, 230)
"""Where the core and what uses it stand, where the embedded service does, and how wide they are."""
_LANES = (454, 464)
"""Where between them arrows go down."""
_WIDE = {f"{CORE}._session": 2.5}
"""What takes more room in its row than its neighbours: most of what stands above leads there."""
_MARGIN, _GAP, _LINE, _CHARACTER = 10, 26, 19, 7.4
_DOWN = "m-5,-7 l5,7 l5,-7"
# In a page the colours are the page's; a picture that stands alone (as on GitHub) brings its own.
_STYLE = """
svg:root { --md-default-fg-color: #1f2328; --md-default-fg-color--light: #656d76; --md-code-bg-color: #f6f8fa; }
@media (prefers-color-scheme: dark) {
svg:root { --md-default-fg-color: #e6edf3; --md-default-fg-color--light: #9198a1; --md-code-bg-color: #161b22; }
}
svg.architecture { width: 100%; max-width: 720px; height: auto; font-family: var(--md-text-font-family, sans-serif); }
svg.architecture text { fill: var(--md-default-fg-color); font-size: 15px; }
svg.architecture .name { font-family: var(--md-code-font-family, monospace); font-size: 14px; font-weight: bold; }
svg.architecture rect { fill: var(--md-code-bg-color); stroke: var(--md-default-fg-color--light); }
svg.architecture path { fill: none; stroke: var(--md-default-fg-color); stroke-width: 1.5; }
"""


@dataclass(eq=False)
class Box:
    """A box of the picture.

    Attributes:
        name: What is written on it: a package, as its folder, or a file.
        says: What it is, in a few words: how its docstring begins, or else its files.
        row: Which row it is in, from the top.
        x: Where it begins.
        width: How wide it is.
        imports: The names of the boxes that its code imports, without those that another of them brings along.
    """

    name: str
    says: str
    row: int
    x: float
    width: float
    imports: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """What it is, as lines that fit into it."""
        return textwrap.wrap(self.says, int((self.width - 12) / _CHARACTER))


def read() -> list[Box]:
    """Read the code: the boxes of the picture, from the top down, what uses the core and the core first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contracts = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    top, *above = _layers(contracts, "")
    shown = {name for layer in (top, *above, [LOCAL]) for name in layer}
    floors = [layer for layer in _layers(contracts, CORE) if not shown.issuperset(layer)]
    wings = [name for layer in _layers(contracts, LOCAL) for name in layer if _path(name).is_dir()]
    folders = _folders(floors)
    face, ground = (
        [name for layer in part for name in layer] for part in (floors[: folders[0]], floors[folders[-1] + 1 :])
    )

    tower = [*above, [CORE], *floors[folders[0] : folders[-1] + 1]]
    whole = (_LEFT[0], sum(_RIGHT) - _LEFT[0])
    boxes = {
        **_row(top, 0, *whole),
        **_tower(tower, *_LEFT),
        **_row([LOCAL], 1, *_RIGHT),
        GROUND: Box(GROUND, _files(ground), len(tower) + 1, *whole),
    }
    boxes[CORE].says += f": {_files(face)}"
    boxes[LOCAL].says += f": {_files(wings)}"
    graph = grimp.build_graph(*settings["root_packages"], exclude_type_checking_imports=True)
    for contract in contracts:  # what a contract lets pass is no part of the order
        for ignored in contract.get("ignore_imports", []):
            for found in graph.find_matching_direct_imports(ignored):
                graph.remove_import(**found)
    held = {**{name: name for name in boxes}, **dict.fromkeys(ground, GROUND)}
    for name, imported in _without_the_obvious(_imports(graph, held)).items():
        boxes[name].imports = sorted(boxes[each].name for each in imported)
    return list(boxes.values())


def draw(boxes: list[Box]) -> str:
    """Return the picture as SVG."""
    heights = [max(len(box.lines) for box in boxes if box.row == row) for row in range(boxes[-1].row + 1)]
    tops = [_MARGIN + sum(_LINE * (lines + 1) + 14 + _GAP for lines in heights[:row]) for row in range(len(heights))]
    places = {box.name: _Place(box.x, tops[box.row], box.width, _LINE * (heights[box.row] + 1) + 14) for box in boxes}
    arrows = _arrows([(places[box.name], places[name]) for box in boxes for name in box.imports], [*places.values()])
    width, height = sum(_RIGHT) + _MARGIN, places[boxes[-1].name].bottom + _MARGIN
    title = "What imports what: every arrow is an import, and all of them point down."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="architecture" role="img" aria-label="{title}" '
            f'viewBox="0 0 {width} {height}">',
            f"<style>{_STYLE}</style>",
            *(f'<path class="arrow" d="{arrow}"/>' for arrow in arrows),
            *(_drawn(box, places[box.name]) for box in boxes),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True)
class _Place:
    x: float
    y: int
    width: float
    height: int

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def right(self) -> float:
        return self.x + self.width


def _drawn(box: Box, place: _Place) -> str:
    x = place.x + place.width / 2
    first = place.y + (place.height - _LINE * len(box.lines)) / 2 + 5  # where letters stand is below their middle
    texts = [f'<text class="name" x="{x:g}" y="{first:g}" text-anchor="middle">{html.escape(box.name)}</text>'] + [
        f'<text x="{x:g}" y="{first + _LINE * number:g}" text-anchor="middle">{html.escape(line)}</text>'
        for number, line in enumerate(box.lines, start=1)
    ]
    frame = f'<rect x="{place.x:g}" y="{place.y}" width="{place.width:g}" height="{place.height}" rx="6"/>'
    return f'<g class="box">{frame}{"".join(texts)}</g>'


def _arrows(ends: list[tuple[_Place, _Place]], boxes: list[_Place]) -> list[str]:
    """Return arrows: down where nothing stands between, else beside the tower."""
    lanes = iter(_LANES)
    return [
        _straight(start, end, boxes) or _bent(start, end, boxes) or _around(start, end, next(lanes))
        for start, end in ends
    ]


def _straight(start: _Place, end: _Place, boxes: list[_Place]) -> str | None:
    left, right = max(start.x, end.x), min(start.right, end.right)
    x = (left + right) / 2
    if left > right or any(start.y < box.y < end.y and box.x < x < box.right for box in boxes):
        return None
    return f"M{x:g},{start.bottom} V{end.y - 2} {_DOWN}"


def _bent(start: _Place, end: _Place, boxes: list[_Place]) -> str | None:
    if any(start.y < box.y < end.y for box in boxes):
        return None
    x = start.x + start.width / 2
    return f"M{x:g},{start.bottom} v{_GAP // 2} H{min(max(x, end.x + 20), end.right - 20):g} V{end.y - 2} {_DOWN}"


def _around(start: _Place, end: _Place, lane: float) -> str:
    side = start.x if start.x > lane else start.right
    path = f"M{side:g},{start.y + start.height // 2} H{lane:g} V{end.y + end.height // 2}"
    return f"{path} H{end.right + 2:g} m7,-5 l-7,5 l7,5"


def _tower(layers: list[list[str]], x: float, width: float) -> dict[str, Box]:
    rows = [_row(layer, number, x, width) for number, layer in enumerate(layers, start=1)]
    return {name: box for row in rows for name, box in row.items()}


def _row(names: list[str], row: int, x: float, width: float) -> dict[str, Box]:
    shares = [_WIDE.get(name, 1) for name in names]
    share = (width - 12 * (len(names) - 1)) / sum(shares)
    boxes = {}
    for number, name in enumerate(names):
        left = x + share * sum(shares[:number]) + 12 * number
        boxes[name] = Box(_label(name), _beginning(name), row, left, share * shares[number])
    return boxes


def _imports(graph: grimp.ImportGraph, held: dict[str, str]) -> dict[str, set[str]]:
    """Return which box imports which; `held` says what is in which box."""

    def box_of(module: str) -> str:
        while module not in held:
            module = module.rpartition(".")[0]
        return held[module]

    imports: dict[str, set[str]] = {box: set() for box in held.values()}
    for module in graph.modules:
        imports[box_of(module)] |= {box_of(name) for name in graph.find_modules_directly_imported_by(module)}
    return {box: imported - {box} for box, imported in imports.items()}


def _without_the_obvious(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out what another import brings along."""

    def brought(name: str, seen: set[str]) -> set[str]:
        for each in imports[name] - seen:
            seen.add(each)
            brought(each, seen)
        return seen

    return {
        name: {each for each in imported if not any(each in brought(other, set()) for other in imported - {each})}
        for name, imported in imports.items()
    }


def _layers(contracts: list[dict[str, Any]], container: str) -> list[list[str]]:
    """Return the layers inside a package (outermost without one), from the top down, with full names."""
    layers = next(one["layers"] for one in contracts if container in one.get("containers", [""]))
    return [[f"{container}.{name.strip(' ()')}".lstrip(".") for name in re.split(r"[|:]", layer)] for layer in layers]


def _folders(layers: list[list[str]]) -> list[int]:
    """Return which layers are folders."""
    return [number for number, layer in enumerate(layers) if any(_path(name).is_dir() for name in layer)]


def _path(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path if path.is_dir() else path.with_suffix(".py")


def _label(name: str) -> str:
    label = name.removeprefix(f"{CORE}.").replace(".", "/")
    return f"{label}/" if _path(name).is_dir() else f"{label}.py"


def _files(names: list[str]) -> str:
    return ", ".join(name.split(".")[-1] for name in names)


def _beginning(name: str) -> str:
    """Return how the docstring of a package or module begins, up to the first stop of any kind."""
    path = _path(name)
    source = (path / "__init__.py" if path.is_dir() else path).read_text(encoding="utf-8")
    return re.split(r"[.:;,]\s", f"{ast.get_docstring(ast.parse(source))} ")[0].replace("`", "").replace("\n", " ")


if __name__ == "__main__":
    PICTURE.write_text(draw(read()), encoding="utf-8")
