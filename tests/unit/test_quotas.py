"""What each identity may take."""

import asyncio

import pytest

from tts_service.admission import Admission, Caller, Quotas
from tts_service.config import AdmissionSettings, QuotaSettings
from tts_service.errors import Overloaded


class _Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def _quotas(clock: _Clock, **limits: object) -> Quotas:
    return Quotas(QuotaSettings(**limits), clock)  # type: ignore[arg-type]


def _speak(quotas: Quotas, identity: str, characters: int) -> None:
    quotas.take_speech(identity, characters).close()


def _refusal(quotas: Quotas, identity: str, characters: int) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        quotas.take_speech(identity, characters)
    return caught.value


def test_without_limits_nothing_is_refused() -> None:
    quotas = _quotas(_Clock())
    for _ in range(1000):
        _speak(quotas, "anna", 10_000)
        quotas.take_upload("anna")


def test_characters_fill_up_again_evenly() -> None:
    clock = _Clock()
    quotas = _quotas(clock, characters_per_minute=600)
    _speak(quotas, "anna", 600)
    refusal = _refusal(quotas, "anna", 50)
    assert (refusal.reason, refusal.retry_after_ms) == ("QUOTA_CHARACTERS", 5000)
    clock.now_s += 4.9
    _refusal(quotas, "anna", 50)
    clock.now_s += 0.1
    _speak(quotas, "anna", 50)
    _speak(quotas, "bob", 600)  # others have their own


def test_a_text_above_the_limit_waits_for_a_full_minute_and_is_paid_for_afterwards() -> None:
    clock = _Clock()
    quotas = _quotas(clock, characters_per_minute=60)
    _speak(quotas, "anna", 120)
    clock.now_s += 60
    assert _refusal(quotas, "anna", 1).retry_after_ms == 1000
    clock.now_s += 1
    _speak(quotas, "anna", 1)


def test_streams_are_counted_while_they_are_open() -> None:
    quotas = _quotas(_Clock(), concurrent_streams=2)
    shares = [quotas.take_speech("anna", 1) for _ in range(2)]
    assert _refusal(quotas, "anna", 1).reason == "QUOTA_STREAMS"
    shares[0].close()
    quotas.take_speech("anna", 1)


def test_uploads_are_counted_by_the_hour() -> None:
    clock = _Clock()
    quotas = _quotas(clock, uploads_per_hour=2)
    for _ in range(2):
        quotas.take_upload("anna")
    with pytest.raises(Overloaded) as caught:
        quotas.take_upload("anna")
    assert (caught.value.reason, caught.value.retry_after_ms) == ("QUOTA_UPLOADS", 1_800_000)


def test_an_identity_may_have_limits_of_its_own() -> None:
    settings = QuotaSettings(
        characters_per_minute=60,
        concurrent_streams=1,
        by_identity={"big": {"characters_per_minute": 0}},  # type: ignore[dict-item]
    )
    assert settings.of("big").characters_per_minute == 0
    assert settings.of("big").concurrent_streams == 1  # as for all
    quotas = Quotas(settings, _Clock())
    for _ in range(10):
        _speak(quotas, "big", 1000)
    _speak(quotas, "small", 60)
    _refusal(quotas, "small", 60)


async def test_a_refused_call_costs_no_characters() -> None:
    clock = _Clock()
    refused: list[tuple[str, str]] = []
    admission = Admission(
        ["e"],
        AdmissionSettings(slots=1, queue_limit=0),
        _quotas(clock, characters_per_minute=100),
        slots=lambda _: 5,
        on_refused=lambda engine, reason: refused.append((engine, reason)),
        clock=clock,
    )
    place = await admission.enter("e", Caller("anna", "1"), 10)
    for _ in range(20):
        with pytest.raises(Overloaded):
            await admission.enter("e", Caller("anna", "2"), 90)
    place.close()
    (await admission.enter("e", Caller("anna", "3"), 90)).close()
    with pytest.raises(Overloaded):
        await admission.enter("e", Caller("anna", "4"), 90)
    assert refused == [("e", "OVERLOADED")] * 20 + [("e", "QUOTA_CHARACTERS")]


async def test_who_waits_in_line_counts() -> None:
    admission = Admission(
        ["e"],
        AdmissionSettings(slots=1, queue_limit=8, wait_limit_s=60),
        _quotas(_Clock(), concurrent_streams=2),
        slots=lambda _: 1,
    )
    place = await admission.enter("e", Caller("anna", "1"), 10)
    waiting = asyncio.create_task(admission.enter("e", Caller("anna", "2"), 10))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 texts of this caller"):
        await admission.enter("e", Caller("anna", "3"), 10)
    waiting.cancel()  # and has been no stream
    await asyncio.wait({waiting})
    waiting = asyncio.create_task(admission.enter("e", Caller("anna", "4"), 10))
    await asyncio.sleep(0)
    place.close()
    (await waiting).close()
