"""Holds the built pages to fetching nothing from elsewhere: they must read the same without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_FETCHES = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc="?(?:https?:)?//[^>\s]+"""
    r"""|<link\b[^>]*rel="?(?:stylesheet|preload|preconnect|icon|modulepreload)"?[^>]*href="?(?:https?:)?//[^>\s]+"""
    r"""|url\(["']?(?:https?:)?//[^)]+|class="[^"]*\bmermaid\b""",
    re.IGNORECASE,
)


def on_post_build(config: Any, **_: Any) -> None:
    """Look through the site; MkDocs calls this when it is built."""
    found = [
        f"{path.relative_to(config.site_dir)}: {match[0]}"
        for path in sorted(Path(config.site_dir).rglob("*"))
        if path.suffix in {".html", ".css"}
        for match in _FETCHES.finditer(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError("These pages would fetch something from elsewhere:\n" + "\n".join(found))
