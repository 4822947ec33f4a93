"""From options, profile and environment to a client of the service."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from llama_cloud_chat import DEFAULT_MAX_RETRIES, ChatClient, ConfigurationError
from llama_cloud_chat._config import key_from_environment

from ._safe import complain, options_for_arguments

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROGRAM = "llama-cloud-chat"
_ADDRESS = ("base_url", "project_id", "organization_id")
_PROFILE_KEYS = (*_ADDRESS, "api_key_env", "api_key")


@dataclass(frozen=True)
class Connection:
    """Where the service is, as the options say it.

    Raises:
        ConfigurationError: They contradict each other.

    Attributes:
        profile: A profile of the configuration file.
        base_url: The service's address.
        project_id: The project.
        organization_id: The organisation.
        local: Whether to start the embedded service for this command.
        data: The file in which the embedded service keeps its sessions.
        docs: What it reads; None for the installed packages, empty for nothing.
        model: Who answers there.
    """

    profile: str | None = None
    base_url: str | None = None
    project_id: str | None = None
    organization_id: str | None = None
    local: bool = False
    data: Path | None = None
    docs: Sequence[Path] | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        """Look for options that say nothing together."""
        for name in ("profile", *_ADDRESS) if self.local else ("docs", "data", "model"):
            if getattr(self, name) and self.local:
                raise ConfigurationError(f"--local starts a service of its own; leave {_option(name)} out.")
            if getattr(self, name):
                raise ConfigurationError(f"{_option(name)} is for the embedded service; add --local.")

    def as_options(self) -> list[str]:
        """Return it as it can be typed again."""
        named = {name: getattr(self, name) for name in ("profile", *_ADDRESS, "data", "model")}
        options = ["--local"] if self.local else []
        options += [part for name, value in named.items() if value is not None for part in (_option(name), str(value))]
        return options + [part for path in self.docs or () for part in ("--docs", str(path))]

    @property
    def keeps_sessions(self) -> bool:
        """Whether sessions outlive the command."""
        return not self.local or self.data is not None

    def without_documents(self) -> Connection:
        """Return what a command needs that only looks at sessions.

        Raises:
            ConfigurationError: It would look at an embedded service that has none.
        """
        if not self.keeps_sessions:
            raise ConfigurationError(
                "An embedded service without a file has no sessions to look at; name the file with --data FILE."
            )
        return replace(self, docs=[])


class NoKeyError(ConfigurationError):
    """There is no key to ask with."""


class Reached(NamedTuple):
    """A service that is there.

    Attributes:
        client: Its client.
        index_ids: The indexes to ask where none are named.
        place: What tells it from other services, as long as it keeps sessions.
        report: What an embedded service has read and left out, in lines.
        left_out: Of that, what it has left out, in one line; empty if nothing is.
    """

    client: ChatClient
    index_ids: list[str]
    place: str | None = None
    report: Sequence[str] = ()

    @property
    def left_out(self) -> str:
        return " ".join(self.report[1:])


@contextlib.contextmanager
def connect(connection: Connection, max_retries: int = DEFAULT_MAX_RETRIES) -> Iterator[Reached]:
    """Reach the service; start it first if it is the embedded one.

    Args:
        connection: Where it is.
        max_retries: How often a request that failed is sent again.

    Raises:
        NoKeyError: There is no key.
        ConfigurationError: What the options, the profile and the environment say cannot work.
    """
    if connection.local:
        from llama_cloud_chat.local import LocalService  # noqa: PLC0415  # the web server takes a second to import

        from ._progress import indexing_bar, what_was_read  # noqa: PLC0415

        with (
            indexing_bar() as on_progress,
            LocalService(
                connection.docs, data=connection.data, agent=connection.model, on_progress=on_progress
            ) as service,
            ChatClient(service.api_key, base_url=service.base_url, max_retries=max_retries) as client,
        ):
            place = str(connection.data.resolve()) if connection.data else None
            yield Reached(client, service.index_ids, place, what_was_read(service))
        return
    with _word_of_retries(), ChatClient(**_client_arguments(connection), max_retries=max_retries) as client:
        config = client.config
        place = " ".join(filter(None, [connection.profile, config.base_url, config.project_id, config.organization_id]))
        yield Reached(client, list(config.index_ids), place)


class _Word(logging.Handler):
    """Says once that the service is not reached, at the second failure: one is over before it is read."""

    _failures = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._failures += 1
        if self._failures == 2:
            complain(options_for_arguments(record.getMessage()))


@contextlib.contextmanager
def _word_of_retries() -> Iterator[None]:
    """Break the silence while a service that is away is tried again."""
    logger, word = logging.getLogger("llama_cloud_chat.retries"), _Word()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(word)
    try:
        yield
    finally:
        logger.removeHandler(word)
        logger.setLevel(level)


def config_file() -> Path:
    """Return where the profiles are."""
    return folder("XDG_CONFIG_HOME") / "config.toml"


def folder(variable: str) -> Path:
    """Return the folder of this program that `variable` moves: the platform's, unless it is set."""
    home = os.environ.get(variable)
    if home:
        return Path(home, _PROGRAM)
    import typer  # noqa: PLC0415  # knows the platforms' folders

    return Path(typer.get_app_dir(_PROGRAM))


