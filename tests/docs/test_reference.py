"""Every public name is in the reference, and its docstring says what it takes, gives and raises."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path

import griffe
from griffe import DocstringSectionKind as Kind

ROOT = Path(__file__).parent.parent.parent
# What LangChain wants its classes to have; nobody sets them.
FRAMEWORK_FIELDS = {"model_config", "llama_cloud_api_key", "cache", "args_schema", "response_format"}
PACKAGES = [
    "llama_cloud_chat",
    "llama_cloud_chat.local",
    "llama_cloud_chat.notebook",
    "llama_cloud_chat.ray",
    "langchain_ext",
    "llama_index_ext",
]
# A summary that begins with one of these says by itself what is given.
SAYS_WHAT_IT_GIVES = ("Return", "Yield", "Iterate", "Refuse")


@functools.cache
def load(package: str) -> griffe.Module:
    module = griffe.load(
        package,
        search_paths=[str(ROOT)],
        docstring_parser="google",
        docstring_options={"warn_unknown_params": False},  # the fields of pydantic's models are parameters, too
    )
    assert isinstance(module, griffe.Module)
    return module


def public_names() -> Iterator[tuple[str, griffe.Object]]:
    for package in PACKAGES:
        module = load(package)
        for name in map(str, module.exports or ()):
            found = module[name]
            yield f"{package}.{name}", found.final_target if isinstance(found, griffe.Alias) else found


def told_by_a_base(kind: griffe.Class, member: griffe.Object) -> bool:
    """Whether a public class that this one derives from tells what the member does, and this one adds nothing."""
    bases = [base for base in kind.mro() if base.name in (load("llama_cloud_chat").exports or ())]
    return not member.docstring and any(member.name in base.members for base in bases)


NAMES = {path: thing for path, thing in public_names() if not path.endswith(".__version__")}
CLASSES = {path: thing for path, thing in NAMES.items() if isinstance(thing, griffe.Class)}
MEMBERS = {
    f"{path}.{name}": member
    for path, thing in CLASSES.items()
    for name, member in thing.members.items()
    if isinstance(member, griffe.Object) and not name.startswith("_") and not told_by_a_base(thing, member)
}
FUNCTIONS = {path: thing for path, thing in {**NAMES, **MEMBERS}.items() if isinstance(thing, griffe.Function)}
PROPERTIES = {path: thing for path, thing in MEMBERS.items() if "property" in thing.labels}


def text_of(thing: griffe.Object) -> str:
    return thing.docstring.value if thing.docstring else ""


def sections(thing: griffe.Object) -> dict[Kind, griffe.DocstringSection]:
    return {section.kind: section for section in thing.docstring.parsed} if thing.docstring else {}


def told(thing: griffe.Object, *kinds: Kind) -> set[str]:
    """Return the names that the docstring describes in its sections of these kinds."""
    found = [sections(thing)[kind] for kind in kinds if kind in sections(thing)]
    return {item.name.lstrip("*") for section in found for item in section.value}


def deferred_to(thing: griffe.Object) -> griffe.Object | None:
    """Return what a docstring sends its reader on to: "see `ChatClient.stream`", "do as `add_messages`"."""
    reference = re.search(r"(?:see|as|what) `([\w.]+)`", text_of(thing), re.IGNORECASE)
    if reference is None:
        return None
    kind, _, name = reference[1].rpartition(".")
    home = load("llama_cloud_chat")[kind].final_target if kind else thing.parent
    assert home is not None
    target = home[name]
    assert text_of(target), f"{thing.path} sends its reader on to {target.path}, which says nothing"
    return target


def parameters(function: griffe.Function) -> set[str]:
    return {parameter.name.lstrip("*") for parameter in function.parameters if parameter.name not in {"self", "cls"}}


def raised_in(function: griffe.Function) -> list[str]:
    tree = ast.parse(textwrap.dedent(function.source))
    return [ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]


def test_every_public_name_has_a_docstring() -> None:
    assert [path for path, thing in {**NAMES, **FUNCTIONS, **PROPERTIES}.items() if not text_of(thing)] == []


def test_functions_say_what_they_take() -> None:
    assert {path: missing for path, function in FUNCTIONS.items() if (missing := parameters_not_told(function))} == {}


def parameters_not_told(function: griffe.Function) -> set[str]:
    if text_of(function).startswith("Refuse"):
        return set()
    target = deferred_to(function)
    described = told(function, Kind.parameters) | (told(target, Kind.parameters) if target else set())
    return parameters(function) - described


def test_functions_say_what_they_give() -> None:
    assert [path for path, function in FUNCTIONS.items() if not says_what_it_gives(function)] == []


def says_what_it_gives(function: griffe.Function) -> bool:
    by_itself = text_of(function).startswith(SAYS_WHAT_IT_GIVES) or {Kind.returns, Kind.yields} & {*sections(function)}
    return bool(by_itself or str(function.returns) == "None" or deferred_to(function))


def test_functions_say_what_they_raise() -> None:
    assert [path for path, function in FUNCTIONS.items() if not says_what_it_raises(function)] == []


def says_what_it_raises(function: griffe.Function) -> bool:
    may_raise = raised_in(function) or "self._run(" in function.source
    return bool(not may_raise or Kind.raises in sections(function) or deferred_to(function))


def test_classes_say_what_they_are_made_of() -> None:
    """Their parameters, or who makes them; and their fields."""
    assert {path: missing for path, kind in CLASSES.items() if (missing := parts_not_told(kind))} == {}


def parts_not_told(kind: griffe.Class) -> set[str]:
    described = {name for one in [kind, *own_bases(kind)] for name in told(one, Kind.parameters, Kind.attributes)}
    parts = {name for name, member in kind.members.items() if "instance-attribute" in member.labels}
    if "__init__" in kind.members and "made by" not in text_of(kind).lower():
        parts |= parameters(kind["__init__"])
    return {name for name in parts if not name.startswith("_")} - described - FRAMEWORK_FIELDS


def test_docstrings_describe_no_parameter_that_is_not_there() -> None:
    there = {path: parameters(function) for path, function in FUNCTIONS.items()}
    for path, kind in CLASSES.items():
        constructor = kind.members.get("__init__")
        there[path] = set(kind.all_members) | (parameters(constructor) if constructor else set())
    described = {path: told({**NAMES, **MEMBERS}[path], Kind.parameters) for path in there}
    assert {path: more for path in there if (more := described[path] - there[path])} == {}


def own_bases(kind: griffe.Class) -> list[griffe.Class]:
    return [base for base in kind.mro() if base.path.split(".")[0] in {"llama_cloud_chat", "langchain_ext"}]


def test_the_pages_hold_every_public_name(tmp_path: Path) -> None:
    """They are built as `make docs` builds them; the inventory says what other sites can link to."""
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    inventory = zlib.decompress((tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    held = {line.split()[0] for line in inventory.splitlines()}
    assert set(NAMES) <= held


def test_every_error_has_its_place_on_the_page_of_errors() -> None:
    headings = re.findall(r"^## (\w+Error)$", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    errors = [path.rpartition(".")[2] for path, kind in CLASSES.items() if path.endswith("Error")]
    assert sorted(headings) == sorted(set(errors) - {"ChatError"})
