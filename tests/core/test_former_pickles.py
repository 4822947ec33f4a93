"""What was pickled when classes stood in other modules still loads."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
import zlib
from typing import Any

import pytest

from llama_cloud_chat import (
    AsyncChatClient,
    AsyncChatSession,
    Attachment,
    ChatClient,
    ChatSession,
    Event,
    JobMetadata,
    Message,
    PresignedURL,
    SessionDetail,
    SessionSummary,
    Source,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
    TurnFailedError,
    UnknownEvent,
    Usage,
    UserInput,
    render_transcript,
)
from llama_cloud_chat._turn.turn import TurnReader

FOUND = [{"text": "30 days", "file_name": "leave.md", "score": 0.5}]
EVENTS: list[Event] = [
    TextDelta("Thirty "),
    TextDelta("days."),
    ThinkingDelta("Hm."),
    ToolCall("c1", "search", {"query": "leave"}),
    ToolResult("c1", "search", FOUND),
    Text("Thirty days."),
    UnknownEvent({"type": "new"}),
    Stop(is_error=False, usage=Usage.parse({"total_input_tokens": 3})),
]
TURN = Turn.from_events("How many?", EVENTS, session_id="ses-1", number=2)
WHEN = "2026-01-01T00:00:00Z"


def load(name: str) -> Any:
    return pickle.loads(zlib.decompress(base64.b64decode(FORMER[name])))


def test_a_turn_is_the_same_as_ever() -> None:
    turn = load("turn")
    assert turn == TURN
    assert (turn.is_complete, turn.text, turn.thinking, turn.usage) == (True, "Thirty days.", "Hm.", TURN.usage)
    assert turn.steps == TURN.steps


def test_a_turn_that_was_growing_grows_on() -> None:
    turn = load("growing turn")
    TurnReader(turn).feed(TextDelta(" And more."))
    assert turn.text == "Thirty days.\n\n And more."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("events", [*EVENTS, UserInput("a"), Thinking("b"), ThinkingDelta("c")]),
        ("run", [ToolRun("c1", "search", {"query": "leave"}, FOUND, has_result=True)]),
        (
            "sources",
            [
                Source(
                    "30 days",
                    score=0.5,
                    file_name="leave.md",
                    page_start=1,
                    attachments=[Attachment("page_1.png", "src-1")],
                )
            ],
        ),
        ("messages", [Message("user", "a"), Message("assistant", "b", session_id="ses-1", turn=1)]),
        ("summary", SessionSummary(session_id="ses-1", last_updated_at=WHEN)),
        ("address", PresignedURL(url="https://files.example/1", expires_at=WHEN)),
        ("renderer", render_transcript),
    ],
)
def test_everything_of_a_conversation_is_the_same_as_ever(name: str, expected: Any) -> None:
    assert load(name) == expected


def test_a_session_with_its_history_is_the_same_as_ever() -> None:
    detail = load("detail")
    assert isinstance(detail, SessionDetail)
    assert detail.job_metadata == JobMetadata(duration_ms=5.0)
    assert [turn.text for turn in detail.turns] == ["Thirty days."]


def test_clients_and_their_sessions_are_the_same_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-2")
    client, aclient = load("clients")
    session, asession = load("sessions")
    assert [type(one) for one in (client, aclient)] == [ChatClient, AsyncChatClient]
    assert client.config == aclient.config
    assert client.config.base_url == "http://127.0.0.1:9"
    assert [type(one) for one in (session, asession)] == [ChatSession, AsyncChatSession]
    assert session.session_id == asession.session_id == "ses-1"
    assert session.index_ids is None


def test_an_error_still_holds_its_turn() -> None:
    error = load("error")
    assert isinstance(error, TurnFailedError)
    assert error.turn == TURN


def test_the_package_need_not_be_imported_before() -> None:
    program = (
        "import base64, pickle, sys, zlib; print(pickle.loads(zlib.decompress(base64.b64decode(sys.argv[1]))).text)"
    )
    for name in ("turn", "growing turn"):
        command = [sys.executable, "-c", program, FORMER[name]]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "Thirty days.\n"


FORMER = {
    "turn": (
        "eNplkk1vEzEQhtPuJk0/QJSWgpCQeiyHhlaIcw+AKIoUJNJKXCrjbJzMKl57sb1Nc6gEF0SluXX4f/wUxpsUgtjLjmfG8z4znq/p"
        "T5M06g/3tJaFFJm21VBkIENHhMoZwvQs/m7p+TfqXdMBromBttnE0wUdQAPboq/GhTJhKaU1qEYj5QgTkVvCdj+43Izff5inHODW"
        "GeQuzPaHcuY7hCsb1N3qBRpgClKPCBuEzdwM1RV1G5hO2CR88j+fumRZHwnVVZTHDcOGGCodJMFjXI/+N/WJg2uldIExCHar7zSA"
        "9oIWNuF+TZWcFh2C7W4SUWAHduFRdwX2uFCbec0k3r0leMqOe3eOu+rwbFE1JlurX0utl2eW8Vnk3MZqdszARhaKsOWVdBkQrks3"
        "roq6mWtu/Uul3Iz/WslLRZ4xVjFxcsrBhcZG1PiofKWXxg6H0IEXcIQtN49cUNROQ5wOrr08qufNaqNcKzFHaNcanYLJmj6zTtG7"
        "k1/zjagkPsgLOVZChiAzqN+4xzAJvPoDsnVuJsZOzdvLfzYgZrDwrGSJxKhp3US6uJP2gy2XhtPOvVDOWUc32JwbPWxWnqXjKzbP"
        "a+tv/uawcjLk1ojCc+bDYIPk4ZqyCiLYiTKeugnuzN22Ckt+rhuXmo3Igtt+kpelGop62fh94lIzafOuQwVnPdxkvswWpVZB0Q/o"
        "32DLVMWA95vfpVU6DvF810/tdL+QZnbCe+iV9xEwr+eq/OExgYDPcA6fYtnOby1DV+A="
    ),
    "growing turn": (
        "eNplUU1LAzEQ3dLdtra9+IF69FgPFvwFIniRQj20HiVkd9Nu2N1kyYe0B0EvQmFujv/IH+Zke1AxEPLmzSTvzeQ1/vzqRO2C06ri"
        "NWdZpX3OsoK7KXPeKIR4GY4PvHzD+QtOoM/SSmelxScsIhiwhVjXQrlfFb3Ur1bCIHSZ1AiDhTNSre8f9iUTGC8Ladz2IudbO0Xo"
        "DHE2njtMIS54tUKIEBKpcrHBWQRxSRDh/L898UyyNhgUmyAPQ0WA5aJyHIszOAj8XRtRst9w48gGFif+HVMOiTBGG5zDSFqW6bqp"
        "hBO4gwGF+9QOesrXKXUy60KvMVTjSO5W5TckZoW1UismyV1CwdU1wqEtZdOInLX2KRWmBIm3fC2CpeSxRT+jGuXecBeeqS1ZOXLa"
        "8YpuN94xp0uhAnu8Z7V3f+gk/A+B0E7Y029l1Ldr"
    ),
    "run": (
        "eNotjr1Ow0AQhBFyEn4aKmpKaCwQD0BJlwLRRqflvMSW9s7i7haRIhI0CKTtGN6PB+AhsHGmmWq+b16r79+9KSvYqQgFcl56bZxv"
        "qdSuaIqwxX3fy51GfOHiDcstzm3hScR1DWzfX8GqSIFh88yUfAs7pLTWwLFkbGGzJ+W0GVqYnhnZ5omzSsEKI6sq/FIGy/XlWUOb"
        "PKwfO2E3IQ/+N3UYTLPs+8S4vfmZLivZUUvZ7WAfdtIFWrOjUsi3ox1LO+6y0zi+5Qaf+o4Hqv8AfVRfVA=="
    ),
    "sources": (
        "eNplkLFOAzEMhqlU6PWoxAobIwycqHgAxMSA1IW5itzEtBW55JT4KjpUgoXJG+b9eBRyOVSQyPT7t2P9n1+Hn/PBQX5z4TNroQal"
        "rW+N0iugSkXfBo1R+OgxK/mQyzeZ7eSCh4QvJDy6uT43sE0jh1H7gHJ/+9Vv5EnAAO5Z9f6MR09ri2ptkhxn6aBG4cIibLCqjXDZ"
        "wBJVJAgkDwMucomu+1Fmt4sVUlUkc69rJDBAIDvhYyACvarRUZTEdPqfCTe5yeXdfvQP1snvgp98fahp1bil8Li/SEeRgIO+mkq6"
        "xLZJfO27LIAn5L1VGqzNpNmsvgHWqorI"
    ),
    "detail": (
        "eNptU11rE0EUTWm+m1Ja21qtSBGlKdqSFhTRhyoU+hFcH9K+CDJMdie5Y3Z3lt2ZNnko6ItYuGDB8ffqnU3T1o9lYGfmnj333HPv"
        "fi7+nCsW8gdXwpBHnPmhMgHzgestFqlAhJnF2Y7IMqniPaG5DO0Pu/HFntsmVhkLpK8Zy0/1bIxiMrBYosPmtsW5kGeamSTgWgSM"
        "a4uLO62dF5utbVrHrdarfH0gYF/EIs1RWupQWA9rMg7EkOgy+5EYZTAkRo6NT6rLIpJCnNxCAWeOVPfd5DwRByWnaSYwxOlERZnd"
        "f7N4VWtJpKlKKcW8GCYq1cxXcU/281QeVmXGJoAFrTQPmYwTo5lWAxE7xJ3xrTL6j+uSNqnbGFxgLBkFPNbSZ2KoU557hHdvXfek"
        "CIOMZcL5950EL13i4q14kspTsoOCnunibAY8dQ76PrnsREb05n3hvGm6Uot6lAiLdZOJdKzXYoXq0iKmXe1Ana1FPB7tWuPceUJ4"
        "EmZhHRvHIFM9Wgv4KNu6jmZaJRZWLozAsjgljjzR/6bkKoq1E8p8mCfOm+A5pnVo4nTKzyw8Nl9tF1pYPHZ5byOeUm9dp+3RL3rg"
        "OWxMoB0n4ga6cgHL5LJxdVuKl07y3Q1gyYN7Htz3YNVzFDifDWSSkG23Jwlet6coyTOHELBKo7X8b1Guk5a0utc1P1ZYN1T+ILcC"
        "2jT/HdGPnL83kHLX9HoitTjNpLJY7ehUxv3D92NI8y+3capu2w1Pk9Yi8LBnseD0FbA4IMkWXmI9JrsY/Yc02x5WEp5q4rPAco92"
        "hXNkhgbWV1ESCi3sN7IJy7GJuqSiPYXlJKUQdboJFajCPhzAW9hzX3MDD84tPHTD16DgI5iD2iWs0bxt/QbOZJVw"
    ),
    "summary": (
        "eNpNjk9LA0EMxRUUrfgHpKgfoR5atj148EPspZ68hHQmuiMzu8tMVtqDoPeAgvH7Op1eGt7llzxe3ufR383hQRm58x4DgvHdYME0"
        "yDMInSWfVC6XlJLr2uUQAsaN/ur9l37oRE4BrDMMUOgs7WzgrMpxhulc5cpjYhh6i0wWkFXGi2rxMK3mWU9V9Vj0nI2v1FIsLnbs"
        "SWsZudbSOselDOdv3QoCMeYkzHyRGozbSGPyW60HuQboNxZbdgZozRFLL7ndW7848jZBom3nb500J83oR8Z7jj6691win+thNfsH"
        "4T9tAA=="
    ),
    "address": (
        "eNpNjk2KwkAQhQcc8Hclgh5BFybRhQvPICLibGZT9KQrpqFjmu6OxIWg+wKFqbmjxzATNxbf5r161KvL59/j4zU00lpkAmKdFxLi"
        "VPgAslyidky9jUWn9geUX9sV//LkymceUwtAqtgD1KpRWM00TL03bhmGidLoAixFZjSGM6YOlkZVd0B4psE8mi+m0axiF0XLmm+m"
        "bpLbDBKFWjpeF9QHMCcpDl7FgKW3ou6i4Zv9CoPD/z9uPE7bafNOg7eEseooPFbrdfETPAEgsFp/"
    ),
    "messages": (
        "eNoljEsKwkAQRA2Ov+gZXOsiAc8h5gYydJLGCUxmYD7iRtB972z3HtWG1KaqoF691Pc3m3TlA+2thRF0Z33udWcg1brz7o4hQhq8"
        "Y1pdMEa4IX/4+OanICp4i0wqRwxiCR+JqQCJDkbkhsooiMB66KWplIPjJrdmPh2YJW1ABjGBS2zWVLRsysZsaSFgdWKzOxe5xfoP"
        "NT8/IQ=="
    ),
    "renderer": ("eNprYJlqwQABPXI5OYm5ifHJOfmlKfHJGYklevHJ+XllqUXFiSWZ+XlTegSLUvNSUoviS4oS84qTizILSqZMnqIHANc/GGM="),
    "clients": (
        "eNptUU1LAzEQ1dLaasVqKfit6EkvrXoRe1J6ECwsKN5Duo2daLpZsrNqBUEPFgq5dfy/Zl3bKjaBMG+Yl5n35i37eZ2Z+T620Iql"
        "QhlEZPMdgRzR0JDsmlK8y5mvdNxmPnCsuliKAMkuNBxspMBVFtmd0V0WcoMR9elmOlcHd7JDdjHlNVI4pMN3eqUDNwSPBIuNIlsG"
        "xLBeqx2fnFaP3D2un7mWodH3wkcm2+TZkjYdHsgXjlIHaSqPsit0jATztnCbxtHk/7zrHzg+XZ5XfnRnZVsJh70RDrVWv3AONXJF"
        "XtyyxS5/ZkagkSKiZs4uG+HrR2F6bNR1QislteLRaWStHrr6K5edtQtcKf3EEm00sAXGQ8keRC8ZN8uaLhiS9+G8i1vJCxm7899D"
        "HvUCf7yF0kUC/6wC5hL7oZiKhqWpXsKyByselKHyU7Y69gTWxjpgfRJuOA9gs5mDrUlu+1sW7AxgF/ZgfzR4n6pfhhzNxw=="
    ),
    "sessions": (
        "eNptUU1v00AQLShWrASRiK+CBOVTfAiaNlwQPYFyQCKSD8B9tXa2mYWN19pdF1KpEhyoVGluGX4Hf5FxnTiViC1Z82bfePa997P1"
        "5+/lrfMHbxsjZ1JkxpYTkYEMA661ygNhd8Tws/Je25wW9OIXndBzbDfncVpqE3TuCdtTFWQIjmmwhZ1qcFSzFvwfcejsTBTSBU+n"
        "9Ik2LrX5oZ4SXqnnRjVstsap9EqUzhBegxCKg7294es3g31+hwdvCTuFs19VFoSeUII966Yy18cy8NXrVjvombJlILiK8Ze69hdU"
        "8f6c5+nDuxtLZ1p6YhTjZIULa80FHAUbpKGkTLE7kz+EU8Fp5WkcYd+pzB4pNxerreuxXsVVR6xRpPPA/I/cvYQdaYz9LiptdIax"
        "kIUW39S8um5LjLlYUPKbvSvT6osdX+dSicOIwe6Qj3Dnf2Oln+dZk1n/fQU3BQsRxLCLvYbQBAjdKjToL3nXNyYANxO4lcA23FnS"
        "7jZOwr1GPeysy/vsHDwYR/Bw3Xt0bgY8PoMn8BSereTCS3hVpqc0+AetF/NY"
    ),
    "error": (
        "eNptU0tv00AQbmsnTdoiKCBAiEIkJBQORFRIPC70AIVWkYLUx41ibZxNxoq9a/bRNIdKcABRaW8d/hK/g5/C7DqFIPDF43l8883M"
        "50/x9x/RQnjcrTxnBUvSXNpBkgIznYQrJZVGd/nAKvGGZTkfbHsXnqNb2TWtYXB18Avu4Sm23XLBtWYjjhC52FANuhv/olaB2GMS"
        "0MPP2Au1ST+X6VjjEbah6RrJPh8VXJi5lHrfDodcoYuSTKJr7BuVidHuuyql7dYOIFNm2hqwqe6gW1zB7lrPYN/FwPIhugV0tUwM"
        "+Al2F1w8JhP/O/UxtdWeIT8xYVRBRjLguWEILdf0/tfhi4LLJVOGaCBs2K/Yh/UZW7gONwOraKfoINzuRp4K3IENuNtdhHsE1CC+"
        "YuxrzxHuk+PSheMCHR7MUH2ylPkrlufzO0vpO8lojKV0kwgLVnB0dc2ZSgFdk6mRLcIwpzT6R8vVlN45Z8ccNdFYcpFiEwrOeqz4"
        "Hntc23xu7fAUnsFzeOHqqoochVvHxm/HLT95HPZN3YYkhqSi0Ag9OgUxq+lUKo5vt35WOrPMXckKEknCjGEphBv3iEwEL38TWTsU"
        "YyEnYvv4LwX4DGo8LalFJPgkDBHPauJ9I8u55TQyXQkYz1ytMnquZit9tlztMFh/8lcHVjGTSZEUmjKvGmkYLVeU1iRGjrnQ2I3c"
        "tcotrZnzE64XNRmei1vX46ws+SAJYqP7eFET09rFhByOem6V+KWyKHNuOH6D92euLmzRJ33TXeqlohDtt7kjJ62CiekW6VDT7+UJ"
        "ZmGvXD/aRADI4AMwD2v7nV/d8nzH"
    ),
    "events": (
        "eNp1Uk2P0zAQZUnTbWGRYLlw4GOPcKAC8QM4AFo+pB6gPa4sbzLUVh07+GO7PVRiL0hIvjH8P/4JjJMCyRZ8ieN5M+/Nm/k8+P44"
        "u9KcE3wY7yjFK84KZULJCsH9hMEZaO8wjmdw7l+C8hy/4aMLnG4Iv18Y7SmOcX8mpPXrI4y51CWc49ufdGJm+Qo3GL7gqci2WWIY"
        "85Kv3QTFqEGJ8RaxF29QGb2UenGJiXKy19W/MkYzY9QLrlRPFv0zWWK8WjzFONC8AoxDB9wWglrhdhGqpq0N6f0UwK7pq4CfAbpd"
        "imuJ4j24oHxH0V1xT9wXD+LQtpETTNQDTzaRHc+eHKUeieyjVMBaBaOGYlKRsNwVxgIeP//Ruh94vCkrvgDGveeFSPJwuqtlkMbQ"
        "8+Vg6/z/LD2Y66U2K/0qDbKTSQhSu65JV6Zh9afx30QfvKk7no6kY2Ctsfg15u1lGvPgSDISPJ83t7/462Ww3EujWeUIeeiN5zQT"
        "XQfPvFmCdvgui7fbZxN8553q+mDTJWmJt9xS1jWUrFksGqsjr3f7HM8d2Depfs+ePY69bdnuVx9zulPvsBMtLkdh8gsiJlaw"
    ),
}
