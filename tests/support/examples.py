"""Runs the examples of a docstring as somebody would who copied them, against an embedded service of their own."""

from __future__ import annotations

import contextlib
import doctest
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LEAVE = "# Leave\n\nEveryone has 30 days of paid leave each year. Unused days expire in March.\n"


@contextlib.contextmanager
def like_a_process() -> Iterator[None]:
    """Let a program leave its connections open, as one may that ends: no other test hears of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


def run_examples(documented: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """Run them, with `index_ids` and `names` defined; fail with what is different from what they say."""
    pytest.importorskip("fastapi", reason="the examples need the embedded service")
    from llama_cloud_chat.local import LocalService

    (folder / "leave.md").write_text(LEAVE)
    monkeypatch.chdir(folder)
    with LocalService(folder / "leave.md") as service:
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
        names["index_ids"] = service.index_ids
        examples = doctest.DocTestParser().get_doctest(documented.__doc__, names, documented.__name__, None, None)
        assert examples.examples
        said: list[str] = []
        with like_a_process():
            results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert results.failed == 0, "".join(said)
