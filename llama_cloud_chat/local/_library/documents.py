"""What there is to read: folders, single files and the descriptions of installed packages.

Here documents are only listed, each with a stamp that changes when its content does; they are read one at a time
by whoever indexes them, and only if the stamp is a new one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llama_cloud_chat._errors import ConfigurationError

from .readers import SUFFIXES, Document, UnreadableError, check_text, read_file

# Documents too, but not for this service: whoever has put them into a folder is to know that they are left out.
_OTHER_KINDS = (".doc", ".epub", ".odt", ".pages", ".pptx", ".ppt", ".rtf", ".xls", ".xlsx")
_MOST_KINDS = 6
_SUFFIX_BY_CONTENT_TYPE = {"text/markdown": ".md", "text/plain": ".txt"}
_OWN_NAME = "llama-cloud-chat"
_NAME = re.compile(r"^Name:[ \t]*(\S+)", re.M | re.I)


@dataclass(frozen=True)
class Entry:
    """A document that can be read.

    Attributes:
        name: What it is cited by: the path below its folder with forward slashes, or the package's name with a
            suffix.
        path: Where it is; for a package, where it came from.
        stamp: Changes when the content does.
        read: Reads it; raises `UnreadableError` if that cannot be done.
    """

    name: str
    path: Path
    stamp: str
    read: Callable[[], Document] = field(repr=False)


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why.

    Attributes:
        path: The file.
        reason: Why, as the end of a sentence that begins with the file.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """The documents that become one index.

    Attributes:
        index_id: The same for the same folder every time, so that bound sessions survive a restart.
        name: What to call the index when talking to people.
        where: How the user named it.
        entries: In the order of their names.
        skipped: What need not be opened to know that it will not be read.
    """

    index_id: str
    name: str
    where: str
    entries: list[Entry]
    skipped: list[Skipped] = field(default_factory=list)


NO_DOCUMENTS = Collection("idx-empty", "Empty", "", [])
"""The index of a service that reads nothing: every prompt has to name one."""


def list_path(path: Path) -> Collection:
    """List a folder, or a single file, as a collection.

    Hidden files and folders are left alone. Links to folders are not followed, nor links to files outside the folder:
    both are listed as skipped, and so are other kinds of documents, each, and all else, in one line.

    Raises:
        ConfigurationError: Nothing is there, or it is not a kind of file the service reads.
    """
    if path.is_dir():
        return _list_folder(path)
    if not path.exists():
        raise ConfigurationError(f"There is no folder or file {str(path)!r}; check the path given as docs.")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{str(path)!r} is not a file the service reads; give {_kinds()}.")
    entry = _entry(path, path.name)
    entries, skipped = ([entry], []) if isinstance(entry, Entry) else ([], [entry])
    return Collection(_index_id(path), path.name, str(path), entries, skipped)


def list_installed_packages() -> Collection:
    """List the descriptions of the Python packages installed in this environment, this one's left out.

    It quotes what this service is asked in demonstrations, and would be found for it.
    """
    entries: dict[str, Entry] = {}
    for distribution in importlib.metadata.distributions():
        entry = _package(distribution)
        # The first one found is the one that Python imports.
        if entry is not None and not entry.name.startswith(f"{_OWN_NAME}."):
            entries.setdefault(entry.name, entry)
    ordered = [entries[name] for name in sorted(entries)]
    return Collection("idx-installed-packages", "Installed packages", "", ordered)


def stamp_of(status: os.stat_result) -> str:
    """Return what changes when a file's content does."""
    # The change of the inode tells of an edit that put the old time back.
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def nothing_to_read(collection: Collection, skipped: list[Skipped]) -> ConfigurationError:
    """Say why a collection has no document at all."""
    where = Path(collection.where)
    if not collection.where:
        return ConfigurationError("No installed package has a description to read; give a folder as docs.")
    if skipped and not where.is_dir():
        return ConfigurationError(f"{collection.where!r} {skipped[0].reason}; give another file.")
    why = f" ({skipped[0].path.name} {skipped[0].reason})" if skipped else ""
    return ConfigurationError(
        f"The folder {collection.where!r} holds nothing the service can read{why}; put {_kinds()} into it."
    )


