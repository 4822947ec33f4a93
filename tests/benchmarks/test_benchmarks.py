"""The benchmarks run, and what they show is complete. Nothing here looks at how long anything takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.contestants import CONTESTANTS
from benchmarks.goals import GOALS, Goal
from benchmarks.measure import Figure, Results
from benchmarks.races import RACES
from benchmarks.report import document, goals_table, missed
from benchmarks.server import Script, serve, tokens

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serve() as address:
        yield address


def test_a_script_survives_its_way_into_a_url() -> None:
    script = Script(deltas=3, framing="block", pace=0.5, turns=2)
    assert Script.parse(str(script)) == script


@pytest.mark.parametrize("framing", ["packet", "block"])
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("api/v1/chat/s/messages/stream", lambda data: data["content"] if data["type"] == "text_delta" else ""),
        ("chat/completions", lambda data: data["choices"][0]["delta"].get("content", "")),
        ("v1/messages", lambda data: data["delta"].get("text", "") if "delta" in data else ""),
    ],
)
def test_every_protocol_says_the_same_tokens_in_both_framings(base: str, framing: str, path: str, read) -> None:
    answer = httpx.post(f"{base}/{Script(deltas=5, framing=framing)}/{path}", json={}).text
    messages = [line[6:] for line in answer.splitlines() if line.startswith("data: {")]
    assert "".join(read(json.loads(message)) for message in messages) == "".join(tokens(5))


# In a process of its own, as always: contestants live, with their connections, as long as their process.
_RUN = r"""
from benchmarks.goals import GOALS
from benchmarks.measure import Results
from benchmarks.races import RACES, TINY
from benchmarks.report import table_of
from benchmarks.server import serve

if __name__ == "__main__":
    with serve() as base:
        for race in ("packets", "short", "ledgers", "history"):
            results = Results()
            RACES[race].run(base, TINY, results)
            for goal in GOALS:
                if goal.race == race and goal.contestant not in results.skipped:
                    assert goal.contestant in results.contestants(race, goal.metric)
            print(*table_of(race, results), sep="\n")
"""


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(600)  # it imports everything that is there
def test_a_race_measures_everybody_of_ours(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(_ROOT)!r})\n{_RUN}")
    tables = _python(str(script)).split("## ")[1:]
    assert len(tables) == 4
    assert all("| core" in table for table in tables)


def test_goals_speak_of_what_is_measured() -> None:
    for goal in GOALS:
        assert goal.metric in RACES[goal.race].units
        if goal.race not in {"history", "imports"}:
            assert {goal.contestant, *goal.against} <= CONTESTANTS.keys()


def test_a_figure_is_compared_within_its_round() -> None:
    results = Results()
    for ours, one, other in ((2, 1, 1), (20, 10, 10), (3, 2, 1)):
        results.add("packets", "ours", cpu=ours)
        results.add("packets", "one", cpu=one)
        results.add("packets", "other", cpu=other)
    goal = Goal("work", "packets", "cpu", "ours", 1.0, ("one", "other"))
    assert goal.figure(results) == Figure(1.0, 1.0, 1.0)


def test_a_goal_whose_peer_is_missing_is_left_out() -> None:
    results = Results()
    results.add("packets", "core", cpu=1.0)
    assert missed(results) == []
    assert len(list(goals_table(results))) == len(["title", "", "head", "rule", ""])


def test_a_goal_that_is_missed_is_explained_by_its_profile() -> None:
    results = Results()
    results.add("packets", "core", cpu=3.0)
    results.add("packets", "httpx + split + json.loads", cpu=1.0)
    text = document(results, {"core": "the profile of core"}, minutes=1)
    assert "| **no** |" in text
    assert "the profile of core" in text


def test_a_profile_names_the_ten_costliest_functions() -> None:
    _, title, *lines = _python("-m", "benchmarks.profile", "httpx, raw bytes, async", "--deltas", "20").splitlines()
    assert title == "httpx, raw bytes, async"
    assert len(lines) == len(["head"]) + 10
