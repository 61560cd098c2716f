"""What the renderer asks of workers, and what it does when they are lost or busy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pytest

from audio_codec import Encoding, resolve_format
from tts_service.admission import Caller, Gate, Place
from tts_service.config import AdmissionSettings
from tts_service.errors import EngineUnavailable, Overloaded, RenderFailed
from tts_service.fleet import Fleet, RenderStream, SegmentAudio, SegmentJob, Speaker
from tts_service.ops.metrics import Metrics
from tts_service.sampling import Sampling
from tts_service.synthesis import (
    CacheLimits,
    SpeechCache,
    SynthesisRequest,
    VoiceShare,
    resolve_request,
)
from tts_service.synthesis.keys import segment_keys
from tts_service.synthesis.plan import SENTENCE_PAUSE_MS
from tts_service.synthesis.renderer import render_utterance
from tts_service.synthesis.segment_memo import SegmentMemo
from tts_service.voices import Catalog, Embeddings, EngineTraits, Voice
from voice_store import StoredVoice

_RATE_HZ = 24_000
_CHUNK = _RATE_HZ // 20


class _Connection:
    """Says so many chunks of 50 ms, then loses its worker or ends.

    Args:
        busy: the calls that it refuses, counted from 0.
        rates_hz: of its calls, where it isn't `_RATE_HZ`.
    """

    def __init__(
        self,
        chunks: int,
        *,
        is_lost: bool = False,
        busy: tuple[int, ...] = (),
        rates_hz: tuple[int, ...] = (),
    ) -> None:
        self.jobs: list[SegmentJob] = []
        self._rates_hz = rates_hz
        self._chunks = chunks
        self._is_lost = is_lost
        self._busy = busy

    @asynccontextmanager
    async def render(self, job: SegmentJob, **_: Any) -> AsyncIterator[RenderStream]:
        self.jobs.append(job)
        if len(self.jobs) - 1 in self._busy:
            raise Overloaded("is busy", reason="ENGINE_BUSY", retry_after_ms=20)
        rate_hz = dict(enumerate(self._rates_hz)).get(len(self.jobs) - 1, _RATE_HZ)
        yield RenderStream(rate_hz, None, self._audio(len(job.text)))

    async def _audio(self, characters: int) -> AsyncIterator[SegmentAudio]:
        for _ in range(self._chunks):
            yield SegmentAudio(np.ones(_CHUNK, np.float32), 0, characters)
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


class _Embeddings:
    """Says which voice in which style it was asked for."""

    async def get(self, voice: Voice, style: str) -> bytes:
        return f"{voice.id} {style}".encode()


_TRAITS = EngineTraits("f", 100, can_sample=True, can_mix=True, mix_sample_rate_hz=_RATE_HZ)
_STORED = StoredVoice(
    id="anna",
    display_name="Anna",
    language="en",
    styles=("glad", "sad"),
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
    request_id="",
    consent=None,
    quality=(),
    content_fingerprint="c",
)
_CATALOG = Catalog(
    [
        Voice("v", "V", "stand-in", "own", ("en",), _RATE_HZ, "f", _TRAITS),
        Voice("anna", "Anna", "stand-in", "", ("en",), _RATE_HZ, "f", _TRAITS, _STORED),
    ]
)


async def _never() -> Place:
    raise AssertionError("it has a place")


async def _samples(
    fleet: _Fleet,
    text: str = "One sentence.",
    *,
    takes_s: float = 0.0,
    place: Place | None = None,
    enter: Callable[[], Awaitable[Place]] | None = None,
    **request: Any,
) -> int:
    """All samples of a text, by a listener who takes so long for each run of them."""
    utterance = resolve_request(
        SynthesisRequest(text, encoding=Encoding.WAV, **request),
        _CATALOG,
        default_voice="v",
        max_text_characters=1000,
    )
    metrics = Metrics()
    cache = SpeechCache(None, CacheLimits(0, 0, 0, None), metrics)
    assert utterance.audio_format == resolve_format(Encoding.WAV, source_rate_hz=_RATE_HZ)
    count = 0
    keys = segment_keys(utterance)
    async for pcm in render_utterance(
        utterance,
        cast(Fleet, fleet),
        cast(Embeddings, _Embeddings()),
        SegmentMemo(cache, keys, {*keys} if enter else frozenset(), collects=False),
        None if enter else place or Place(),
        metrics.speech,
        enter=enter or _never,
        request_id="r",
        engine_wait_s=1.0,
        ahead_ms=1000,
    ):
        count += len(pcm.samples)
        await asyncio.sleep(takes_s)
    return count


async def test_a_worker_lost_before_its_first_sound_is_replaced() -> None:
    fleet = _Fleet(_Connection(0, is_lost=True), _Connection(3))
    assert await _samples(fleet) == 3 * _CHUNK


async def test_a_text_that_ends_two_workers_is_given_up() -> None:
    fleet = _Fleet(*(_Connection(0, is_lost=True) for _ in range(5)))
    with pytest.raises(EngineUnavailable) as caught:
        await _samples(fleet)
    assert caught.value.reason == "WORKERS_LOST"
    assert caught.value.retry_after_ms is None
    assert len(fleet.connections) == 3


async def test_nothing_is_spoken_twice() -> None:
    fleet = _Fleet(_Connection(2, is_lost=True), _Connection(3))
    with pytest.raises(EngineUnavailable) as caught:
        await _samples(fleet)
    assert caught.value.reason == "WORKER_LOST"
    assert len(fleet.connections) == 1


async def test_another_rate_is_not_encoded_as_if_it_were_the_first() -> None:
    connection = _Connection(2, rates_hz=(_RATE_HZ, 16_000))
    # No loss of a worker, for which the text would be blamed.
    with pytest.raises(RenderFailed, match="another model"):
        await _samples(_Fleet(connection), "One here. Two there.")
    connection = _Connection(2, rates_hz=(16_000, 16_000))
    pause = 16_000 * SENTENCE_PAUSE_MS // 1000
    assert await _samples(_Fleet(connection), "One here. Two there.") == 4 * _CHUNK + pause


async def test_a_busy_engine_refuses_a_caller_who_hears_nothing_yet() -> None:
    connection = _Connection(1, busy=(0,))
    with pytest.raises(Overloaded):
        await _samples(_Fleet(connection))
    assert len(connection.jobs) == 1


async def test_a_busy_engine_doesnt_break_off_what_is_being_heard() -> None:
    connection = _Connection(1, busy=(1, 2))
    pause = round(_RATE_HZ * SENTENCE_PAUSE_MS / 1000)
    assert await _samples(_Fleet(connection), "One here. Two there.") == 2 * _CHUNK + pause
    assert [job.text for job in connection.jobs] == ["One here.", *["Two there."] * 3]


async def test_only_the_first_segment_is_urgent_and_all_are_drawn_alike() -> None:
    connection = _Connection(1)
    text = "One here. Two there. And three."
    await _samples(_Fleet(connection), text, sampling=Sampling(top_k=7, seed=5))
    assert [job.look_ahead for job in connection.jobs] == [False, True, True]
    assert {job.sampling for job in connection.jobs} == {Sampling(top_k=7, seed=5)}
    assert {job.speakers for job in connection.jobs} == {(Speaker("own"),)}


async def test_what_waits_to_be_taken_is_still_to_be_heard() -> None:
    connection = _Connection(8)
    await _samples(_Fleet(connection), "One here. Two there.", takes_s=0.2)
    # In the queue, for a listener who takes a run each 0.2 s: the last run and the pause.
    assert connection.jobs[1].lead_ms == 50 + SENTENCE_PAUSE_MS
    assert {job.ahead_ms for job in connection.jobs} == {1000}


class _Share:
    """What a call has taken of its quotas, and how that ended."""

    def __init__(self) -> None:
        self.endings: list[str] = []

    def close(self) -> None:
        self.endings.append("taken")

    def give_back(self) -> None:
        self.endings.append("given back")


@pytest.mark.parametrize(
    ("connection", "error", "ending"),
    [
        (_Connection(1, busy=(0,)), Overloaded, "given back"),
        (_Connection(0, is_lost=True), EngineUnavailable, "given back"),
        (_Connection(3, is_lost=True), EngineUnavailable, "taken"),
        (_Connection(3), None, "taken"),
    ],
)
async def test_a_call_that_the_engine_has_no_time_for_costs_nothing(
    connection: _Connection, error: type[Exception] | None, ending: str
) -> None:
    share = _Share()
    place = Place()
    place.charge(cast(Any, share))
    with pytest.raises(error) if error else nullcontext():
        await _samples(_Fleet(connection), place=place)
    assert share.endings == [ending]


async def test_a_lost_render_frees_its_place_before_its_listener_gets_there() -> None:
    gate = Gate("stand-in", AdmissionSettings(slots=4), slots=lambda: 4)
    place = await gate.enter(Caller("", "r"))
    fleet = _Fleet(_Connection(3, is_lost=True))

    async def listen() -> None:
        with pytest.raises(EngineUnavailable):
            await _samples(fleet, place=place, takes_s=0.1)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.05)
    assert gate.active == 0
    assert not listening.done()
    await listening


async def test_what_is_kept_no_more_needs_a_place_after_all() -> None:
    gate = Gate("stand-in", AdmissionSettings(slots=1, queue_limit=0), slots=lambda: 1)
    fleet = _Fleet(_Connection(3))

    async def enter() -> Place:
        return await gate.enter(Caller("", "r"))

    with await enter(), pytest.raises(Overloaded):
        await _samples(fleet, "One sentence. And two.", enter=enter)
    assert not fleet.connections[0].jobs
    assert await _samples(fleet, "One sentence. And two.", enter=enter) > 6 * _CHUNK
    assert gate.open == 0, "it was closed, and there was but one"


async def test_an_uploaded_voice_speaks_by_its_embedding() -> None:
    connection = _Connection(1)
    await _samples(_Fleet(connection), voice="anna", style="sad")
    assert [job.speakers for job in connection.jobs] == [(Speaker("", b"anna sad"),)]


async def test_a_mix_is_made_of_voices_and_embeddings_of_finite_weight() -> None:
    connection = _Connection(1)
    large = (VoiceShare("anna", 1.5e308), VoiceShare("v", 0.75e308))
    apart = (VoiceShare("anna", 1e300), VoiceShare("v", 1e-300))
    for mix in (large, apart):
        await _samples(_Fleet(connection), voice_mix=mix)
    anna = Speaker("", b"anna glad", 1.0)
    assert connection.jobs[0].speakers == (anna, Speaker("own", b"", 0.5))
    assert connection.jobs[1].speakers[0] == anna
    assert 0 < connection.jobs[1].speakers[1].weight < 1e-300
