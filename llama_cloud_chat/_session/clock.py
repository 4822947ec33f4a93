"""Time and jitter, given to whoever needs them, so that tests can bring their own."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event` as `threading.Event.wait` does; return whether it was set in time."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


@dataclass(frozen=True)
class Clock:
    """What time it is, how to wait, and jitter.

    Attributes:
        wait: Waits for an event, for so many seconds at the most; returns whether it was set.
        wait_async: The same for asyncio.
        monotonic: Seconds that only ever pass.
        time: Seconds since the epoch.
        jitter: A random number from 0 to 1.
    """

    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    wait_async: Callable[[asyncio.Event, float], Awaitable[bool]] = wait_for_event
    monotonic: Callable[[], float] = time.monotonic
    time: Callable[[], float] = time.time
    jitter: Callable[[], float] = field(default=random.random)
