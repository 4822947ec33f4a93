"""Runs the notebooks against the embedded service and saves them with what they show: `python -m notebooks.run`.

What would differ at the next run is steadied first. Ids are numbered in the order in which they appear, so that it can
still be seen which are the same; times are left out. What a cell tagged `varies` shows are measurements: those that
were saved stay, until somebody clears them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.name for path in FOLDER.glob("*.ipynb")))

_MOST_SECONDS = 100
_ID = re.compile(r"\b(ses|idx|dfl)-[0-9a-f]{16,}\b")
# As transcripts write how long a turn took, and when a session was last updated.
_DATE = r"\b20\d\d-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)|\b\d{1,2} [A-Z][a-z]+ 20\d\d, \d\d:\d\d UTC"
_TIME = re.compile(rf"(?<=· )[\d.]+ m?s\b|{_DATE}")
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Run and save the notebooks that are named on the command line, or all."""
    for name in sys.argv[1:] or NAMES:
        saved = read(FOLDER / name)
        fresh = execute(saved, FOLDER)
        for cell, before in zip(fresh.cells, saved.cells, strict=True):
            if varies(cell) and before.outputs:
                cell["outputs"] = before.outputs
        nbformat.write(fresh, FOLDER / name)
        print(f"{name} is run and saved.")


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a copy of the notebook as running it in `folder` leaves it, steadied.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    fresh = nbformat.from_dict({**notebook, "metadata": _METADATA})
    with tempfile.TemporaryDirectory() as home:
        client = NotebookClient(
            fresh,
            # Sockets in a folder of its own: no kernel can take another's port.
            config=Config(KernelManager={"transport": "ipc", "connection_file": f"{home}/kernel.json"}),
            resources={"metadata": {"path": str(folder)}},
            timeout=_MOST_SECONDS,
            record_timing=False,
            coalesce_streams=True,
        )
        # Nobody's key, and nobody's own settings of IPython and Matplotlib.
        bare = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        client.execute(env={**bare, "IPYTHONDIR": home, "MPLCONFIGDIR": home})
    fresh["metadata"] = _METADATA
    return _steady(fresh)


def varies(cell: NotebookNode) -> bool:
    """Whether what the cell shows differs from run to run."""
    return "varies" in cell.metadata.get("tags", ())


def _steady(notebook: NotebookNode) -> NotebookNode:
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        same_kind = sum(each.startswith(found[1]) for each in numbers.values())
        return numbers.setdefault(found[0], f"{found[1]}-{same_kind + 1}")

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["outputs"] = _map_text(lambda text: _TIME.sub("…", _ID.sub(number, text)), cell.outputs)
    return notebook


def _map_text(change: Callable[[str], str], value: Any) -> Any:
    """Return the value with every string in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return NotebookNode({key: _map_text(change, each) for key, each in value.items()})
    return [_map_text(change, each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
