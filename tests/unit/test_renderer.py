"""What the renderer does when workers are lost, on a fleet of stand-ins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest

from audio_codec import Encoding, resolve_format
from tts_service.errors import EngineUnavailable
from tts_service.fleet import Fleet, RenderStream, SegmentAudio
from tts_service.synthesis import SynthesisRequest, resolve_request
from tts_service.synthesis.renderer import render_utterance
from tts_service.voices import Catalog, Embeddings, Voice

_RATE_HZ = 24_000


class _Connection:
    """Says so many chunks of 50 ms, then loses its worker or ends."""

    def __init__(self, chunks: int, *, is_lost: bool) -> None:
        self._chunks = chunks
        self._is_lost = is_lost

    @asynccontextmanager
    async def render(self, *, text: str, **_: Any) -> AsyncIterator[RenderStream]:
        yield RenderStream(_RATE_HZ, None, self._audio(len(text)))

    async def _audio(self, characters: int) -> AsyncIterator[SegmentAudio]:
        for _ in range(self._chunks):
            yield SegmentAudio(np.ones(_RATE_HZ // 20, np.float32), 0, characters)
        if self._is_lost:
            raise EngineUnavailable("stand-in", "is lost", reason="WORKER_LOST")


class _Fleet:
    def __init__(self, *connections: _Connection) -> None:
        self.connections = list(connections)

    async def connection(
        self, engine: str, timeout_s: float, *, successor_of: object = None
    ) -> _Connection:
        return (
            self.connections.pop(0)
            if successor_of or len(self.connections) > 1
            else (self.connections[0])
        )


async def _samples(fleet: _Fleet, text: str = "One sentence.") -> int:
    voice = Voice("v", "V", "stand-in", "v", ("en",), _RATE_HZ, "f", 100, True)
    utterance = resolve_request(
        SynthesisRequest(text, encoding=Encoding.WAV),
        Catalog([voice]),
        default_voice="v",
        max_text_characters=1000,
    )
    assert utterance.audio_format == resolve_format(Encoding.WAV, source_rate_hz=_RATE_HZ)
    return sum(
        [
            len(pcm.samples)
            async for pcm in render_utterance(
                utterance,
                cast(Fleet, fleet),
                cast(Embeddings, None),
                request_id="r",
                deadline_s=None,
                engine_wait_s=1.0,
                ahead_ms=1000,
            )
        ]
    )


async def test_a_worker_lost_before_its_first_sound_is_replaced() -> None:
    fleet = _Fleet(_Connection(0, is_lost=True), _Connection(3, is_lost=False))
    assert await _samples(fleet) == 3 * _RATE_HZ // 20


async def test_a_text_that_ends_two_workers_is_given_up() -> None:
    fleet = _Fleet(*(_Connection(0, is_lost=True) for _ in range(5)))
    with pytest.raises(EngineUnavailable) as caught:
        await _samples(fleet)
    assert caught.value.reason == "WORKERS_LOST"
    assert caught.value.retry_after_ms is None
    assert len(fleet.connections) == 3


async def test_nothing_is_spoken_twice() -> None:
    fleet = _Fleet(_Connection(2, is_lost=True), _Connection(3, is_lost=False))
    with pytest.raises(EngineUnavailable) as caught:
        await _samples(fleet)
    assert caught.value.reason == "WORKER_LOST"
    assert len(fleet.connections) == 1
