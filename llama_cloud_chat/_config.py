"""What a client is made with: arguments, environment, defaults; checked before any request."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import math
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import httpx
from pydantic import SecretStr

from ._errors import ConfigurationError
from ._httpx import HttpTimeout

if TYPE_CHECKING:
    from ._session.ledger import Ledger

DEFAULT_BASE_URL = "https://api.cloud.llamaindex.ai"
"""LlamaCloud in North America; in Europe it is https://api.cloud.eu.llamaindex.ai."""

DEFAULT_MAX_RETRIES = 5
"""How often a request is repeated after its first time."""

DEFAULT_RECOVERY_TIMEOUT = 60.0
"""For how many seconds a turn whose stream broke is looked for in the session's history."""

DEFAULT_MAX_EVENT_BYTES = 16 * 2**20
"""The most bytes that one event may hold."""

DEFAULT_FRESHNESS = 1.0
"""After how many seconds what is known of a session must be read again, for another client may have moved it on.

People pause longer, so that what other programs did meanwhile is seen; programs in one process do not.
"""

MAX_INDEXES = 10
"""How many indexes a session may be bound to (the Chat API's own limit)."""

_KEY_VARIABLES = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
_TURN_BYTES_PER_EVENT_BYTES = 16


LongPrompts: TypeAlias = Literal["refuse", "parts"]
"""What becomes of a question that is longer than a prompt may be."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds; None waits without end.

    Attributes:
        connect: For a connection to open.
        idle: For the next bytes of an answer. Keep-alive comments count as life.
        pool: For a free connection of the pool.
        total: For a whole turn or request. Looked at whenever bytes arrive, so that a silent connection may
            overstay by as much as `idle`.
    """

    connect: float | None = 5.0
    idle: float | None = 60.0
    pool: float | None = 60.0
    total: float | None = None

    def as_httpx(self) -> httpx.Timeout:
        """Return what httpx knows of these."""
        limits = [limit for limit in (self.idle, self.total) if limit is not None]
        idle = min(limits, default=None)
        return httpx.Timeout(connect=self.connect, read=idle, write=idle, pool=self.pool)


@dataclass(frozen=True)
class ClientConfig:
    """What a client was made with. The key is not shown, compared or pickled.

    Attributes:
        base_url: Where the service is, without a slash at its end.
        project_id: The project; None is the key's default project.
        organization_id: The organisation; None is the key's default organisation.
        timeout: How long to wait for what.
        max_retries: How often a request is repeated after its first time.
        recovery_timeout: For how many seconds a turn whose stream broke may be looked for in the history.
        max_event_bytes: The most that one event may hold; a turn or an answer may hold sixteen times that.
        allow_http: Whether plain http may leave this machine.
        max_prompt_chars: How many characters a prompt may hold, where that is known; the service's own word counts too.
        long_prompts: `refuse` or `parts`: what becomes of a question that is longer.
        fold: Says in so many characters what earlier messages say, where they do not fit; None leaves the oldest out.
        index_ids: The indexes to ask where a call and its session name none: those of LLAMA_CLOUD_INDEX_IDS.
        ledger: Where questions with a key are kept; None for this process's memory.
    """

    base_url: str
    project_id: str | None
    organization_id: str | None
    timeout: Timeouts
    max_retries: int
    recovery_timeout: float
    max_event_bytes: int
    allow_http: bool
    _api_key: _Key
    max_prompt_chars: int | None = None
    long_prompts: LongPrompts = "refuse"
    fold: Callable[[Sequence[Any], int], Any] | None = None
    index_ids: tuple[str, ...] = ()
    ledger: Ledger | None = field(default=None, compare=False)

    @property
    def api_key(self) -> SecretStr:
        """The key; where this configuration came from a pickle, the environment's.

        Raises:
            ConfigurationError: There is none.
        """
        return self._api_key.reveal()

    @cached_property
    def is_local(self) -> bool:
        """Whether the service runs on this machine."""
        return is_loopback(httpx.URL(self.base_url).host)

    @cached_property
    def httpx_timeout(self) -> dict[str, float | None]:
        """What httpx knows of `timeout`, as it and httpx2 write it into a request."""
        return self.timeout.as_httpx().as_dict()

    @property
    def scope(self) -> str:
        """What stands for service, project and key: what is known within it is true for everybody in it."""
        key = self.api_key.get_secret_value()
        parts = json.dumps([self.base_url, self.organization_id, self.project_id, key])
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def max_body_bytes(self) -> int:
        """The most that a whole turn, or any other answer, may hold."""
        return self.max_event_bytes * _TURN_BYTES_PER_EVENT_BYTES


