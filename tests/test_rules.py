"""The page that says which test holds which rule, and the marks on the tests, say the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
RULES = [f"wire-{number}" for number in range(1, 8)] + [f"design-{number}" for number in range(1, 13)]


def told_by_the_page() -> set[tuple[str, str]]:
    rows = re.findall(r"^\| ((?:wire|design)-\d+) \|.*\| (.*) \|$", (ROOT / "docs/rules.md").read_text(), re.MULTILINE)
    return {(rule, test) for rule, tests in rows for test in re.findall(r"`([^`]+)`", tests)}


def marks_in(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule":
                    yield ast.literal_eval(decorator.args[0]), f"{file.relative_to(ROOT).as_posix()}::{node.name}"


def marked_on_the_tests() -> set[tuple[str, str]]:
    return {mark for file in (ROOT / "tests").rglob("test_*.py") for mark in marks_in(file)}


def test_every_rule_is_held_by_a_test():
    assert {rule for rule, _ in told_by_the_page()} == set(RULES)


def test_the_page_and_the_marks_say_the_same():
    assert told_by_the_page() == marked_on_the_tests()