def profile_names() -> list[str]:
    """Return the profiles there are, as far as they can be read."""
    try:
        return sorted(_read_file(config_file()))
    except ConfigurationError:
        return []


def _client_arguments(connection: Connection) -> dict[str, Any]:
    profile = {} if connection.profile is None else _read_profile(connection.profile)
    arguments: dict[str, Any] = {name: getattr(connection, name) or profile.get(name) for name in _ADDRESS}
    arguments["api_key"] = profile.get("api_key")
    if not arguments["api_key"] and key_from_environment() is None:
        raise NoKeyError(
            "There is no API key; set LLAMA_CLOUD_API_KEY (keys are made at https://cloud.llamaindex.ai), name a "
            "profile with --profile, or try things without a key with --local."
        )
    return arguments


def _read_profile(name: str) -> Mapping[str, str]:
    """Return a profile, with the key it names as `api_key`.

    Raises:
        ConfigurationError: It is not there, or says what a profile cannot say.
    """
    file = config_file()
    profiles = _read_file(file)
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigurationError(f"There is no profile {name!r} in {file}; the profiles there are: {known}.")
    profile = profiles[name]
    where = f"The profile {name!r} in {file}"
    if not isinstance(profile, dict):
        raise ConfigurationError(f"{where} is not a table; write [{name}] above its settings.")
    for key, value in profile.items():
        if key not in _PROFILE_KEYS:
            raise ConfigurationError(f"{where} has a setting {key!r}; it takes {', '.join(_PROFILE_KEYS)}.")
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(f"{where} must give {key} as a text that is not empty.")
    if "api_key" in profile:
        _check_is_private(file, where)
    if "api_key_env" in profile:
        return {**profile, "api_key": _key_from(profile, where)}
    return profile


def _key_from(profile: Mapping[str, str], where: str) -> str:
    if "api_key" in profile:
        raise ConfigurationError(f"{where} has both api_key and api_key_env; leave one out.")
    variable = profile["api_key_env"]
    key = os.environ.get(variable, "").strip()
    if not key:
        # Not repeated in full: who mistakes the setting writes the key itself here.
        shown = variable if variable.isidentifier() and len(variable) <= 40 else "one"
        raise ConfigurationError(f"{where} takes its key from a variable that is not set; set {shown}.")
    return key


def _check_is_private(file: Path, where: str) -> None:
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigurationError(
            f"{where} holds a key that others can read; run chmod 600 on the file, or use api_key_env."
        )


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"There are no profiles: {file} does not exist; write one there, for example [work] with "
            "api_key_env = 'WORK_KEY'."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The profiles cannot be read from {file} ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # What stands there is not repeated: it may be a key.
        place = re.search(r"at line \d+", str(error))
        raise ConfigurationError(
            f"{file} is not valid TOML{f' {place[0]}' if place else ''}; strings need quotes around them."
        ) from None


def _option(name: str) -> str:
    return "--" + {"project_id": "project", "organization_id": "organization"}.get(name, name).replace("_", "-")
