"""`doctor`: every line says what is in order, or what is wrong and what to do."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from llama_cloud_chat.local import LocalService
from tests.support.server import Request, ScriptedServer, plain

from .support import Runner, sessions_of

ALL = ["address", "key", "project", "index", "turn"]


def looked_at(result: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    return re.findall(r"^(ok|FAIL) +(\w+) ", result.stdout, re.MULTILINE)


def assert_fails_at(result: subprocess.CompletedProcess[str], name: str, *words: str) -> None:
    assert result.returncode == 1, (result.stdout, result.stderr)
    assert result.stderr == ""
    assert [(mark, each) for mark, each in looked_at(result) if mark == "FAIL"] == [("FAIL", name)]
    failure = next(line for line in result.stdout.splitlines() if line.startswith("FAIL"))
    for word in words:
        assert word in failure


def test_all_is_well_and_nothing_is_left(run: Runner, service: LocalService) -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stdout
    assert looked_at(result) == [("ok", name) for name in ALL]
    assert re.search(r"first text after \d+\.\d s", result.stdout)
    assert sessions_of(service) == []


def test_a_program_can_read_it(run: Runner, service: LocalService) -> None:
    result = run("doctor", "--json")
    said = json.loads(result.stdout)
    assert said["ok"] is True
    assert [(check["name"], check["ok"]) for check in said["checks"]] == [(name, True) for name in ALL]
    assert 0 <= said["checks"][-1]["first_text_seconds"] <= said["checks"][-1]["seconds"]
    assert service.api_key not in result.stdout
    wrong = run("doctor", "--json", env={"LLAMA_CLOUD_API_KEY": "wrong"})
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["ok"] is False


def test_a_key_that_is_missing(run_alone: Runner) -> None:
    assert_fails_at(run_alone("doctor"), "key", "LLAMA_CLOUD_API_KEY")


def test_a_key_that_is_refused(run: Runner) -> None:
    result = run("doctor", env={"LLAMA_CLOUD_API_KEY": "llx-other"})
    assert_fails_at(result, "key", "401", "https://cloud.llamaindex.ai")
    assert "llx-other" not in result.stdout


def test_a_setting_that_cannot_work(run: Runner) -> None:
    assert_fails_at(run("doctor", "--base-url", "ftp://here"), "settings", "--base-url")


def test_an_address_where_nobody_is(run: Runner) -> None:
    assert_fails_at(run("doctor", "--base-url", "http://127.0.0.1:9"), "address", "connect", "--base-url")


def test_an_address_where_somebody_else_is(run: Runner) -> None:
    def page(request: Request) -> list[bytes]:
        return [plain(200, b"<html>Welcome</html>", {"Content-Type": "text/html"})]

    with ScriptedServer(page) as server:
        assert_fails_at(run("doctor", "--base-url", server.base_url), "address", "not LlamaCloud", "--base-url")


def test_a_service_that_is_out_of_order(run: Runner, service: LocalService) -> None:
    service.fail_next(status=500, on="list", times=2)
    assert_fails_at(run("doctor"), "address", "500", "Try again")


def test_a_project_that_cannot_be_read(run: Runner) -> None:
    assert_fails_at(run("doctor", "--project", "handbook"), "project", "422", "--project")


def test_no_index_to_ask(run: Runner) -> None:
    result = run("doctor", env={"LLAMA_CLOUD_INDEX_IDS": ""})
    assert_fails_at(result, "indexes", "LLAMA_CLOUD_INDEX_IDS", "idx-empty")


def test_an_index_that_is_not_there(run: Runner) -> None:
    assert_fails_at(run("doctor", "--index", "handbook"), "index", "no index 'handbook'", "idx-empty")


@pytest.mark.parametrize(("status", "fails"), [("failed", True), ("ready", False)])
def test_the_state_of_an_index(run: Runner, status: str, fails: bool, service: LocalService) -> None:
    index = {"id": "idx-empty", "name": "Rules", "metadata": {"status": status}}

    def answer(request: Request) -> list[bytes]:
        if request.path.endswith("/indexes"):
            return [plain(200, json.dumps({"items": [index]}).encode())]
        return [plain(200 if request.method == "GET" else 403, b'{"items": []}')]

    with ScriptedServer(answer) as server:
        result = run("doctor", "--base-url", server.base_url)
    assert (("FAIL", "index") in looked_at(result)) == fails
    assert ("FAIL", "turn") in looked_at(result)


def test_indexes_that_are_not_listed_are_asked_all_the_same(run: Runner, service: LocalService) -> None:
    service.fail_next(status=404, on="list_indexes")
    result = run("doctor")
    assert_fails_at(result, "indexes", "404")
    assert ("ok", "turn") in looked_at(result)


def test_a_turn_that_fails(run: Runner, service: LocalService) -> None:
    service.fail_next(stop_with="the model is overloaded")
    assert_fails_at(run("doctor"), "turn", "overloaded")
    assert sessions_of(service) == []


def test_the_embedded_service_is_examined_too(run_alone: Runner, handbook: Path) -> None:
    result = run_alone("doctor", "--local", "--docs", handbook)
    assert result.returncode == 0, result.stdout
    assert "handbook" in result.stdout
