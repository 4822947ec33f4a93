"""The indexes and the four tools over them; what becomes a document."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.local.harness import HANDBOOK, write_docs

from llama_cloud_chat.local import Tools
from llama_cloud_chat.local._documents import (
    Collection,
    Document,
    read_installed_packages,
    read_path,
)
from llama_cloud_chat.local._search import Library, content_words

DOCUMENTS = [Document(name, text) for name, text in sorted(HANDBOOK.items())]
LIBRARY = Library(
    [
        Collection("idx-1", "Handbook", DOCUMENTS),
        Collection("idx-2", "Other", [Document("leave.md", "Leave the building by the stairs.")]),
    ]
)


@pytest.fixture
def tools() -> Tools:
    return LIBRARY.tools(["idx-1"])


def file_id(tools: Tools, name: str) -> str:
    (item,) = tools.find(name)["items"]
    return str(item["file_id"])


def test_retrieve_answers_in_the_shape_of_the_service(tools: Tools) -> None:
    best = tools.retrieve("who pays for breakfast in hotels")["results"][0]
    text = HANDBOOK["travel.txt"]
    fields = best["static_fields"]
    assert best["metadata"]["file_name"] == "travel.txt"
    assert text[fields["chunk_start_char"] : fields["chunk_end_char"]] == best["content"]
    assert fields == {
        "parsed_directory_file_id": file_id(tools, "travel"),
        "page_range_start": 2,
        "page_range_end": 2,
        "chunk_index": 1,
        "chunk_start_char": text.index("Hotels"),
        "chunk_end_char": len(text) - 1,
        "chunk_token_count": -(-len(best["content"]) // 4),
        "attachments": [],
    }
    assert best["score"] > 0
    assert 0 < best["rerank_score"] < 1


def test_a_text_without_page_breaks_has_no_pages(tools: Tools) -> None:
    fields = tools.retrieve("sick leave")["results"][0]["static_fields"]
    assert fields["page_range_start"] is fields["page_range_end"] is None


def test_words_are_found_in_other_forms_in_headings_and_in_file_names(tools: Tools) -> None:
    for query in ("hotel booking", "editors", "travel"):
        assert tools.retrieve(query)["results"], query
    assert tools.retrieve("editor.rst")["results"][0]["metadata"]["file_name"] == "tools/editor.rst"


def test_a_passage_with_all_words_outranks_one_that_repeats_a_rare_one() -> None:
    library = Library(
        [
            Collection(
                "i",
                "i",
                [
                    Document("a.md", "zebra " * 40),
                    Document("b.md", "A zebra is seen by a tame lion."),
                    *[Document(f"{number}.md", "A lion is tame.") for number in range(30)],
                ],
            )
        ]
    )
    best = library.tools(["i"]).retrieve("tame lion zebra")["results"][0]
    assert best["metadata"]["file_name"] == "b.md"
    assert best["rerank_score"] == 1
    library.close()


def test_tools_see_their_own_indexes_only() -> None:
    both = LIBRARY.tools(["idx-1", "idx-2"])
    other = LIBRARY.tools(["idx-2"])
    assert len(both.find("leave.md")["items"]) == 2
    assert [item["file_name"] for item in other.find()["items"]] == ["leave.md"]
    assert other.retrieve("hotels")["results"] == []
    first = file_id(LIBRARY.tools(["idx-1"]), "leave")
    assert first != file_id(other, "leave")
    assert other.read(first) == {"content": ""}
    assert other.grep(first, "leave") == {"items": []}
    assert LIBRARY.tools([]).retrieve("leave")["results"] == []


@settings(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(['"', "a OR", "NEAR(", "col:x", "-a", "*", "AND AND", "(", "^x", "'"])))
def test_no_query_is_an_error(query: str) -> None:
    results = LIBRARY.tools(["idx-1", "idx-2"]).retrieve(query)["results"]
    assert all(result["content"] for result in results)


@pytest.mark.parametrize("query", ["leave", '"leave"', "leave AND", "NOT leave", "leave*", "file_name:leave", "(leave"])
def test_operators_of_the_search_engine_are_only_words(tools: Tools, query: str) -> None:
    assert tools.retrieve(query)["results"]


def test_words_in_other_scripts_are_found() -> None:
    library = Library([Collection("i", "i", [Document("a.md", "Ψηλός ουρανός, γαλάζιος. Größe zählt.")])])
    for query in ("ουρανός", "ΟΥΡΑΝΌΣ", "größe", "Grosse zählt"):
        assert library.tools(["i"]).retrieve(query)["results"], query
    library.close()


def test_find_lists_files_by_a_part_of_their_name(tools: Tools) -> None:
    assert [item["file_name"] for item in tools.find("ED")["items"]] == ["tools/editor.rst"]
    assert len(tools.find()["items"]) == 3
    assert tools.find("nothing like it") == {"items": []}


def test_grep_gives_matches_with_their_offsets(tools: Tools) -> None:
    text = HANDBOOK["leave.md"]
    found = tools.grep(file_id(tools, "leave"), "LEAVE|days", context_chars=5)["items"]
    assert len(found) == 5
    for item in found:
        assert text[item["start_char"] : item["end_char"]] == item["content"]
    assert tools.grep(file_id(tools, "leave"), "leave", max_items=2)["items"] == [
        {"content": "Leave", "start_char": 2, "end_char": 7},
        {"content": "leave", "start_char": text.index("leave"), "end_char": text.index("leave") + 5},
    ]


@pytest.mark.parametrize("pattern", ["", "|", "||", "(", "[a-", "(a+)+$", ".*", "\\"])
def test_no_pattern_is_an_error_or_more_than_literal(tools: Tools, pattern: str) -> None:
    assert tools.grep(file_id(tools, "leave"), pattern) == {"items": []}


def test_a_pattern_cannot_run_away() -> None:
    library = Library([Collection("i", "i", [Document("a.md", "a" * 50_000 + "b")])])
    began = time.monotonic()
    file = library.tools(["i"]).find()["items"][0]["file_id"]
    assert library.tools(["i"]).grep(file, "(a+)+$|(a|a)*c")["items"] == []
    assert time.monotonic() - began < 5
    library.close()


def test_read_gives_a_part_or_the_whole(tools: Tools) -> None:
    travel = file_id(tools, "travel")
    text = HANDBOOK["travel.txt"]
    assert tools.read(travel) == {"content": text}
    assert tools.read(travel, offset=7, max_length=9) == {"content": text[7:16]}
    assert tools.read(travel, offset=10**6) == {"content": ""}
    assert tools.read(travel, offset=-5, max_length=-5) == {"content": ""}
    assert tools.read("dfl-unknown") == {"content": ""}


def test_content_words_leave_out_what_every_question_holds() -> None:
    assert content_words("How do I set a timeout in httpx?") == ["set", "timeout", "httpx"]
    assert content_words("What else does it say about that?") == []
    assert content_words("Is HTTP/2 in httpx.md, or HTTP/2?") == ["http/2", "httpx.md"]


def test_a_folder_becomes_documents_with_relative_names(handbook: Path) -> None:
    write_docs(handbook, {".hidden.md": "x", ".git/a.md": "x", "picture.png": "x", "UPPER.MD": "x"})
    collection = read_path(handbook)
    names = [document.name for document in collection.documents]
    assert names == ["UPPER.MD", "leave.md", "tools/editor.rst", "travel.txt"]
    assert collection.name == "handbook"


def test_a_text_is_read_as_python_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (document,) = read_path(path).documents
    assert document.text == "one\ntwo\n"


def test_each_installed_package_is_one_document() -> None:
    documents = {document.name: document for document in read_installed_packages().documents}
    assert "HTTPX" in documents["httpx.md"].text
    assert all(document.text.strip() for document in documents.values())
    assert list(documents) == sorted(documents)
