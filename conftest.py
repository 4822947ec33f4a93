"""The code blocks of the documentation are tests; `tests/docs/blocks.py` says how a block is run."""

from sybil import Sybil

from tests.docs.blocks import parse, reader

__all__ = ["pytest_collect_file", "reader"]

pytest_collect_file = Sybil(parsers=[parse], patterns=["docs/*.md", "README.md"], fixtures=[reader.__name__]).pytest()
