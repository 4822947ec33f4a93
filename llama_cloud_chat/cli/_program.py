"""How this program is called here, so that the commands it prints can be copied and run as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "llama-cloud-chat"


def shell_line(*words: str, options: Sequence[str] = ()) -> str:
    """Return a command of this program as a shell takes it."""
    return shlex.join([_called(), *words, *options])


def _called() -> str:
    """Return the name alone if it leads here, else the path: from a folder that stands in no `PATH`."""
    started = Path(sys.argv[0])
    found = shutil.which(PROGRAM)
    if started.stem != PROGRAM or (found is not None and Path(found).resolve() == started.resolve()):
        return PROGRAM
    absolute = Path(os.path.abspath(started))  # noqa: PTH100  # a link is called by its own name
    try:
        return str(absolute.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(absolute)
