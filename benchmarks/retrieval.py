"""How often the embedded service finds what was asked for: `python -m benchmarks.retrieval`.

Questions with known answers over a real corpus, the descriptions of the packages installed in this environment. A
question counts as answered when one of the first five passages holds the answer's words and comes from the package
that knows it. Questions about packages that are not installed are left out, and said to be.

Exits with 1 when recall at 5 has fallen below the floor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llama_cloud_chat.local import Tools
from llama_cloud_chat.local._library.documents import list_installed_packages
from llama_cloud_chat.local._library.index import Index

TOP = 5
# A little below what it is, for other versions describe themselves in other words; a change of tokens, passages or
# ranking must not lower it.
FLOOR = 0.92
# Fewer questions say nothing.
LEAST_QUESTIONS = 15


@dataclass(frozen=True)
class Question:
    """What is asked, which package's description knows it, and words of the passage that does."""

    text: str
    package: str
    answer: str


QUESTIONS = [
    Question("Does httpx support HTTP/2?", "httpx", "HTTP/2 support"),
    Question("strict timeouts everywhere", "httpx", "Strict timeouts"),
    Question("Which command line client can httpx be installed with?", "httpx", "httpx[cli]"),
    Question("a minimal low-level HTTP client", "httpcore", "minimal low-level HTTP client"),
    Question("How do I send a request with a connection pool in httpcore?", "httpcore", "ConnectionPool"),
    Question("data validation using type hints", "pydantic", "Data validation using Python type hints"),
    Question("How is BaseModel used in pydantic?", "pydantic", "class User(BaseModel)"),
    Question("FastAPI interactive API docs swagger", "fastapi", "Swagger UI"),
    Question("Which standards is fastapi based on, OpenAPI and JSON Schema?", "fastapi", "OpenAPI"),
    Question("What is an ASGI web server?", "uvicorn", "ASGI"),
    Question("uvicorn standard extras uvloop httptools", "uvicorn", "httptools"),
    Question("lightweight ASGI framework toolkit", "starlette", "framework/toolkit"),
    Question("How do I consume server-sent events with httpx?", "httpx-sse", "connect_sse"),
    Question("EventSourceResponse", "sse-starlette", "EventSourceResponse"),
    Question("event source response starlette", "sse-starlette", "EventSourceResponse"),
    Question("property-based testing library", "hypothesis", "property-based testing"),
    Question("How do I run tests in parallel across several CPUs?", "pytest-xdist", "pytest -n auto"),
    Question("test coroutines asyncio mark", "pytest-asyncio", "pytest.mark.asyncio"),
    Question("shuffle the order of tests random seed", "pytest-randomly", "order"),
    Question("abort tests that take too long", "pytest-timeout", "timeout"),
    Question("coverage report for a pytest run", "pytest-cov", "--cov="),
    Question("extremely fast Python linter and code formatter", "ruff", "extremely fast Python linter"),
    Question("optional static type checker", "mypy", "static type checker"),
    Question("rich text and beautiful formatting in the terminal", "rich", "rich text"),
    Question("progress bars without flicker", "rich", "progress bars"),
    Question("build CLI applications from type hints", "typer", "building CLI applications"),
    Question("composable command line interfaces decorators", "click", "command line interface"),
    Question("Mozilla root certificates bundle", "certifi", "Root Certificates"),
    Question("internationalized domain names encoding", "idna", "Internationalized Domain Names"),
    Question("sans-io HTTP/1.1 protocol bring your own I/O", "h11", "bring-your-own-I/O"),
    Question("structured concurrency on asyncio or trio", "anyio", "structured concurrency"),
    Question("detect encoding of unknown text", "charset-normalizer", "encoding"),
    Question("bindings to PDFium", "pypdfium2", "PDFium"),
    Question("render a page of a pdf to an image", "pypdfium2", "render"),
    Question("Python imaging library fork", "pillow", "Pillow"),
    Question("backported experimental type hints", "typing-extensions", "type system"),
    Question("validate architecture imports contracts", "import-linter", "contracts"),
    Question("syntax highlighting package", "pygments", "syntax highlight"),
    Question("CommonMark markdown parser", "markdown-it-py", "CommonMark"),
    Question("BytesURL parse yarl", "yarl", "URL"),
    Question("multi-dimensional array scientific computing", "numpy", "array"),
    Question("object relational mapper SQL toolkit", "sqlalchemy", "Object Relational"),
    Question("graphs and complex networks", "networkx", "complex networks"),
    Question("retry on exception with exponential wait", "tenacity", "retry"),
    Question("alternative regular expression module", "regex", "regular expression"),
    Question("natural language toolkit", "nltk", "Natural Language"),
    Question("LangChain message base abstractions", "langchain-core", "base abstractions"),
    Question("low-level orchestration for stateful agents", "langgraph", "stateful"),
    Question("fast tokeniser for OpenAI models", "tiktoken", "BPE"),
    Question("progress meter for loops", "tqdm", "progress meter"),
]


