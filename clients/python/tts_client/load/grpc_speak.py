"""Calls to a server of `tts.v1`."""

from collections.abc import AsyncIterator
from typing import Unpack

from tts_client.aio import AsyncClient
from tts_client.request import SpeechOptions

__all__ = ["GrpcSpeak"]


class GrpcSpeak:
    """A `Speak` that calls a server of `tts.v1` and checks every byte that comes.

    Args:
        client: what it calls with. One whose `RetryPolicy` tries again hides failures, and counts
            the waits for them as the server's.
        timeout_s: of each call; None for the client's.
        options: as `Client.synthesize` takes them. Mind the cache: `cache="bypass"` has an engine
            speak each call.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        timeout_s: float | None = None,
        **options: Unpack[SpeechOptions],
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._options = options

    async def __call__(self, text: str, /) -> AsyncIterator[float]:
        """Speaks a text, and yields the durations of its frames in ms."""
        async with self._client.synthesize(
            text, timeout_s=self._timeout_s, **self._options
        ) as speech:
            async for frame in speech:
                yield frame.duration_ms
