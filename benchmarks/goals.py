"""What is wanted, as data. `RESULTS.md` shows each goal beside its figure."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from .measure import Figure, Results

_HOW: dict[str, Callable[[float, float], float]] = {"x": operator.truediv, "+": operator.sub}


@dataclass(frozen=True)
class Goal:
    """One thing that is wanted: a figure, no larger than a limit.

    Attributes:
        work: What is done.
        race: Where it is measured.
        metric: Which of the race's metrics.
        contestant: Who does it.
        limit: What the figure should not exceed.
        against: With whom it is compared; their figures are added up. Nobody: the figure stands for itself.
        how: `x` for so many times the others' figure, `+` for so much more.
        unit: What the figure is in, if it is not a ratio.
        between: What stands between, where that is known and cannot be changed here.
    """

    work: str
    race: str
    metric: str
    contestant: str
    limit: float
    against: tuple[str, ...] = ()
    how: str = "x"
    unit: str = ""
    between: str = ""

    def figure(self, results: Results) -> Figure | None:
        """Return the figure; None if it was not measured."""
        if not self.against:
            if self.contestant not in results.contestants(self.race, self.metric):
                return None
            return results.figure(self.race, self.metric, self.contestant)
        return results.compare(_HOW[self.how], self.race, self.metric, self.contestant, self.against)


_FLOOR = "httpx + split + json.loads"
_AFLOOR = "httpx + split + json.loads, async"
_RAW = "httpx, raw bytes"
_ARAW = "httpx, raw bytes, async"
_ENGINE = "SimpleChatEngine over OpenAI"

_ITS_OWN = (
    "nearly all of it is what LangChain does with every chunk, whoever makes it (the row `LangChain over nothing`); "
    "added to the core's time it leaves the adapter next to nothing"
)
_ITS_MEMORY = (
    "LangChain keeps every chunk of an answer until its end, to merge them for its callbacks; the more streams are "
    "under way at once, the more of them it keeps"
)
_ITS_CONNECTIONS = (
    "a connection that is open costs httpx alone 36 KiB (a thousand at once, measured); the floor's pool lets a "
    "hundred streams run while nine hundred wait"
)
_HTTPX_ITSELF = (
    "most of the floor is httpx, which reads each packet as a chunk of its own (the row `httpx, raw bytes`); what is "
    "left has to parse, type and reconcile an event in less time than `json.loads` takes to parse one"
)
_ASYNC_GENERATOR = (
    "an event that is handed on one by one leaves an asynchronous generator by an awaitable of its own, which the "
    "floor's loop over a list does not need"
)
_SHORT_LANGCHAIN = (
    "the core takes up most of what is allowed, and LangChain's own part of a turn (its callback manager, and the sum "
    "of the chunks for its tracers) more than the rest"
)
_SHORT_LLAMA_INDEX = (
    "the core takes up most of what is allowed, and LlamaIndex's decorators around a chat engine's methods, which look "
    "up a signature at each call, more than the rest"
)

_ITS_IMPORTS = (
    "asyncio, which httpx imports only when it is used; pydantic's machinery, which the first model loads; and some "
    "sixty dataclasses. (Models that are built only when they are used are built by whichever thread comes first, "
    "which pydantic does not promise to be safe.)"
)
_HTTPX_IMPORT = "httpx and the core, which the framework's own modules do not import"
_GARBAGE = (
    "the garbage collector, which walks through all that a long history has grown to while it is read; the figure is "
    "within the noise of its goal"
)
_PEAK = "the figure is within the noise of its goal"


def _packets(work: str, contestant: str, limit: float, *against: str, between: str = "") -> Goal:
    return Goal(work, "packets", "cpu", contestant, limit, against, between=between)


def _idle(contestant: str) -> Goal:
    return Goal("an idle stream", "idle", "cpu", contestant, 0.2, unit="% of a core")


def _linear(work: str, what: str, few: str, many: str) -> Goal:
    return Goal(work, "history", "cpu", f"{what}{many}", 1.2, (f"{what}{few}",), between=_GARBAGE)


GOALS: tuple[Goal, ...] = (
    _packets("core", "core", 0.90, _FLOOR, between=_HTTPX_ITSELF),
    _packets("core, async", "core, async", 0.90, _AFLOOR, between=_HTTPX_ITSELF),
    Goal("core, packets of 64 KiB", "blocks", "cpu", "core", 0.60, (_FLOOR,)),
    Goal("core, async, packets of 64 KiB", "blocks", "cpu", "core, async", 0.60, (_AFLOOR,), between=_ASYNC_GENERATOR),
    _packets("LangChain stream", "ChatLlamaCloud, stream", 1 / 6, "ChatOpenAI, stream", between=_ITS_OWN),
    _packets("LangChain stream", "ChatLlamaCloud, stream", 1 / 2, "ChatAnthropic, stream", between=_ITS_OWN),
    _packets("LangChain stream", "ChatLlamaCloud, stream", 1.05, "core", "LangChain over nothing, stream"),
    _packets("LangChain astream", "ChatLlamaCloud, astream", 1 / 6, "ChatOpenAI, astream", between=_ITS_OWN),
    _packets("LangChain invoke", "ChatLlamaCloud, invoke", 1.1, "core"),
    _packets("LlamaIndex stream_chat", "LlamaCloudChatEngine, stream_chat", 1.2, "core"),
    _packets("LlamaIndex stream_chat", "LlamaCloudChatEngine, stream_chat", 1 / 14, f"{_ENGINE}, stream_chat"),
    _packets("LlamaIndex astream_chat", "LlamaCloudChatEngine, astream_chat", 1.2, "core, async"),
    _packets("LlamaIndex astream_chat", "LlamaCloudChatEngine, astream_chat", 1 / 14, f"{_ENGINE}, astream_chat"),
    Goal("first text, core", "short", "first_text", "core", 0.15, (_RAW,), "+", "ms"),
    Goal("first text, LangChain", "short", "first_text", "ChatLlamaCloud, stream", 0.4, (_RAW,), "+", "ms"),
    Goal("first text, LlamaIndex", "short", "first_text", "LlamaCloudChatEngine, stream_chat", 0.3, (_RAW,), "+", "ms"),
    Goal("short turn, LangChain", "short", "cpu", "ChatLlamaCloud, stream", 1.6, (_RAW,), between=_SHORT_LANGCHAIN),
    Goal(
        "short turn, LlamaIndex",
        "short",
        "cpu",
        "LlamaCloudChatEngine, stream_chat",
        1.4,
        (_RAW,),
        between=_SHORT_LLAMA_INDEX,
    ),
    Goal("no key, with a ledger", "ledgers", "cpu", "core, SQLite and no key", 1.05, ("core",)),
    Goal("a key in memory", "ledgers", "cpu", "core, key in memory", 1.1, ("core",)),
    Goal("a key in SQLite", "ledgers", "cpu", "core, key in SQLite", 3, ("core",), "+", "ms"),
    Goal("a key in PostgreSQL", "ledgers", "cpu", "core, key in PostgreSQL", 3, ("core",), "+", "ms"),
    Goal("many streams, core", "crowd", "cpu", "core, async", 1.0, (_ARAW,)),
    Goal("many streams, LangChain", "crowd", "cpu", "ChatLlamaCloud, astream", 1.4, (_ARAW,)),
    Goal("many streams, core", "crowd", "memory", "core, async", 30, unit="KiB", between=_ITS_CONNECTIONS),
    Goal("many streams, LangChain", "crowd", "memory", "ChatLlamaCloud, astream", 30, unit="KiB", between=_ITS_MEMORY),
    _idle("core"),
    _idle("core, async"),
    _idle("ChatLlamaCloud, stream"),
    _idle("ChatLlamaCloud, astream"),
    _idle("LlamaCloudChatEngine, stream_chat"),
    _idle("LlamaCloudChatEngine, astream_chat"),
    Goal("memory, core", "memory", "memory", "core", 40, unit="bytes"),
    Goal("memory, core, async", "memory", "memory", "core, async", 40, unit="bytes"),
    Goal("memory, LlamaIndex", "memory", "memory", "LlamaCloudChatEngine, stream_chat", 40, unit="bytes"),
    Goal(
        "memory, LlamaIndex, async",
        "memory",
        "memory",
        "LlamaCloudChatEngine, astream_chat",
        40,
        unit="bytes",
        between=_PEAK,
    ),
    Goal("memory, LangChain", "memory", "memory", "ChatLlamaCloud, stream", 1.0, ("LangChain over nothing, stream",)),
    Goal(
        "memory, LangChain, async",
        "memory",
        "memory",
        "ChatLlamaCloud, astream",
        1.0,
        ("LangChain over nothing, astream",),
    ),
    _linear("a turn of a long history, core", "core, ", "short history", "long history"),
    _linear("a turn of a long history, LangChain", "LangChain, ", "short history", "long history"),
    _linear("a turn of a long history, LlamaIndex", "LlamaIndex, ", "short history", "long history"),
    _linear("a session of a long list", "core, ", "short list", "long list"),
    Goal(
        "requests before the first session",
        "history",
        "requests",
        "core, before the first session of a list",
        1,
        unit="requests",
    ),
    Goal(
        "import llama_cloud_chat",
        "imports",
        "cpu",
        "llama_cloud_chat",
        1.3,
        ("httpx + pydantic",),
        between=_ITS_IMPORTS,
    ),
    Goal(
        "import langchain_ext",
        "imports",
        "cpu",
        "langchain_ext",
        1.1,
        ("langchain-core's chat models",),
        between=_HTTPX_IMPORT,
    ),
    Goal(
        "import llama_index_ext", "imports", "cpu", "llama_index_ext", 1.1, ("llama-index-core",), between=_HTTPX_IMPORT
    ),
)
