"""A plain HTTP client that speaks the wire, and something to read for the service."""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
import weakref
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from llama_cloud_chat.local import LocalService
from llama_cloud_chat.local._library.documents import Collection, Entry
from llama_cloud_chat.local._library.index import Index
from llama_cloud_chat.local._library.readers import Document
from llama_cloud_chat.local._library.tools import Library

HANDBOOK = {
    "leave.md": "# Leave\n\nEveryone has 30 days of paid leave each year. Unused days expire in March.\n\n"
    "## Sick leave\n\nTell your team before ten o'clock. A doctor's note is needed from the third day.\n",
    "travel.txt": "Trains are preferred to planes for every distance below 600 km.\n\f"
    "Hotels are booked by the office. Breakfast is paid for by the company.\n",
    "tools/editor.rst": "Editors\n=======\n\nThe editor is a matter of taste. Licences are bought by the office.\n",
}


def write_docs(folder: Path, files: dict[str, str] = HANDBOOK) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def collection_of(index_id: str, files: dict[str, str]) -> Collection:
    entries = [Entry(name, Path(name), text, partial(Document, text)) for name, text in sorted(files.items())]
    return Collection(index_id, index_id, index_id, entries)


def library_of(**indexes: dict[str, str]) -> Library:
    """Index texts by their names; the file is gone from the folder at once, and from the disk with the index."""
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder, "index"))
        index.update([collection_of(index_id, files) for index_id, files in indexes.items()])
    weakref.finalize(index, close_all, index._all_readers)
    return Library(index, list(indexes))


def close_all(connections: Iterable[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()


def pdf_of(*pages: str, encrypted: bool = False) -> bytes:
    """Make a PDF, one page for each text; the encrypted one asks for a password that nobody knows."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for number, page in enumerate(pages):
        lines = "".join(f"({line}) Tj T* " for line in page.split("\n"))
        content = f"BT /F1 14 Tf 72 720 Td 18 TL {lines}ET".encode("cp1252")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    trailer = f"/Size {len(objects) + 1} /Root 1 0 R"
    if encrypted:
        secret = "00" * 32
        trailer += f" /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{secret}> /U <{secret}> >> /ID [<00> <00>]"
    out, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    return (
        out
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< {trailer} >>\n"
            f"startxref\n{start}\n%%EOF\n"
        ).encode()
    )


_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def docx_of(body: str, *, doctype: str = "", name: str = "word/document.xml") -> bytes:
    """Make a Word document of what is to stand in its body."""
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" Type="{_OFFICE}/'
        'officeDocument" Target="word/document.xml"/></Relationships>',
        "word/styles.xml": f'<w:styles {_WORD}><w:style w:type="paragraph" w:styleId="Heading1"><w:name '
        'w:val="heading 1"/></w:style></w:styles>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_OFFICE}/numbering" Target="numbering.xml"/><Relationship Id="r2" Type="{_OFFICE}/styles" '
        'Target="styles.xml"/></Relationships>',
        "word/numbering.xml": f'<w:numbering {_WORD}><w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt '
        'w:val="decimal"/></w:lvl></w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
        "</w:numbering>",
        name: f"{doctype}<w:document {_WORD}><w:body>{body}</w:body></w:document>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    return file.getvalue()


def events_in(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data:"):
            yield json.loads(line[5:])


class Api:
    """The operations as bare HTTP."""

    def __init__(self, service: LocalService) -> None:
        self.index_ids = service.index_ids
        self.http = httpx.Client(
            base_url=service.base_url, headers={"Authorization": f"Bearer {service.api_key}"}, timeout=20
        )

    def create(self, **body: Any) -> str:
        answer = self.http.post("/api/v1/chat", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["session_id"])

    def post(self, session_id: str, prompt: str = "Hello?", **body: Any) -> httpx.Response:
        params = body.pop("params", None)
        return self.http.post(
            f"/api/v1/chat/{session_id}/messages/stream",
            json={"index_ids": self.index_ids, "prompt": prompt, **body},
            params=params,
        )

    def ask(self, session_id: str, prompt: str = "Hello?", **body: Any) -> list[dict[str, Any]]:
        answer = self.post(session_id, prompt, **body)
        assert answer.status_code == 200, answer.text
        return list(events_in(answer.text.splitlines()))

    @contextmanager
    def stream(self, session_id: str, prompt: str = "Hello?") -> Iterator[Iterator[dict[str, Any]]]:
        url = f"/api/v1/chat/{session_id}/messages/stream"
        with self.http.stream("POST", url, json={"index_ids": self.index_ids, "prompt": prompt}) as answer:
            assert answer.status_code == 200
            yield events_in(answer.iter_lines())

    def events(self, session_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/api/v1/chat/{session_id}")
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["events"]
        return events

    def summary(self, session_id: str) -> dict[str, Any]:
        summary: dict[str, Any] = self.http.get(f"/api/v1/chat/{session_id}/summary").json()
        return summary
