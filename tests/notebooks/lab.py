"""JupyterLab with one notebook, which is run and looked at in the browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from selenium.webdriver.support.wait import WebDriverWait

from .browser import Browser

PATIENCE = 60.0

_NAME = "looked_at.ipynb"
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
_SETTINGS = {
    # Every cell is part of the page, wherever it is scrolled to; and nothing is fetched from elsewhere.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
_READY = "return window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


class Lab:
    """An open notebook.

    Attributes:
        browser: The browser that it is open in.
        folder: The folder that it lies in, where its cells run.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser, self.folder = browser, folder

    def run_cells(self) -> None:
        """Begin to run all cells."""
        self.browser.run("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def output(self, cell: int, script: str) -> Any:
        """Run a piece of JavaScript with a cell's output as `output`; returns what it returns."""
        find = f"const output = document.querySelectorAll('.jp-Notebook .jp-Cell')[{cell}]?.querySelector('.lcc');"
        return self.browser.run(f"{find} return {script}")

    def wait_for(self, cell: int, script: str) -> Any:
        """Wait until that is true of a cell's output; returns its value."""
        return self.wait(lambda: self.output(cell, f"output && ({script})"))

    def wait(self, condition: Any) -> Any:
        """Wait until a condition holds; returns its value."""
        return WebDriverWait(self.browser.driver, PATIENCE, 0.05).until(lambda _: condition())


@contextmanager
def open_lab(browser: Browser, folder: Path, cells: list[str], *, dark: bool = False) -> Iterator[Lab]:
    """Start JupyterLab in an empty folder, with nobody's settings, and open a notebook with these cells."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=_KERNEL)
    nbformat.write(notebook, folder / _NAME)
    for name, values in _SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    bare = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    homes = {name: str(folder / "home") for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    own = {"JUPYTER_RUNTIME_DIR": str(folder / "run"), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        *("--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"),
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env={**bare, **homes, **own}, stderr=log) as server,
    ):
        lab = Lab(browser, folder)
        try:
            address = lab.wait(lambda: _address(folder / "run"))
            browser.look(f"{address}lab/tree/{_NAME}", width=1300, height=1000, dark=dark)
            lab.wait(lambda: browser.run(_READY))
            yield lab
        finally:
            browser.driver.get("about:blank")
            server.terminate()


def _address(folder: Path) -> str | None:
    """Return where the server listens, as soon as it has noted that down."""
    try:
        return next((str(json.loads(path.read_text())["url"]) for path in folder.glob("jpserver-*.json")), None)
    except ValueError:  # it is still writing
        return None