class _Key:
    """A key that stays behind when it is pickled, shown or compared."""

    def __init__(self, key: SecretStr | None) -> None:
        self._key = key

    def reveal(self) -> SecretStr:
        key = self._key or key_from_environment()
        if key is None:
            raise ConfigurationError(
                "There is no API key. Pass api_key=, or set LLAMA_CLOUD_API_KEY (keys are made at "
                "https://cloud.llamaindex.ai). To try things without one, use "
                "llama_cloud_chat.local.LocalService."
            )
        return key

    def __repr__(self) -> str:
        return "SecretStr('**********')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key)

    def __hash__(self) -> int:
        return 0

    def __reduce__(self) -> tuple[type[_Key], tuple[None]]:
        return _Key, (None,)

    def __copy__(self) -> _Key:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Key:
        return self


def make_config(
    *,
    api_key: str | SecretStr | None = None,
    base_url: str | None = None,
    project_id: str | None = None,
    organization_id: str | None = None,
    timeout: float | Timeouts | HttpTimeout | None = None,
    max_retries: int = DEFAULT_MAX_RETRIES,
    recovery_timeout: float = DEFAULT_RECOVERY_TIMEOUT,
    max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
    allow_http: bool = False,
    max_prompt_chars: int | None = None,
    long_prompts: LongPrompts = "refuse",
    fold: Callable[[Sequence[Any], int], Any] | None = None,
    ledger: Ledger | None = None,
) -> ClientConfig:
    """Check the arguments, and fill in from the environment what they leave open.

    Raises:
        ConfigurationError: One of them cannot work; the message names it.
    """
    key = check_key(api_key) if api_key is not None else key_from_environment()
    if key is None:
        _Key(None).reveal()
    return ClientConfig(
        base_url=_check_base_url(base_url or os.environ.get("LLAMA_CLOUD_BASE_URL") or DEFAULT_BASE_URL, allow_http),
        project_id=_optional_id("project_id", project_id, "LLAMA_CLOUD_PROJECT_ID"),
        organization_id=_optional_id("organization_id", organization_id, "LLAMA_CLOUD_ORGANIZATION_ID"),
        timeout=_check_timeout(timeout),
        max_retries=check_count("max_retries", max_retries, least=0),
        recovery_timeout=check_seconds("recovery_timeout", recovery_timeout),
        max_event_bytes=check_count("max_event_bytes", max_event_bytes, least=1),
        allow_http=allow_http,
        _api_key=_Key(key),
        max_prompt_chars=None
        if max_prompt_chars is None
        else check_count("max_prompt_chars", max_prompt_chars, least=1),
        long_prompts=_check_long_prompts(long_prompts),
        fold=_check_fold(fold),
        index_ids=_index_ids_from_environment(),
        ledger=ledger,
    )


def _check_long_prompts(long_prompts: LongPrompts) -> LongPrompts:
    if long_prompts not in get_args(LongPrompts):
        raise ConfigurationError(f"long_prompts must be one of {get_args(LongPrompts)}, not {long_prompts!r}.")
    return long_prompts


def _check_fold(fold: Callable[[Sequence[Any], int], Any] | None) -> Callable[[Sequence[Any], int], Any] | None:
    if fold is not None and not callable(fold):
        raise ConfigurationError(f"fold must be a function of messages and a budget, not {type(fold).__name__}.")
    return fold


def _index_ids_from_environment() -> tuple[str, ...]:
    named = os.environ.get("LLAMA_CLOUD_INDEX_IDS", "").split(",")
    ids = [index_id.strip() for index_id in named if index_id.strip()]
    return tuple(check_index_ids(ids, "LLAMA_CLOUD_INDEX_IDS") or ())


def key_from_environment() -> SecretStr | None:
    """Return the key that the environment names; None if there is none.

    Raises:
        ConfigurationError: It cannot be one.
    """
    for variable in _KEY_VARIABLES:
        if key := os.environ.get(variable, "").strip():
            return check_key(key)
    return None


def check_key(api_key: str | SecretStr) -> SecretStr:
    """Return `api_key` without the space around it, if it can be a key.

    Raises:
        ConfigurationError: It is blank, no string, or holds what no key holds.
    """
    key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    if not isinstance(key, str):
        raise ConfigurationError(f"api_key must be a string, not {type(key).__name__}.")
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("api_key is blank or holds characters that no key has. Copy it again.")
    return SecretStr(key)


def _check_base_url(base_url: str, allow_http: bool) -> str:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigurationError(f"base_url is not a URL: {error}.") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("base_url must begin with https:// (or http:// for this machine) and name a host.")
    if not can_be_reached(url):
        raise ConfigurationError(f"base_url names a host or a port that cannot be one: {url.host!r}. Correct it.")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError("base_url must hold no user, password, query or fragment.")
    if url.scheme == "http" and not allow_http and not is_loopback(url.host):
        raise ConfigurationError(
            f"base_url would send the API key to {url.host} unencrypted. Use https://, or pass allow_http=True if "
            "the network between is yours."
        )
    return str(url).rstrip("/")


