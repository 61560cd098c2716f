"""The seam between a load and what it calls: any server, over any protocol."""

from collections.abc import AsyncIterator
from typing import Protocol

__all__ = ["Speak"]


class Speak(Protocol):
    """Speaks a text.

    An asynchronous generator function fits. It yields, as each piece of audio arrives, the piece's
    duration in ms; a piece of 0 ms, such as a file's header, is no audio. Whatever it raises is the
    error that the call ended with. It sets its own time limit: a load waits for its calls.
    """

    def __call__(self, text: str, /) -> AsyncIterator[float]: ...
