"""Whose refusal a caller gets who has joined another one's request."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protos.tts.v1 import tts_pb2 as pb
from tts_service.admission import Caller
from tts_service.api.convert import synthesis_request
from tts_service.errors import Overloaded
from tts_service.ops.metrics import Metrics
from tts_service.synthesis import CacheLimits, CacheMode, SpeechCache, Synthesizer, resolve_request
from tts_service.voices import Catalog, EngineTraits, Voice

_VOICE = Voice("tone", "", "tone", "tone", ("en",), 24_000, "model", EngineTraits("model", 250))
_UTTERANCE = resolve_request(
    synthesis_request(pb.SynthesizeRequest(text="A popular text.", voice="tone")),
    Catalog([_VOICE]),
    default_voice="",
    max_text_characters=1000,
)


class _Admission:
    """Refuses everybody, each with its own name, once it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.was_asked = asyncio.Event()
        self.asked: list[str] = []

    async def enter(self, _engine: str, caller: Caller, _characters: int) -> Any:
        self.asked.append(caller.identity)
        self.was_asked.set()
        await self.may_answer.wait()
        raise Overloaded(f"not {caller.identity}", reason="OVERLOADED", retry_after_ms=1)


@pytest.fixture
async def admission() -> _Admission:
    return _Admission()


@pytest.fixture
async def synthesizer(admission: _Admission) -> AsyncIterator[Synthesizer]:
    metrics = Metrics()
    cache = SpeechCache(None, CacheLimits(0, 1 << 20, 0, None), metrics)
    nothing: Any = None
    anyhow: Any = admission
    synthesizer = Synthesizer(
        nothing,
        nothing,
        nothing,
        cache,
        anyhow,
        metrics.speech,
        engine_wait_s=1,
        render_ahead_ms=1000,
    )
    yield synthesizer
    await synthesizer.close()
    await cache.close()


async def test_each_is_refused_for_itself(synthesizer: Synthesizer, admission: _Admission) -> None:
    async def speak(identity: str) -> str:
        caller = Caller(identity, identity)
        with pytest.raises(Overloaded) as caught:
            await anext(
                synthesizer.synthesize(_UTTERANCE, CacheMode.DEFAULT, caller, arrived_s=0.0)
            )
        return str(caught.value)

    calls = [asyncio.create_task(speak(name)) for name in ("anna", "ben", "cleo")]
    await admission.was_asked.wait()
    await asyncio.sleep(0.05)
    assert admission.asked == ["anna"], "the others have joined her"
    admission.may_answer.set()
    assert await asyncio.gather(*calls) == ["not anna", "not ben", "not cleo"]
    assert sorted(admission.asked) == ["anna", "ben", "cleo"]