_is_host_name = re.compile(r"(?=.{1,253}\.?\Z)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE).fullmatch


def can_be_reached(url: httpx.URL) -> bool:
    """Whether host and port of `url` can be those of anything: sockets do not take all that URLs do."""
    if url.port is not None and not 0 < url.port < 2**16:
        return False
    if ":" in url.host:  # httpx has checked addresses
        return True
    return _is_host_name(url.raw_host.decode("ascii")) is not None


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, whatever a resolver says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _optional_id(name: str, value: str | None, variable: str) -> str | None:
    if value is None:
        return os.environ.get(variable, "").strip() or None
    return check_id(name, value)


def _check_timeout(timeout: float | Timeouts | HttpTimeout | None) -> Timeouts:
    if timeout is None:
        return Timeouts()
    if isinstance(timeout, HttpTimeout):
        timeout = Timeouts(connect=timeout.connect, idle=timeout.read, pool=timeout.pool)
    elif not isinstance(timeout, Timeouts):
        seconds = check_seconds("timeout", timeout)
        timeout = replace(Timeouts(), connect=min(seconds, 5.0), idle=seconds)
    for name, limit in asdict(timeout).items():
        if limit is not None:
            check_wait(f"timeout.{name}", limit, hint=f" Timeouts({name}=None) waits without end.")
    return timeout


def check_seconds(name: str, value: float) -> float:
    """Return `value` if it can be a number of seconds.

    Raises:
        ConfigurationError: It is negative or no number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value < 0:
        raise ConfigurationError(f"{name} must be a number of seconds, not {value!r}.")
    return float(value)


def check_wait(name: str, value: float, *, zero: bool = False, hint: str = "") -> float:
    """Return `value` if it is a number of seconds that a thread can wait.

    Args:
        name: What it is called.
        value: The seconds.
        zero: Whether it may be 0.
        hint: What to add to the complaint.

    Raises:
        ConfigurationError: It is not.
    """
    seconds = check_seconds(name, value)
    if seconds > threading.TIMEOUT_MAX or not (seconds or zero):
        least = "0" if zero else "more than 0"
        raise ConfigurationError(f"{name} must be {least} to {threading.TIMEOUT_MAX:g} seconds, not {value!r}.{hint}")
    return seconds


def check_count(name: str, value: int, *, least: int) -> int:
    """Return `value` if it is a whole number of at least `least`.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value


def check_id(name: str, value: str) -> str:
    """Return `value` if it can be an id.

    Raises:
        ConfigurationError: It is blank or no string.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a non-empty string, not {value!r}.")
    return check_text(name, value)


def check_text(name: str, text: str) -> str:
    """Return `text` if it can be sent.

    Raises:
        ConfigurationError: It is no string, or holds half a character.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{name} must be a string, not {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{name} holds half a character (a surrogate without its other half), which cannot be sent. It may have "
            "been cut inside an emoji."
        ) from None
    return text


def check_prompt(prompt: str) -> str:
    """Return `prompt` if it can be asked.

    Raises:
        ConfigurationError: It is blank or no string.
    """
    if not check_text("prompt", prompt).strip():
        raise ConfigurationError("prompt is empty. Ask something.")
    return prompt


def check_index_ids(index_ids: Sequence[str] | None, name: str = "index_ids") -> list[str] | None:
    """Return `index_ids`, which came as `name`, as a list if they can be a session's indexes.

    Raises:
        ConfigurationError: They are no list of ids, or too many.
    """
    if index_ids is None:
        return None
    if isinstance(index_ids, (str, bytes)) or not isinstance(index_ids, Sequence):
        raise ConfigurationError(f"{name} must be a list of ids, not {index_ids!r}.")
    ids = [check_id(name, index_id) for index_id in index_ids]
    if len(ids) > MAX_INDEXES:
        raise ConfigurationError(f"{name} holds {len(ids)} indexes; a session takes at most {MAX_INDEXES}.")
    return ids


def check_asked_indexes(index_ids: Sequence[str] | None) -> list[str] | None:
    """Return `index_ids` as a list if they can be asked; None if none are given.

    Raises:
        ConfigurationError: They cannot. An empty list is not taken for "those of the environment": who computed which
            indexes a user may see, and found none, must not ask others.
    """
    ids = check_index_ids(index_ids)
    if ids == []:
        raise ConfigurationError(
            "index_ids is empty, so there is nothing to ask. Name an index; or leave index_ids out to ask those of the "
            "session, or of LLAMA_CLOUD_INDEX_IDS."
        )
    return ids