def _list_folder(folder: Path) -> Collection:
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    root = os.path.realpath(folder)
    try:
        paths = sorted(_readable(folder, skipped))
    except OSError as error:
        raise ConfigurationError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from None
    for path in paths:
        entry = _entry(path, path.relative_to(folder).as_posix(), inside=root)
        if isinstance(entry, Entry):
            entries.append(entry)
        else:
            skipped.append(entry)
    return Collection(_index_id(folder), folder.resolve().name or str(folder), str(folder), entries, skipped)


def _readable(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Yield the files with a suffix the service reads; folders that cannot be entered go into `skipped`."""

    def refuse(error: OSError) -> None:
        # Without this, os.walk passes over a folder it may not open as if it were empty.
        if error.filename == str(folder):
            raise error
        skipped.append(Skipped(Path(error.filename), f"cannot be opened ({error.strerror})"))

    others: Counter[str] = Counter()
    # Links to folders are never entered, so no loop of links can catch the walk.
    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [Path(root, name) for name in folders if Path(root, name).is_symlink()]
        skipped += [Skipped(link, "is a link to a folder, which is not followed") for link in links]
        for name in files:
            if name.startswith("."):
                continue
            if name.lower().endswith(SUFFIXES):
                yield Path(root, name)
            elif name.lower().endswith(_OTHER_KINDS):
                skipped.append(Skipped(Path(root, name), "is not read as it is; save it as .docx, .csv or .pdf"))
            else:
                others[Path(name).suffix.lower() or name] += 1
    if others:  # in one line: a folder of code or pictures has thousands
        skipped.append(Skipped(folder, _told(others)))


def _told(kinds: Counter[str]) -> str:
    """Say of how many files nothing is read, and of which kinds they are, the most frequent first."""
    named = [kind for kind, _ in kinds.most_common(_MOST_KINDS)]
    files = "1 file" if kinds.total() == 1 else f"{kinds.total():,} files"
    more = ", ..." if len(kinds) > len(named) else ""
    return f"holds {files} of kinds that are not read ({', '.join(named)}{more})"


def _entry(path: Path, name: str, inside: str | None = None) -> Entry | Skipped:
    try:
        if inside is not None and path.is_symlink() and not _is_below(os.path.realpath(path), inside):
            return Skipped(path, "is a link to a file outside the folder")
        status = path.stat()
    except OSError as error:
        return Skipped(path, f"cannot be opened ({error.strerror})")
    # A pipe would be waited for, a device never ends.
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "is not a regular file")
    return Entry(name, path, stamp_of(status), lambda: read_file(path))


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _package(distribution: importlib.metadata.Distribution) -> Entry | None:
    try:
        raw = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, UnicodeDecodeError):
        return None
    name = _NAME.search(raw)
    if name is None:
        return None
    content_type = re.search(r"^Description-Content-Type:[ \t]*([\w/]+)", raw, re.M | re.I)
    suffix = _SUFFIX_BY_CONTENT_TYPE.get(content_type[1].lower() if content_type else "", ".rst")
    stamp = hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()
    return Entry(name[1].lower() + suffix, Path(name[1]), stamp, lambda: _describe(distribution))


def _describe(distribution: importlib.metadata.Distribution) -> Document:
    metadata = distribution.metadata
    # Old metadata keeps the description in a header, newer in the body.
    text = metadata.json.get("description") or metadata["Summary"]
    if not isinstance(text, str):
        raise UnreadableError("has no description")
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    check_text(text)
    return Document(text)


def _index_id(path: Path) -> str:
    return "idx-" + hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _kinds() -> str:
    return f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files"
