"""The indexes and the four tools over them; what becomes a document."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cloud_chat.local import Tools
from llama_cloud_chat.local._library.words import content_words, further_forms
from llama_cloud_chat.local._library.worth import is_history
from tests.local.harness import HANDBOOK, library_of

LIBRARY = library_of(handbook=HANDBOOK, other={"leave.md": "Leave the building by the stairs."})


@pytest.fixture
def tools() -> Tools:
    return LIBRARY.tools(["handbook"])


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
    assert 0 < best["rerank_score"] <= 1


def test_a_text_without_page_breaks_has_no_pages(tools: Tools) -> None:
    fields = tools.retrieve("sick leave")["results"][0]["static_fields"]
    assert fields["page_range_start"] is fields["page_range_end"] is None


def test_words_are_found_in_other_forms_in_headings_and_in_file_names(tools: Tools) -> None:
    for query in ("hotel booking", "editors", "travel"):
        assert tools.retrieve(query)["results"], query
    assert tools.retrieve("editor.rst")["results"][0]["metadata"]["file_name"] == "tools/editor.rst"


def test_a_passage_with_all_words_outranks_one_that_repeats_a_rare_one() -> None:
    lions = {f"{number}.md": "A lion is tame." for number in range(30)}
    library = library_of(i={"a.md": "zebra " * 40, "b.md": "A zebra is seen by a tame lion."} | lions)
    best = library.tools(["i"]).retrieve("tame lion zebra")["results"][0]
    assert best["metadata"]["file_name"] == "b.md"
    assert best["rerank_score"] == 1


def test_tools_see_their_own_indexes_only() -> None:
    both = LIBRARY.tools(["handbook", "other"])
    other = LIBRARY.tools(["other"])
    assert len(both.find("leave.md")["items"]) == 2
    assert [item["file_name"] for item in other.find()["items"]] == ["leave.md"]
    assert other.retrieve("hotels")["results"] == []
    first = file_id(LIBRARY.tools(["handbook"]), "leave")
    assert first != file_id(other, "leave")
    assert other.read(first) == {"content": ""}
    assert other.grep(first, "leave") == {"items": []}
    assert LIBRARY.tools([]).retrieve("leave")["results"] == []


@settings(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(['"', "a OR", "NEAR(", "col:x", "-a", "*", "AND AND", "(", "^x", "'"])))
def test_no_query_is_an_error(query: str) -> None:
    results = LIBRARY.tools(["handbook", "other"]).retrieve(query)["results"]
    assert all(result["content"] for result in results)


@pytest.mark.parametrize("query", ["leave", '"leave"', "leave AND", "NOT leave", "leave*", "file_name:leave", "(leave"])
def test_operators_of_the_search_engine_are_only_words(tools: Tools, query: str) -> None:
    assert tools.retrieve(query)["results"]


def test_words_in_other_scripts_are_found() -> None:
    library = library_of(i={"a.md": "Ψηλός ουρανός, γαλάζιος. Größe zählt."})
    for query in ("ουρανός", "ΟΥΡΑΝΌΣ", "größe", "Grosse zählt"):
        assert library.tools(["i"]).retrieve(query)["results"], query


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


def test_grep_takes_regular_expressions(tools: Tools) -> None:
    found = tools.grep(file_id(tools, "leave"), r"\d+ days|^# \w+")["items"]
    assert [item["content"] for item in found] == ["# Leave", "30 days"]
    library = library_of(i={"a.md": "From 192.168.0.17, as 123e4567-e89b-12d3-a456-426614174000."})
    identifiers = r"(\d{1,3}\.){3}\d{1,3}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    tools = library.tools(["i"])
    found = tools.grep(file_id(tools, "a.md"), identifiers)["items"]
    assert [item["content"] for item in found] == ["192.168.0.17", "123e4567-e89b-12d3-a456-426614174000"]


@pytest.mark.parametrize("pattern", ["", "|", "x*", "(?=a)"])
def test_matches_of_nothing_are_left_out(tools: Tools, pattern: str) -> None:
    assert tools.grep(file_id(tools, "travel"), pattern) == {"items": []}


@pytest.mark.parametrize(
    "pattern",
    [
        *["(", "[a-", "\\", "a" * 500, "(" * 100 + ")" * 99, "a{9999}" * 50, "x{99999999999}"],
        *["(" * 9 + "a{9}" + "){9}" * 9, "((a{1,99}){1,99} ) {1,99}b", "((a{900}){0,}){3,900}"],
    ],
)
def test_a_pattern_that_is_none_or_too_large_is_refused_at_once(tools: Tools, pattern: str) -> None:
    began = time.monotonic()
    found = tools.grep(file_id(tools, "leave"), pattern)
    assert found["items"] == []
    assert "pattern" in found["error"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("pattern", ["(a+)+$", "((a{1,9}){1,9}){1,9}b"])
def test_a_pattern_that_explodes_is_refused_in_bounded_time(pattern: str) -> None:
    tools = library_of(i={"a.md": "a" * 50_000 + "c"}).tools(["i"])
    began = time.process_time()
    found = tools.grep(file_id(tools, "a.md"), pattern)
    assert "takes longer" in found["error"]
    assert time.process_time() - began < 5


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(max_size=30), st.text("ab()[]{}|*+?\\.^$,019", max_size=30)))
def test_no_pattern_is_an_error(pattern: str) -> None:
    tools = LIBRARY.tools(["handbook"])
    assert set(tools.grep(file_id(tools, "leave"), pattern)) <= {"items", "error"}


def test_read_gives_a_part_or_the_whole(tools: Tools) -> None:
    travel = file_id(tools, "travel")
    text = HANDBOOK["travel.txt"]
    assert tools.read(travel) == {"content": text}
    assert tools.read(travel, offset=7, max_length=9) == {"content": text[7:16]}
    assert tools.read(travel, offset=10**6) == {"content": ""}
    assert tools.read(travel, offset=-5, max_length=-5) == {"content": ""}
    assert tools.read("dfl-unknown") == {"content": ""}


def test_a_model_is_given_a_large_file_a_part_at_a_time() -> None:
    tools = library_of(i={"a.md": "0123456789" * 2000}).tools(["i"])
    a = file_id(tools, "a.md")
    for asked in ({}, {"max_length": None}, {"max_length": 10**6}):
        assert len(tools.use("read", {"file_id": a, **asked}).result["content"]) == 8000
    assert tools.use("read", {"file_id": a, "offset": 19_998, "max_length": 7}).result == {"content": "89"}


def test_content_words_leave_out_what_every_question_holds() -> None:
    assert content_words("How do I set a timeout in httpx?") == ["set", "timeout", "httpx"]
    assert content_words("What else does it say about that?") == []
    assert content_words("Is HTTP/2 in httpx.md, or HTTP/2?") == ["http/2", "httpx.md"]


CODE = {
    "client.md": "Make a ChatClient, or an HTTPServer, and set max_retries on it.",
    "upload.md": "A pre-signed address is needed for every upload.",
    "kyoto.md": "東京から京都へ行きます。 สวัสดีชาวโลก",
    "cafe.md": "Le cafe\u0301 est ferme\u0301.",
}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("chat client", "client.md"),
        ("chatClient", "client.md"),
        ("ChatClient", "client.md"),
        ("chatclient", "client.md"),
        ("http server", "client.md"),
        ("max retries", "client.md"),
        ("maxRetries", "client.md"),
        ("max_retries", "client.md"),
        ("retri*", "client.md"),
        ("retr", "client.md"),
        ("presigned", "upload.md"),
        ("pre-signed", "upload.md"),
        ("pre signed", "upload.md"),
        ("京都", "kyoto.md"),
        ("京", "kyoto.md"),
        ("東京から", "kyoto.md"),
        ("ชาวโลก", "kyoto.md"),
        ("café", "cafe.md"),
        ("cafe", "cafe.md"),
        ("FERMÉ", "cafe.md"),
    ],
)
def test_a_word_is_found_however_it_is_written(query: str, name: str) -> None:
    results = library_of(code=CODE).tools(["code"]).retrieve(query)["results"]
    assert [result["metadata"]["file_name"] for result in results] == [name]
    assert results[0]["rerank_score"] == 1


@pytest.mark.parametrize("query", ["大阪", "serverhttp", "都京", "signedpre"])
def test_other_words_are_not_taken_for_these(query: str) -> None:
    assert library_of(code=CODE).tools(["code"]).retrieve(query)["results"] == []


def test_an_endless_word_in_a_document_is_looked_at_once() -> None:
    began = time.process_time()
    assert further_forms("a" * 100_000 + "_ getURL") == "get URL"
    assert time.process_time() - began < 5


def test_tools_are_used_at_once_and_answer_in_the_order_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)

    def find(self: Tools, name: str = "") -> dict[str, str]:
        # Neither goes on before the other is there.
        both.wait()
        return {"name": name}

    monkeypatch.setattr(Tools, "find", find)
    used = LIBRARY.tools(["handbook"]).use_all([("find", {"name": "a"}), ("find", {"name": "b"})])
    assert [use.result for use in used] == [{"name": "a"}, {"name": "b"}]


def test_a_tool_that_breaks_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("llama_cloud_chat.local._library.tools.search", fail)
    used = LIBRARY.tools(["handbook"]).use("retrieve", {"query": "x"})
    assert used.result == {"error": "The tool failed: OSError: the disk is gone"}


def test_passages_of_many_threads_are_found_at_once() -> None:
    tools = LIBRARY.tools(["handbook"])
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: tools.retrieve("hotels breakfast"), range(200)))
    assert all(each == found[0] for each in found)


def test_a_word_that_nobody_looks_for_is_cut() -> None:
    assert content_words("a'" * 100_000) == ["a'" * 50]


def test_histories_of_changes_and_rows_of_badges_come_last_unless_they_are_asked_for() -> None:
    texts = {
        "CHANGELOG.md": "Backup of a backup.",
        "badges.md": "[![Backup](backup.svg)](backup) [![Backup](a.svg)](b)",
        "news.md": "# News\n\n## 2.0 (2024-01-01)\n\nBackup, backup.",
        "text.md": "A backup takes an hour or two, and longer on a slow line.",
    }
    tools = library_of(i=texts).tools(["i"])

    def first(query: str) -> str:
        return str(tools.retrieve(query)["results"][0]["metadata"]["file_name"])

    assert first("backup") == "text.md"
    assert first("backup changed") != "text.md"
    assert first("backup 2.0") == "news.md"


def test_a_chapter_is_no_history() -> None:
    assert is_history("a.md", "2.3.1 (2024-02-11)")
    assert is_history("docs/CHANGES.rst", "")
    assert not is_history("a.md", "1.1 Losses")
    assert not is_history("exchange.md", "History of the town")
