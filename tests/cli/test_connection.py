"""Options, profiles and the environment: which service is asked, with which key."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from llama_cloud_chat.local import LocalService

from .support import Runner, assert_one_sentence

SECRET = "llx-very-secret"
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
WriteProfiles: TypeAlias = "Callable[..., None]"


@pytest.fixture
def profiles(home: Path) -> WriteProfiles:
    """Write the file of profiles."""

    def write(text: str, mode: int = 0o600) -> None:
        file = home / ".config" / "llama-cloud-chat" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    return write


def listing(run: Runner, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("sessions", "list", *arguments, env={"XDG_CONFIG_HOME": str(run.home / ".config"), **env})


def test_a_profile_names_the_service_and_the_variable_of_its_key(
    run_alone: Runner, profiles: WriteProfiles, service: LocalService
) -> None:
    profiles(f"[work]\nbase_url = '{service.base_url}'\napi_key_env = 'WORK_KEY'\n", mode=0o644)
    result = listing(run_alone, "--profile", "work", WORK_KEY=service.api_key)
    assert result.stdout == "There are no sessions.\n"


def test_a_profile_overrides_the_environment_and_options_override_the_profile(
    run_alone: Runner, profiles: WriteProfiles, service: LocalService
) -> None:
    profiles(f"[good]\nbase_url = '{service.base_url}'\napi_key = '{service.api_key}'\n[bad]\nbase_url = 'ftp://bad'\n")
    wrong = {"LLAMA_CLOUD_BASE_URL": "ftp://wrong", "LLAMA_CLOUD_API_KEY": "wrong"}
    assert listing(run_alone, "--profile", "good", **wrong).returncode == 0
    assert_one_sentence(listing(run_alone, "--profile", "good", "--base-url", "ftp://option"), "--base-url")
    option = ["--base-url", service.base_url]
    assert listing(run_alone, "--profile", "bad", *option, LLAMA_CLOUD_API_KEY=service.api_key).returncode == 0


def test_projects_are_passed_on(run_alone: Runner, profiles: WriteProfiles, service: LocalService) -> None:
    profiles(f"[work]\nbase_url = '{service.base_url}'\napi_key = '{service.api_key}'\nproject_id = '{ONE}'\n")
    env = {"XDG_CONFIG_HOME": str(run_alone.home / ".config"), "LLAMA_CLOUD_INDEX_IDS": service.index_ids[0]}
    run_alone("chat", "--profile", "work", stdin="hello", env=env)
    assert "hello" in listing(run_alone, "--profile", "work").stdout
    assert listing(run_alone, "--profile", "work", "--project", TWO).stdout == "There are no sessions.\n"


def test_a_key_that_others_can_read_is_refused(run_alone: Runner, profiles: WriteProfiles) -> None:
    profiles(f"[work]\napi_key = '{SECRET}'\n", mode=0o640)
    result = listing(run_alone, "--profile", "work")
    assert_one_sentence(result, "chmod 600", "api_key_env")
    assert SECRET not in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[home]\n", ["'work'", "home"]),
        ("work = 1\n", ["[work]"]),
        ("[work]\nkey = 'x'\n", ["'key'", "api_key_env"]),
        ("[work]\nproject_id = 7\n", ["project_id"]),
        ("[work]\napi_key_env = 'WORK_KEY'\n", ["WORK_KEY"]),
        ("[work]\napi_key_env = 'A'\napi_key = 'b'\n", ["leave one out"]),
        (f"[work]\napi_key = {SECRET}\n", ["TOML", "line 2"]),
        (f"[work]\napi_key_env = '{SECRET}'\n", ["not set"]),
    ],
)
def test_a_profile_that_cannot_work_is_one_sentence_without_the_key(
    run_alone: Runner, profiles: WriteProfiles, text: str, words: list[str]
) -> None:
    profiles(text)
    result = listing(run_alone, "--profile", "work")
    assert_one_sentence(result, *words)
    assert SECRET not in result.stderr


def test_a_file_that_is_not_there_is_named(run_alone: Runner) -> None:
    assert_one_sentence(listing(run_alone, "--profile", "work"), "config.toml", "[work]")