@dataclass(frozen=True)
class Outcome:
    """How a question went.

    Attributes:
        question: The question.
        rank: The place of the first right passage, from 1; None if there is none among the first.
        instead: Which files came first.
    """

    question: Question
    rank: int | None
    instead: list[str]


def main() -> int:
    """Ask everything, show how it went, and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder, "index"))
        began = time.perf_counter()
        collection = list_installed_packages()
        index.update([collection])
        indexed = time.perf_counter() - began
        tools = Tools(index, [collection.index_id])
        asked = [question for question in QUESTIONS if _knows(tools, question)]
        began = time.perf_counter()
        outcomes = [_ask(tools, question) for question in asked]
        seconds = (time.perf_counter() - began) / max(len(asked), 1)
        passages = index.passages
        index.close()
    print(f"{len(collection.entries)} descriptions, {passages} passages, read and indexed in {indexed:.2f} s")
    print(
        f"{len(asked)} questions, {1000 * seconds:.1f} ms each; {len(QUESTIONS) - len(asked)} left out (not installed)"
    )
    for line in _misses(outcomes):
        print(line)
    recall = sum(outcome.rank is not None for outcome in outcomes) / max(len(outcomes), 1)
    reciprocal = sum(1 / outcome.rank for outcome in outcomes if outcome.rank) / max(len(outcomes), 1)
    print(f"recall at {TOP}: {recall:.3f} (floor {FLOOR:.2f})    mean reciprocal rank: {reciprocal:.3f}")
    if len(asked) < LEAST_QUESTIONS:
        print(f"Too few of the packages are installed for a judgement; {LEAST_QUESTIONS} are needed.")
        return 1
    return 0 if recall >= FLOOR else 1


def _knows(tools: Tools, question: Question) -> bool:
    """Whether the package is installed and its description still holds the answer."""
    files = [item for item in tools.find(f"{question.package}.")["items"] if _is_about(item["file_name"], question)]
    return any(question.answer.lower() in tools.read(item["file_id"])["content"].lower() for item in files)


def _ask(tools: Tools, question: Question) -> Outcome:
    results = tools.retrieve(question.text, top_k=TOP)["results"]
    names = [result["metadata"]["file_name"] for result in results]
    for rank, (name, result) in enumerate(zip(names, results, strict=True), start=1):
        if _is_about(name, question) and question.answer.lower() in result["content"].lower():
            return Outcome(question, rank, names)
    return Outcome(question, None, names)


def _is_about(file_name: str, question: Question) -> bool:
    stem = file_name.rpartition(".")[0].replace("_", "-")
    return stem == question.package


def _misses(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.rank is None:
            yield f"  missed: {outcome.question.text!r}, in {outcome.question.package}; found {outcome.instead}"


if __name__ == "__main__":
    sys.exit(main())
