"""What is kept of recordings: all of the speech, little else, at one loudness."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from audio_codec import Sandbox, SandboxLimits
from tests.audio_files import AudioFileKind, audio_file
from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, noise, sentence, speech
from voice_store import (
    RECORDING_RATE_HZ,
    InvalidRecordError,
    PreparedRecording,
    RecordingRejectedError,
    RejectionReason,
)
from voice_store.excerpt import Take, excerpt_of
from voice_store.loudness import integrated_loudness_lufs, true_peak_dbtp
from voice_store.preparation import prepare_style, prepare_upload
from voice_store.prepared import parse_prepared
from voice_store.recording import Recording
from voice_store.speech import Span, Speech

_KNOWN = speech(SENTENCES[1:3], lead_ms=900, pause_ms=400)
_ONE = sentence(SENTENCES[2])


def _recording(samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> Recording:
    return Recording(np.atleast_2d(samples).astype(np.float32), rate_hz)


def _silence(ms: int) -> np.ndarray:
    return np.zeros(SAMPLE_RATE_HZ * ms // 1000, np.float32)


def _kept(prepared: PreparedRecording) -> np.ndarray:
    return prepared.samples.astype(np.float32) / np.float32(32768)


def _assert_as_promised(prepared: PreparedRecording, style: str = "neutral") -> None:
    kept, quality = _kept(prepared), prepared.quality
    assert prepared.samples.dtype == np.int16
    assert prepared.samples.ndim == 1
    assert 3_000 <= len(kept) * 1000 / RECORDING_RATE_HZ <= 30_000
    assert true_peak_dbtp(kept, RECORDING_RATE_HZ) <= -1
    assert quality.loudness_after_lufs == integrated_loudness_lufs(kept, RECORDING_RATE_HZ)
    assert quality.kept_ms == len(kept) * 1000 // RECORDING_RATE_HZ
    assert prepared.style == quality.style == style
    assert 0 <= quality.clipped_share <= 1
    assert quality.to_json()


def _place(kept: np.ndarray, spoken: np.ndarray) -> int:
    """Where a sentence begins in what was kept; it may reach out of it."""
    wanted = soxr.resample(spoken, SAMPLE_RATE_HZ, RECORDING_RATE_HZ)
    padded = np.pad(kept, len(wanted))
    at = int(np.argmax(correlate(padded, wanted, "valid", "fft")))
    found = padded[at : at + len(wanted)]
    assert np.corrcoef(found, wanted)[0, 1] > 0.95
    return at - len(wanted)


def test_one_utterance_in_six_formats_is_kept_alike() -> None:
    formats = [
        (AudioFileKind.WAV, 44_100, 2, None),
        (AudioFileKind.FLAC, 48_000, 1, None),
        (AudioFileKind.MP3, 44_100, 1, 128_000),
        (AudioFileKind.OGG_OPUS, 24_000, 1, 24_000),
        (AudioFileKind.M4A, 44_100, 1, None),
        (AudioFileKind.WAV_MULAW, 8_000, 1, None),
    ]
    durations_ms = []
    for kind, rate_hz, channels, bitrate_bps in formats:
        samples = soxr.resample(_KNOWN.samples, SAMPLE_RATE_HZ, rate_hz)
        file = audio_file(kind, np.stack([samples] * channels), rate_hz, bitrate_bps=bitrate_bps)
        report, blobs = prepare_upload(_job("neutral"), [io.BytesIO(file)])
        (prepared,) = parse_prepared(report, blobs, ["neutral"])
        _assert_as_promised(prepared)
        assert prepared.quality.loudness_after_lufs == pytest.approx(-20, abs=0.5)
        durations_ms.append(len(prepared.samples) * 1000 / RECORDING_RATE_HZ)
        is_telephone = kind is AudioFileKind.WAV_MULAW
        codes = [warning.code for warning in prepared.quality.warnings]
        assert codes == (["LOW_BANDWIDTH"] if is_telephone else [])
    assert max(durations_ms) - min(durations_ms) <= 50


@pytest.mark.parametrize("ratio_db", [60, 30, 15])
def test_speech_is_never_cut_into(ratio_db: int) -> None:
    known = speech(SENTENCES[1:3], lead_ms=1500, pause_ms=2500)
    # The sentences have about -25 dB.
    prepared = prepare_style(
        "neutral", [_recording(known.samples + noise(len(known.samples), -25 - ratio_db))]
    )
    _assert_as_promised(prepared)
    first, second = (_place(_kept(prepared), sentence(text)) for text in SENTENCES[1:3])
    lengths = [len(sentence(text)) * RECORDING_RATE_HZ // SAMPLE_RATE_HZ for text in SENTENCES[1:3]]
    assert first >= 0
    assert second >= first + lengths[0] + 0.3 * RECORDING_RATE_HZ
    assert second + lengths[1] <= len(prepared.samples)


def test_silence_goes_and_long_pauses_are_shortened() -> None:
    known = speech(SENTENCES[1:3], lead_ms=4000, pause_ms=5000)
    prepared = prepare_style("neutral", [_recording(known.samples)])
    # Two margins of 250 ms and one pause of 600 ms.
    expected_ms = known.speech_ms + 2 * 250 + 600
    assert prepared.quality.kept_ms == pytest.approx(expected_ms, abs=400)
    assert prepared.quality.duration_ms == len(known.samples) * 1000 // SAMPLE_RATE_HZ
    assert prepared.quality.speech_ms == pytest.approx(known.speech_ms, rel=0.1)


def test_joints_do_not_click() -> None:
    # A deep hum would jump at each careless cut, and its slope is known.
    count = len(_KNOWN.samples)
    hum = np.sin(2 * np.pi * 60 * np.arange(3 * count) / SAMPLE_RATE_HZ).astype(np.float32) * 0.02
    pause = _silence(2_777)
    spoken = np.concatenate([pause, _ONE, pause, _ONE, pause])
    prepared = prepare_style("neutral", [_recording(spoken + hum[: len(spoken)])] * 2)
    kept = _kept(prepared)
    assert abs(kept[0]) < 1e-3
    assert abs(kept[-1]) < 1e-3
    # A click is broad: it would stand out above the band of the speech, which ends at 11 kHz.
    spectrum = np.fft.rfft(kept)
    spectrum[: int(11_200 / (RECORDING_RATE_HZ / 2) * len(spectrum))] = 0
    assert np.abs(np.fft.irfft(spectrum, len(kept))).max() < 2e-4


def test_a_channel_out_of_phase_does_not_cancel_the_voice() -> None:
    alone = prepare_style("neutral", [_recording(_KNOWN.samples)])
    for other in (-_KNOWN.samples, 0 * _KNOWN.samples, np.roll(_KNOWN.samples, 200)):
        both = prepare_style("neutral", [_recording(np.stack([_KNOWN.samples, other]))])
        assert both.samples.tolist() == alone.samples.tolist()


def test_channels_that_agree_are_averaged() -> None:
    hiss = [noise(len(_KNOWN.samples), -50, seed=seed) for seed in (1, 2)]
    one = prepare_style("neutral", [_recording(_KNOWN.samples + hiss[0])])
    two = prepare_style("neutral", [_recording(np.stack([_KNOWN.samples + h for h in hiss]))])
    assert one.quality.signal_to_noise_db is not None
    assert two.quality.signal_to_noise_db == pytest.approx(
        one.quality.signal_to_noise_db + 3, abs=0.5
    )


def test_recordings_of_one_style_count_together_and_equally_loud() -> None:
    first = np.concatenate([_silence(300), _ONE[: 2 * SAMPLE_RATE_HZ], _silence(300)])
    second = np.concatenate([_silence(300), sentence(SENTENCES[3]), _silence(300)]) * 0.05
    with pytest.raises(RecordingRejectedError, match=r"2\.0 s of speech"):
        prepare_style("neutral", [_recording(first)])
    prepared = prepare_style("neutral", [_recording(first), _recording(second)])
    _assert_as_promised(prepared)
    assert prepared.quality.recording_count == 2
    kept = _kept(prepared)
    split = 2 * RECORDING_RATE_HZ + RECORDING_RATE_HZ // 2
    loudness = [
        integrated_loudness_lufs(part, RECORDING_RATE_HZ) for part in np.split(kept, [split])
    ]
    assert loudness[0] == pytest.approx(loudness[1], abs=2)


def test_long_recordings_keep_their_best_stretch() -> None:
    known = speech(SENTENCES * 3, lead_ms=300, pause_ms=700)
    third = len(known.samples) // 3
    hiss = noise(len(known.samples), -45)
    hiss[-third - SAMPLE_RATE_HZ * 12 :] *= 0.01
    prepared = prepare_style("neutral", [_recording(known.samples + hiss)])
    _assert_as_promised(prepared)
    quality = prepared.quality
    assert 25_000 < quality.kept_ms <= 30_000
    assert "SHORTENED" in [warning.code for warning in quality.warnings]
    # The noise is only in what was left out.
    kept = _kept(prepared)
    frames = kept[: len(kept) // 480 * 480].reshape(-1, 480)
    assert 10 * np.log10(np.percentile(np.mean(frames**2, axis=1), 5)) < -60


def test_an_unbroken_flow_is_cut_where_it_is_quietest() -> None:
    flow = np.concatenate([sentence(text) for text in SENTENCES * 3])
    prepared = prepare_style("neutral", [_recording(flow)])
    _assert_as_promised(prepared)
    assert prepared.quality.kept_ms > 20_000


@pytest.mark.parametrize("quiet_s", [20, 28])
def test_such_a_cut_is_where_the_kept_part_begins_or_ends(quiet_s: int) -> None:
    flow = noise(49 * SAMPLE_RATE_HZ, -20).astype(np.float32)
    start, stop = (int(at_s * SAMPLE_RATE_HZ) for at_s in (quiet_s, quiet_s + 0.1))
    flow[start:stop] *= 0.001
    take = Take(flow, Speech((Span(0, len(flow)),), len(flow)))
    kept = excerpt_of([take], SAMPLE_RATE_HZ, longest_ms=30_000).samples
    border = len(kept) if quiet_s == 28 else len(flow) - len(kept)
    assert start <= border <= stop


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: np.where(np.arange(len(x)) == 9, np.nan, x), RejectionReason.NOT_FINITE),
        (lambda x: np.where(np.arange(len(x)) == 9, np.inf, x), RejectionReason.NOT_FINITE),
        (lambda x: x[:0], RejectionReason.TOO_SHORT),
        (lambda x: x * 0, RejectionReason.SILENT),
        (lambda x: x * 0 + 0.7, RejectionReason.SILENT),
        (lambda x: x * 0.001, RejectionReason.SILENT),
        (lambda x: (x * 40).clip(-1, 1), RejectionReason.CLIPPED),
        (lambda x: (x * 40).clip(-0.2, 0.2), RejectionReason.CLIPPED),
        (lambda x: x * 1e30, RejectionReason.CLIPPED),
        (lambda x: noise(len(x), -20), RejectionReason.NO_SPEECH),
        (lambda x: x[: 2 * SAMPLE_RATE_HZ], RejectionReason.TOO_SHORT),
    ],
    ids="nan infinite empty zeros offset faint overdriven flat huge noise short".split(),
)
def test_useless_recordings_are_refused_with_their_reason(
    make: Callable[[np.ndarray], np.ndarray], reason: RejectionReason
) -> None:
    with pytest.raises(RecordingRejectedError) as caught:
        prepare_style("cheerful", [_recording(make(_KNOWN.samples))])
    assert caught.value.reason is reason
    assert "cheerful" in caught.value.message
    assert caught.value.message.endswith(".")


_RATES_HZ = [4_000, 8_000, 11_025, 44_100, 192_000]


@pytest.mark.parametrize("rate_hz", _RATES_HZ)
def test_speech_is_kept_at_any_rate(rate_hz: int) -> None:
    spoken = soxr.resample(np.tile(_ONE, 2), SAMPLE_RATE_HZ, rate_hz)
    _assert_as_promised(prepare_style("neutral", [_recording(spoken, rate_hz)]))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate_hz=st.sampled_from(_RATES_HZ),
    channels=st.integers(1, 8),
    count=st.integers(1, 30_000),
    speech_gain=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    noise_db=st.sampled_from([-200.0, -60.0, -20.0, 20.0, 700.0]),
    offset=st.sampled_from([0.0, 0.5, -1e30]),
)
def test_any_finite_input_is_kept_within_bounds_or_refused(
    seed: int,
    rate_hz: int,
    channels: int,
    count: int,
    speech_gain: float,
    noise_db: float,
    offset: float,
) -> None:
    spoken = speech_gain * soxr.resample(np.tile(_ONE, 2), SAMPLE_RATE_HZ, rate_hz)
    sound = np.concatenate([noise(count, noise_db, seed=seed) + offset, spoken])
    samples = np.stack([np.roll(sound, seed % 997 * c) * (-1) ** c for c in range(channels)])
    try:
        prepared = prepare_style("neutral", [_recording(samples, rate_hz)])
    except RecordingRejectedError:
        return
    _assert_as_promised(prepared)


def _job(
    *styles: str, max_duration_s: float = 600, max_decoded_bytes: int = 1 << 28
) -> dict[str, Any]:
    return {
        "styles": list(styles),
        "max_duration_s": max_duration_s,
        "max_decoded_bytes": max_decoded_bytes,
    }


def _wav(samples: np.ndarray) -> io.BytesIO:
    return io.BytesIO(audio_file(AudioFileKind.WAV, samples, SAMPLE_RATE_HZ))


def test_an_upload_is_prepared_by_style() -> None:
    styles = ["neutral", "cheerful", "neutral"]
    files = [_wav(sentence(text)) for text in SENTENCES[:3]]
    report, blobs = prepare_upload(_job(*styles), list(files))
    neutral, cheerful = parse_prepared(report, blobs, styles)
    _assert_as_promised(neutral)
    _assert_as_promised(cheerful, "cheerful")
    assert (neutral.quality.recording_count, cheerful.quality.recording_count) == (2, 1)


@pytest.mark.parametrize(
    ("data", "limits", "reason", "told"),
    [
        (b"no audio at all", {}, RejectionReason.NOT_AUDIO, "The file is none of"),
        (
            None,
            {"max_duration_s": 5},
            RejectionReason.TOO_LONG,
            " s. All recordings share one limit, and those before it count.",
        ),
        (None, {"max_decoded_bytes": 200_000}, RejectionReason.TOO_LONG, "longer than 2."),
    ],
)
def test_files_that_cannot_be_decoded_are_refused(
    data: bytes | None, limits: dict[str, Any], reason: RejectionReason, told: str
) -> None:
    files = [_wav(_ONE), io.BytesIO(data) if data else _wav(_ONE)]
    with pytest.raises(RecordingRejectedError) as caught:
        prepare_upload(_job("neutral", "neutral", **limits), list(files))
    assert caught.value.reason is reason
    which = 1 if "max_decoded_bytes" in limits else 2
    assert caught.value.message.startswith(f"The neutral recording {which} of 2: ")
    assert told in caught.value.message
    assert ("share" in caught.value.message) == ("max_duration_s" in limits)


def test_one_that_is_alone_needs_no_name() -> None:
    with pytest.raises(RecordingRejectedError, match=r"^The file is none of"):
        prepare_upload(_job("neutral"), [io.BytesIO(b"no audio at all")])


async def test_an_upload_is_prepared_in_a_sandbox(tmp_path: Any) -> None:
    path = tmp_path / "upload.mp3"
    path.write_bytes(
        audio_file(AudioFileKind.MP3, _KNOWN.samples, SAMPLE_RATE_HZ, bitrate_bps=128_000)
    )
    limits = SandboxLimits(cpu_s=60, wall_s=60.0)
    where = "voice_store.preparation"
    async with await Sandbox.start(
        f"{where}:prepare_upload", limits, warm_up=f"{where}:warm_up"
    ) as sandbox:
        with path.open("rb") as file:
            result = await sandbox.run(_job("neutral"), [file])
    (prepared,) = parse_prepared(result.report, result.blobs, ["neutral"])
    _assert_as_promised(prepared)


def _answer() -> tuple[dict[str, Any], list[bytes]]:
    quality = {
        "style": "neutral",
        "recording_count": 1,
        "duration_ms": 5_000,
        "speech_ms": 3_500,
        "kept_ms": 4_000,
        "loudness_before_lufs": -25.0,
        "loudness_after_lufs": -20.0,
        "true_peak_dbtp": -3.0,
        "clipped_share": 0.0,
        "signal_to_noise_db": None,
        "bandwidth_hz": 12_000,
        "warnings": [{"code": "SHORT", "message": "Short."}],
    }
    return {"styles": [quality]}, [b"\x01\x00" * 4 * RECORDING_RATE_HZ]


def test_an_answer_is_read() -> None:
    report, blobs = _answer()
    (prepared,) = parse_prepared(report, blobs, ["neutral"])
    assert prepared.samples.dtype == np.int16
    assert prepared.samples.tolist() == [1] * 4 * RECORDING_RATE_HZ


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("style", "cheerful"),
        ("style", 7),
        ("recording_count", 2),
        ("kept_ms", 4_001),
        ("speech_ms", -1),
        ("duration_ms", 1.5),
        ("loudness_after_lufs", float("nan")),
        ("true_peak_dbtp", float("inf")),
        ("clipped_share", 1.1),
        ("bandwidth_hz", -1),
        ("bandwidth_hz", 1 << 31),
        ("duration_ms", 10**30),
        ("speech_ms", 10**30),
        ("signal_to_noise_db", "40"),
        ("warnings", [{"code": "SHORT", "message": "x" * 501}]),
        ("warnings", [{"code": "SHORT", "message": "\x1b[2J"}]),
        ("warnings", [{"code": "SHORT", "message": "Short."}] * 17),
        ("path", "/etc/passwd"),
    ],
)
def test_a_forged_report_is_not_believed(field: str, value: object) -> None:
    report, blobs = _answer()
    report["styles"][0][field] = value
    with pytest.raises(InvalidRecordError):
        parse_prepared(report, blobs, ["neutral"])


@pytest.mark.parametrize(
    "change",
    [
        lambda report, blobs: (report, []),
        lambda report, blobs: (report, [b""]),
        lambda report, blobs: (report, [blobs[0] + b"\x00"]),
        lambda report, blobs: (report, [blobs[0] * 8]),
        lambda report, blobs: (report, blobs * 2),
        lambda report, blobs: ({}, blobs),
        lambda report, blobs: ({**report, "more": 1}, blobs),
        lambda report, blobs: ({"styles": report["styles"] * 2}, blobs * 2),
        lambda report, blobs: ({"styles": "neutral"}, blobs),
    ],
)
def test_a_forged_answer_is_not_believed(change: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRecordError):
        parse_prepared(*change(*_answer()), ["neutral"])
