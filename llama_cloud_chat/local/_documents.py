"""What the service reads: folders, single files and the descriptions of installed packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llama_cloud_chat._errors import ConfigurationError

SUFFIXES = (".md", ".txt", ".rst")
MAX_FILE_BYTES = 16 * 2**20

_SUFFIX_BY_CONTENT_TYPE = {"text/markdown": ".md", "text/plain": ".txt"}


@dataclass(frozen=True)
class Document:
    """One text with the name it is cited by.

    Attributes:
        name: The path below its folder with forward slashes, or the package's name with a suffix.
        text: The text as `open(..., encoding="utf-8-sig")` reads it, so every line end is one character.
            All character offsets of the service count in this string.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """The documents that become one index.

    Attributes:
        index_id: The same for the same folder every time, so that bound sessions survive a restart.
        name: What to call the index when talking to people.
        documents: In the order of their names.
        skipped: Files with a readable suffix that could not be read.
    """

    index_id: str
    name: str
    documents: list[Document]
    skipped: list[Skipped] = field(default_factory=list)


def read_path(path: Path) -> Collection:
    """Read a folder, or a single file, into a collection.

    Hidden files and folders and other suffixes are left alone. In a folder, a file that cannot be read is
    skipped and listed; a file that was named itself must be readable.

    Raises:
        ConfigurationError: Nothing is there, or nothing in it can be read.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise ConfigurationError(f"There is no folder or file {str(path)!r}; check the path given as docs.")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{str(path)!r} is not a text file the service reads; give {_kinds()}.")
    document = _read_file(path, path.name)
    if isinstance(document, Skipped):
        raise ConfigurationError(f"{str(path)!r} cannot be used: {document.reason}.")
    return Collection(_index_id(path), path.name, [document])


def read_installed_packages() -> Collection:
    """Read the long description of every Python package installed in this environment.

    Raises:
        ConfigurationError: No installed package describes itself.
    """
    documents: dict[str, Document] = {}
    for distribution in importlib.metadata.distributions():
        document = _describe(distribution)
        # The first one found is the one that Python imports.
        if document is not None:
            documents.setdefault(document.name, document)
    if not documents:
        raise ConfigurationError("No installed package has a description to read; give a folder as docs.")
    ordered = [documents[name] for name in sorted(documents)]
    return Collection("idx-installed-packages", "Installed packages", ordered)


def _read_folder(folder: Path) -> Collection:
    documents: list[Document] = []
    skipped: list[Skipped] = []
    try:
        paths = sorted(_text_files(folder))
    except OSError as error:
        raise ConfigurationError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from None
    for path in paths:
        read = _read_file(path, path.relative_to(folder).as_posix())
        if isinstance(read, Document):
            documents.append(read)
        else:
            skipped.append(read)
    if not documents:
        why = f" ({skipped[0].path.name} {skipped[0].reason})" if skipped else ""
        raise ConfigurationError(
            f"The folder {str(folder)!r} holds nothing the service can read{why}; put {_kinds()} into it."
        )
    return Collection(_index_id(folder), folder.resolve().name or str(folder), documents, skipped)


def _text_files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        # Without this, os.walk passes over a folder it may not open as if it were empty.
        if error.filename == str(folder):
            raise error

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(root, name)


def _read_file(path: Path, name: str) -> Document | Skipped:
    try:
        if not path.is_file():
            return Skipped(path, "is not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            return Skipped(path, f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return Skipped(path, f"cannot be opened ({error.strerror})")
    except UnicodeDecodeError:
        return Skipped(path, "is not text in UTF-8")
    fault = _fault(text)
    return Skipped(path, fault) if fault else Document(name, text)


def _fault(text: str) -> str:
    if "\0" in text:
        return "is not text but binary data"
    return "" if text.strip() else "is empty"


def _describe(distribution: importlib.metadata.Distribution) -> Document | None:
    metadata = distribution.metadata
    name = metadata["Name"]
    # Old metadata keeps the description in a header, newer in the body.
    text = metadata.json.get("description") or metadata["Summary"]
    if not name or not isinstance(text, str) or _fault(text):
        return None
    content_type = (metadata["Description-Content-Type"] or "").partition(";")[0].strip().lower()
    suffix = _SUFFIX_BY_CONTENT_TYPE.get(content_type, ".rst")
    return Document(name.lower() + suffix, text.replace("\r\n", "\n"))


def _index_id(path: Path) -> str:
    return "idx-" + hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _kinds() -> str:
    return f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files"
