"""Messages on their way from the thread that makes them to the thread of gRPC that sends them."""

import threading
from collections.abc import Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Outbox(Generic[T], Iterator[T]):
    """Holds one message at a time, so that no more is read than the connection takes.

    gRPC iterates, and asks for the next message when the one before has gone out. The maker calls
    `put()` for each and `close()` at the end, and may raise, be interrupted, or look at a clock in
    between: it stays in its own thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._message: T | None = None
        self._closed = False

    def put(self, message: T) -> bool:
        """Hands `message` over once the one before was taken. False: nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._message is None or self._closed)
            if self._closed:
                return False
            self._message = message
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Ends the iteration after the message that still waits, if one does."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._message is not None or self._closed)
            if self._message is None:
                raise StopIteration
            message, self._message = self._message, None
            self._changed.notify_all()
            return message
