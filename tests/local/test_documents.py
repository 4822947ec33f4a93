"""What becomes a document: formats, pages, what is left out, and what need not be read again."""

from __future__ import annotations

import contextlib
import csv
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.answers.typeset import typeset
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local import LocalService, Tools
from llama_cloud_chat.local._library.documents import Skipped, list_installed_packages, list_path
from llama_cloud_chat.local._library.html import text_of_html
from llama_cloud_chat.local._library.index import Index
from llama_cloud_chat.local._library.readers import UnreadableError, read_file
from tests.local.harness import docx_of, pdf_of, write_docs


class Shelf:
    """A folder and its index, brought up to date as often as wanted."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder = folder
        self.path = path
        self.read: list[str] = []
        self.skipped: list[Skipped] = []
        self.closing = contextlib.ExitStack()

    def update(self) -> Tools:
        self.read = []
        index = Index(self.path)
        self.closing.callback(index.close)
        collection = list_path(self.folder)
        self.skipped = index.update([collection], lambda done, total, name: self.read.append(name))
        return Tools(index, [collection.index_id])

    def names(self) -> list[str]:
        return [item["file_name"] for item in self.update().find()["items"]]


@pytest.fixture
def shelf(handbook: Path, tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(handbook, tmp_path / "index")
    with shelf.closing:
        yield shelf


def word(text: str, style: str = "", *, numbered: bool = False) -> str:
    look = f'<w:pStyle w:val="{style}"/>' * bool(style)
    look += '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>' * numbered
    return f"<w:p><w:pPr>{look}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def cell(text: str) -> str:
    return f"<w:tc>{word(text)}</w:tc>"


def reasons(shelf: Shelf) -> dict[str, str]:
    return {each.path.name: each.reason for each in shelf.skipped}


def test_a_folder_becomes_documents_with_relative_names(shelf: Shelf) -> None:
    write_docs(shelf.folder, {".hidden.md": "x", ".git/a.md": "x", "picture.png": "x", "UPPER.MD": "x"})
    assert shelf.names() == ["UPPER.MD", "leave.md", "tools/editor.rst", "travel.txt"]
    assert list_path(shelf.folder).name == "handbook"


def test_files_of_unknown_kinds_are_left_out_in_one_line(shelf: Shelf) -> None:
    write_docs(shelf.folder, {"a.json": "{}", "tools/b.json": "{}", "Makefile": "all:", ".hidden.json": "{}"})
    shelf.update()
    assert reasons(shelf) == {"handbook": "holds 3 files of kinds that are not read (.json, Makefile)"}
    write_docs(shelf.folder, {f"file.{kind}": "x" for kind in "abcdefgh"})
    shelf.update()
    assert reasons(shelf)["handbook"].startswith("holds 11 files of kinds that are not read (.json, ")
    assert reasons(shelf)["handbook"].endswith(", ...)")


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r"])
def test_a_text_has_one_kind_of_line_end_and_no_mark(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"\xef\xbb\xbfone" + ending + b"two" + ending)
    assert read_file(path).text == "one\ntwo\n"


def test_each_installed_package_is_one_document_but_for_this_one() -> None:
    entries = {entry.name: entry for entry in list_installed_packages().entries}
    assert not [name for name in entries if name.startswith("llama-cloud-chat.")]
    assert "HTTPX" in entries["httpx.md"].read().text
    assert list(entries) == sorted(entries)


def test_html_is_read_as_people_see_it(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<!doctype html><html><head><title>Leave &amp; travel</title><style>p {color: red}</style></head>"
        "<body><script>var hidden = '<p>no</p>';</script><noscript>hidden</noscript>"
        "<h2>Sick   leave</h2><p>Tell your <b>team</b>\nearly.<br>Really.</p><ul><li>One<li>Two</ul>"
        "<pre>x = 1\n  y = 2</pre><svg><text>hidden</text></svg><table><tr><td>a<td>b</table></body>"
    )
    assert read_file(tmp_path / "a.html").text == (
        "# Leave & travel\n\n## Sick leave\n\nTell your team early.\nReally.\n\n- One\n- Two\n\n"
        "```\nx = 1\n  y = 2\n```\n\n| a | b |\n"
    )


@pytest.mark.parametrize("tag", ["<a ", "<!--", "<"])
def test_html_of_tags_that_do_not_end_is_refused_at_once(tmp_path: Path, tag: str) -> None:
    (tmp_path / "a.html").write_text("<p>Hello</p>" + tag * 30_000)
    began = time.process_time()
    with pytest.raises(UnreadableError, match="has tags that do not end"):
        read_file(tmp_path / "a.html")
    (tmp_path / "a.html").write_text("<p>Hello</p>" + tag * 900)
    assert "Hello" in read_file(tmp_path / "a.html").text
    assert time.process_time() - began < 5


def test_html_in_another_charset_is_read_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_bytes('<meta charset="iso-8859-1"><p>Grüße</p>'.encode("latin-1"))
    assert read_file(tmp_path / "a.htm").text == "Grüße\n"


@settings(deadline=None)
@given(st.text(st.sampled_from("<>/!-[]&#;= \"'abhpre1\n")))
def test_no_html_is_an_error_that_stops_the_rest(html: str) -> None:
    # The parser of the standard library gives up on some; the index names these and goes on.
    with contextlib.suppress(AssertionError):
        text_of_html(html)


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of("The first page.\nTwo lines.", "", "Größe zählt"))
    document = read_file(tmp_path / "a.pdf")
    assert document.pages == 3
    assert document.text == "The first page.\nTwo lines.\f\fGröße zählt"


def test_passages_of_a_pdf_know_their_page_and_its_picture(shelf: Shelf) -> None:
    (shelf.folder / "plan.pdf").write_bytes(pdf_of("Introduction to it all.", "Elephants need room."))
    (shelf.folder / "short.pdf").write_bytes(pdf_of("Zebras need stripes."))
    tools = shelf.update()
    best = tools.retrieve("elephants")["results"][0]["static_fields"]
    assert (best["page_range_start"], best["page_range_end"]) == (2, 2)
    file_id = best["parsed_directory_file_id"]
    assert best["attachments"] == [
        {"attachment_name": "screenshots/page_2.jpg", "source_id": file_id, "type": "screenshot"}
    ]
    assert tools.retrieve("zebras")["results"][0]["static_fields"]["page_range_start"] == 1
    assert tools.retrieve("trains")["results"][0]["static_fields"]["attachments"] == []


def test_a_result_with_a_page_picture_says_where_it_is(shelf: Shelf) -> None:
    (shelf.folder / "plan.pdf").write_bytes(pdf_of("Introduction to it all.", "Elephants need room."))
    tools = shelf.update()
    used = tools.use("retrieve", {"query": "elephants"})
    file_id = used.result["results"][0]["static_fields"]["parsed_directory_file_id"]
    second = {"attachment_name": "screenshots/page_2.jpg", "source_id": file_id}
    assert used.image_attachment == second
    assert used.report("c1")["image_attachment"] == second
    text = tools.read(file_id)["content"]
    assert tools.use("read", {"file_id": file_id, "offset": text.index("Elephants")}).image_attachment == second
    assert tools.use("read", {"file_id": file_id}).image_attachment == second | {
        "attachment_name": "screenshots/page_1.jpg"
    }
    assert "image_attachment" not in tools.use("retrieve", {"query": "trains"}).report("c2")


def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(shelf: Shelf) -> None:
    folder = shelf.folder
    (folder / "broken.pdf").write_bytes(pdf_of("x")[:100])
    (folder / "secret.pdf").write_bytes(pdf_of("x", encrypted=True))
    (folder / "scan.pdf").write_bytes(pdf_of(""))
    (folder / "nul.txt").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (folder / "nul.html").write_bytes(b"<p>a\0b")
    (folder / "void.md").write_text(" \n")
    assert shelf.names() == ["leave.md", "tools/editor.rst", "travel.txt"]
    assert reasons(shelf) == {
        "broken.pdf": "is not a PDF that can be opened",
        "secret.pdf": "is encrypted",
        "scan.pdf": "holds no text, only pictures",
        "nul.txt": "is not text but binary data",
        "latin.txt": "is not text in UTF-8",
        "nul.html": "is not text but binary data",
        "void.md": "is empty",
    }


def test_a_reader_that_breaks_on_a_file_does_not_stop_the_others(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(html: str) -> str:
        raise RecursionError

    monkeypatch.setattr("llama_cloud_chat.local._library.readers.text_of_html", fail)
    write_docs(shelf.folder, {"deep.html": "<p>x"})
    assert len(shelf.names()) == 3
    assert reasons(shelf) == {"deep.html": "cannot be read (RecursionError)"}


def test_a_folder_that_may_not_be_entered_is_named(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    true_scandir = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("tools"):
            raise PermissionError(13, "Permission denied", str(path))
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert shelf.names() == ["leave.md", "travel.txt"]
    assert reasons(shelf) == {"tools": "cannot be opened (Permission denied)"}


def test_links_lead_neither_in_circles_nor_out_of_the_folder(shelf: Shelf, tmp_path: Path) -> None:
    write_docs(tmp_path / "private", {"secret.md": "The secret."})
    folder = shelf.folder
    (folder / "loop").symlink_to(folder)
    (folder / "tools" / "up").symlink_to("..")
    (folder / "out").symlink_to(tmp_path / "private")
    (folder / "secret.md").symlink_to(tmp_path / "private" / "secret.md")
    (folder / "same.md").symlink_to("same.md")
    (folder / "again.md").symlink_to("leave.md")
    assert shelf.names() == ["again.md", "leave.md", "tools/editor.rst", "travel.txt"]
    assert shelf.update().retrieve("secret")["results"] == []
    told = reasons(shelf)
    assert told.pop("secret.md") == "is a link to a file outside the folder"
    assert told.pop("same.md").startswith("cannot be opened")
    assert told == dict.fromkeys(["loop", "up", "out"], "is a link to a folder, which is not followed")


def test_a_file_whose_name_is_no_text_is_read(shelf: Shelf) -> None:
    with open(os.fsencode(shelf.folder) + b"/caf\xe9.md", "w") as file:  # noqa: PTH123
        file.write("Coffee is free.")
    (found,) = shelf.update().retrieve("coffee")["results"]
    assert found["metadata"]["file_name"] == "caf?.md"


def test_only_what_has_changed_is_read_again(shelf: Shelf) -> None:
    (shelf.folder / "broken.pdf").write_bytes(b"x")
    shelf.update()
    assert shelf.read == ["broken.pdf", "leave.md", "tools/editor.rst", "travel.txt", ""]
    assert shelf.update().retrieve("hotels")["results"]
    assert shelf.read == []
    assert list(reasons(shelf)) == ["broken.pdf"]

    write_docs(shelf.folder, {"leave.md": "# Leave\n\nThere are forty days now.", "new.md": "Something new."})
    (shelf.folder / "travel.txt").unlink()
    tools = shelf.update()
    assert shelf.read == ["leave.md", "new.md", ""]
    assert [item["file_name"] for item in tools.find()["items"]] == ["leave.md", "new.md", "tools/editor.rst"]
    assert tools.retrieve("forty")["results"]
    assert tools.retrieve("doctor")["results"] == tools.retrieve("hotels")["results"] == []


def test_an_edit_that_puts_the_old_time_back_is_noticed(shelf: Shelf) -> None:
    path = shelf.folder / "leave.md"
    shelf.update()
    before = path.stat()
    path.write_text(path.read_text().replace("30", "31"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shelf.update().retrieve("31 days")["results"][0]["rerank_score"] == 1


def test_progress_tells_how_far_it_is(handbook: Path, start: Callable[..., LocalService], tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    start(handbook, data=tmp_path / "s.db", on_progress=lambda *progress: told.append(progress))
    assert told == [(0, 3, "leave.md"), (1, 3, "tools/editor.rst"), (2, 3, "travel.txt"), (3, 3, "")]


def test_what_was_indexed_is_kept_when_indexing_is_interrupted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat.local._library.index._COMMIT_FILES", 1)

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(shelf.path).update([list_path(shelf.folder)], interrupt)
    assert len(shelf.update().find()["items"]) == 3
    assert shelf.read == ["travel.txt", ""]


@pytest.mark.parametrize("damage", ["format", "pages"])
def test_an_index_that_cannot_be_used_is_made_again(shelf: Shelf, damage: str) -> None:
    shelf.update()
    content = bytearray(shelf.path.read_bytes())
    if damage == "format":
        content[60:64] = b"\0\0\0\x63"
    else:
        content[100:] = b"\xff" * (len(content) - 100)
    shelf.path.write_bytes(content)
    assert shelf.update().retrieve("hotels")["results"]
    assert len(shelf.read) == 4


@pytest.mark.parametrize(
    "content",
    [b"These are my notes. " * 100, b"Short notes.", b"SQLite format 3\0" + bytes(4080)],
    ids=["text", "short", "database"],
)
def test_a_file_of_somebody_else_is_not_taken_for_an_index(shelf: Shelf, content: bytes) -> None:
    shelf.path.write_bytes(content)
    before = shelf.path.read_bytes()
    with pytest.raises(ConfigurationError, match="not an index"):
        shelf.update()
    assert shelf.path.read_bytes() == before


def test_memory_holds_one_document_at_a_time(tmp_path: Path) -> None:
    def peak_of(count: int) -> int:
        text = "Some words of a long document, again and again.\n\n" * 2000
        folder = write_docs(tmp_path / str(count), {f"{number}.md": text for number in range(count)})
        tracemalloc.start()
        try:
            with contextlib.closing(Index(tmp_path / f"index-{count}")) as index:
                index.update([list_path(folder)])
                return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_of(8) < 1.5 * peak_of(1)


def test_a_pdf_with_too_much_text_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat.local._library.readers.MAX_TEXT_BYTES", 1000)
    (tmp_path / "a.pdf").write_bytes(pdf_of(*["words\n" * 30] * 8))
    with pytest.raises(UnreadableError, match="holds more than"):
        read_file(tmp_path / "a.pdf")


def test_the_rows_of_a_table_name_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name;price;note\n"Apple; red";3;"good\nkeeper"\n\nPear;4;\nPlum;5;;odd\n')
    assert read_file(tmp_path / "a.csv").text == (
        "- name: Apple; red; price: 3; note: good keeper\n- name: Pear; price: 4\n- name: Plum; price: 5; odd\n"
    )
    (tmp_path / "b.csv").write_text("one,two\n")
    assert read_file(tmp_path / "b.csv").text == "- one; two\n"


def test_tables_that_are_none_or_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a" * 200_000)
    with pytest.raises(UnreadableError, match="is not a table"):
        read_file(tmp_path / "a.csv")
    monkeypatch.setattr("llama_cloud_chat.local._library.readers.MAX_TEXT_BYTES", 2000)
    (tmp_path / "b.csv").write_text("a" * 500 + "\n" + "x\n" * 500)
    with pytest.raises(UnreadableError, match="holds more than"):
        read_file(tmp_path / "b.csv")


@pytest.mark.parametrize("limit", [131_072, 2**24])
def test_what_else_the_process_reads_does_not_change_which_tables_are_refused(tmp_path: Path, limit: int) -> None:
    before = csv.field_size_limit(limit)
    try:
        (tmp_path / "a.csv").write_text('a,b\n1,"' + "a" * 131_072 + '"\n')
        assert len(read_file(tmp_path / "a.csv").text) > 131_072
        (tmp_path / "b.csv").write_text('a,b\n1,"' + "a" * 131_073 + '"\n')
        with pytest.raises(UnreadableError, match="is not a table"):
            read_file(tmp_path / "b.csv")
    finally:
        csv.field_size_limit(before)


def test_a_word_document_is_read_with_its_headings_lists_and_tables(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(
        docx_of(
            word("Leave", style="Heading1")
            + word("Everyone has 30 days.")
            + word("Passport", numbered=True)
            + f"<w:tbl><w:tr>{cell('Who')}{cell('Days')}</w:tr><w:tr>{cell('All')}{cell('30')}</w:tr></w:tbl>"
        )
    )
    assert read_file(tmp_path / "a.docx").text == (
        "# Leave\n\nEveryone has 30 days.\n\n1. Passport\n\n| Who | Days |\n| All | 30 |\n"
    )


def test_word_documents_that_unpack_to_too_much_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.process_time()
    refused = {
        "a": ("holds more than 32 MiB", docx_of(word("a" * 33 * 2**20))),
        "b": ("holds more than 300000 tags", docx_of("<w:p/>" * 300_000)),
        "c": ("not a Word document", docx_of(word("&many;"), doctype='<!DOCTYPE a [<!ENTITY many "many">]>')),
        "d": ("not a Word document", b"PK"),
        "e": ("not a Word document", docx_of("", name="other.xml")),
    }
    for name, (reason, content) in refused.items():
        path = tmp_path / f"{name}.docx"
        path.write_bytes(content)
        with pytest.raises(UnreadableError, match=reason):
            read_file(path)
    assert time.process_time() - began < 10


def test_documents_of_kinds_that_are_not_read_are_named(shelf: Shelf) -> None:
    write_docs(shelf.folder, {"plan.xlsx": "x", "old.DOC": "x", "picture.png": "x"})
    shelf.update()
    why = "is not read as it is; save it as .docx, .csv or .pdf"
    others = "holds 1 file of kinds that are not read (.png)"
    assert reasons(shelf) == {"old.DOC": why, "plan.xlsx": why, "handbook": others}


def test_a_pdfs_headings_paragraphs_and_tables_are_told_apart(tmp_path: Path) -> None:
    text = (
        "# Report\n\nThe first paragraph is long enough to be set in more than one line of the page, for it is not"
        " short.\n\n"
        "The second (short) one.\n\n## Prices\n\n| What | Price | Note |\n| Apple | 3 euros | red |\n"
        "| Pear | 4 euros | |\n\nAfter the table."
    )
    (tmp_path / "a.pdf").write_bytes(typeset(text))
    assert read_file(tmp_path / "a.pdf").text == (
        "Report\n\n# Report\n\n"
        "The first paragraph is long enough to be set in more than one line of the page, for it is\n"
        "not short.\n\nThe second (short) one.\n\n## Prices\n\n| What | Price | Note |\n|---|---|---|\n"
        "| Apple | 3 euros | red |\n| Pear | 4 euros |  |\n\nAfter the table.\n\nPage 1"
    )


def test_a_pdf_page_of_very_much_text_is_read_as_it_comes(tmp_path: Path) -> None:
    began = time.process_time()
    (tmp_path / "a.pdf").write_bytes(pdf_of("\n".join(["many words in a line " * 5] * 600)))
    assert "many words" in read_file(tmp_path / "a.pdf").text
    assert time.process_time() - began < 10


def test_html_of_rows_in_rows_is_read_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<nav>Home</nav><ol><li>One<ul><li>Inner</ul><li>Two</ol>"
        "<table><tr><td><p>Left</p></td><td><table><tr><th>a|b<th>c</tr><tr><td>1<td>2</table></td></tr></table>"
    )
    assert read_file(tmp_path / "a.html").text == (
        "1. One\n\n- Inner\n\n2. Two\n\nLeft\n\n| a/b | c |\n|---|---|\n| 1 | 2 |\n"
    )
