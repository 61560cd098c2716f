"""What SIGTERM and SIGINT do: the first lets calls finish, a second one doesn't."""

import asyncio
import os
import signal
import time
from types import FrameType

import structlog

__all__ = ["exit_on_signal", "stop_on_signal"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Some who stop a service signal the process and its group: that is one signal, heard twice.
_ECHO_S = 0.5


def exit_on_signal() -> None:
    """Has a signal end the process at once and with status 0: nothing was begun yet.

    For the time until `stop_on_signal`. The first process of a container is not ended by signals
    that it doesn't handle.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(0))


def stop_on_signal() -> asyncio.Event:
    """Returns an event that the first signal sets. Called within the running event loop.

    A second signal ends the process at once, with the status 128 + its number, as shells have it.
    Workers and sandboxes end with their parent, and all that is kept on disk is kept so that it
    may end at any time.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def first(number: signal.Signals) -> None:
        structlog.get_logger().info("stopping; a second signal ends at once", signal=number.name)
        stop.set()
        signaled_s = time.monotonic()

        # No handler of the loop's: the loop may be what hangs. And no line in the log, which
        # may be what it waits for.
        def second(number: int, _frame: FrameType | None) -> None:
            if time.monotonic() - signaled_s > _ECHO_S:
                os._exit(128 + number)

        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, second)

    for number in _SIGNALS:
        loop.add_signal_handler(number, first, number)
    return stop
