"""From recordings to what is kept of them: mono, 24 kHz, trimmed, levelled.

    prepared = prepare_style("neutral", [Recording(samples, sample_rate_hz)])

Each recording is mixed to one channel, measured and resampled; its speech is found, and cut out
with short pauses. Recordings of one style are brought to equal loudness and joined. At most 30 s
are kept, at -20 LUFS and no higher than -1 dBTP.

`prepare_upload` does it for files of strangers and is meant for a sandbox, which calls `warm_up`
first; `parse_prepared` in `prepared.py` reads its answer on the trusted side.
"""

import io
import wave
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from audio_codec import DecodeError, DecodeFailure, DecodeLimits, decode_audio

from .errors import RecordingRejectedError, RejectionReason
from .examination import EVEN_LUFS, Examined, examined, measured
from .excerpt import Take, excerpt_of
from .loudness import integrated_loudness_lufs, levelled
from .quality import Findings, signal_to_noise_db, warnings_about
from .recording import Recording, mixed_down
from .records import RECORDING_RATE_HZ, PreparedRecording, StyleQuality
from .speech import Span, Speech

__all__ = ["prepare_style", "prepare_upload", "warm_up"]

_TARGET_LUFS = EVEN_LUFS
_CEILING_DBTP = -1.0
_LEAST_SPEECH_MS = 3_000
_LONGEST_KEPT_MS = 30_000

_REASONS = {
    DecodeFailure.NOT_AUDIO: RejectionReason.NOT_AUDIO,
    DecodeFailure.UNSUPPORTED: RejectionReason.NOT_AUDIO,
    DecodeFailure.DAMAGED: RejectionReason.NOT_AUDIO,
    DecodeFailure.TOO_LONG: RejectionReason.TOO_LONG,
    DecodeFailure.NOT_FINITE: RejectionReason.NOT_FINITE,
}


def prepare_style(style: str, recordings: Sequence[Recording]) -> PreparedRecording:
    """Makes one recording of all recordings of a style.

    Raises:
        RecordingRejectedError: NOT_FINITE, SILENT, CLIPPED or NO_SPEECH for one of the
            recordings, or TOO_SHORT for all of them together.
    """
    if not recordings:
        raise ValueError("a style needs a recording")
    names = _names(style, len(recordings))
    return _prepared(style, [examined(r, name) for r, name in zip(recordings, names, strict=True)])


def prepare_upload(
    job: dict[str, Any], files: list[BinaryIO]
) -> tuple[dict[str, Any], list[bytes]]:
    """Decodes and prepares all files of an upload.

    Args:
        job: `styles`: the style of each file. `max_duration_s`: of all files together.
            `max_decoded_bytes`: of one file, see `DecodeLimits`.
        files: readable and seekable.

    Returns:
        `{"styles": [...]}` with `StyleQuality` documents in the order in which the styles first
        occur, and as many blobs of 16-bit little-endian samples, mono at `RECORDING_RATE_HZ`.

    Raises:
        RecordingRejectedError: a file can't be used.
    """
    styles: list[str] = job["styles"]
    remaining_s = float(job["max_duration_s"])
    names = {style: iter(_names(style, styles.count(style))) for style in styles}
    parts: dict[str, list[Examined]] = {}
    # One after another, so that only one is in memory as it was decoded.
    for style, file in zip(styles, files, strict=True):
        name = next(names[style])
        limits = DecodeLimits(max(0.0, remaining_s), job["max_decoded_bytes"])
        recording = _decoded(file, limits, name if len(files) > 1 else "", is_first=not parts)
        remaining_s -= recording.samples.shape[1] / recording.sample_rate_hz
        parts.setdefault(style, []).append(examined(recording, name))
    prepared = [_prepared(style, own) for style, own in parts.items()]
    report = {"styles": [recording.quality.to_json() for recording in prepared]}
    return report, [recording.samples.astype("<i2").tobytes() for recording in prepared]


def warm_up() -> None:
    """Does all of the work once: a sandbox can import nothing more once it has a job.

    NumPy and PyAV import parts of themselves on first use.
    """
    rate_hz = RECORDING_RATE_HZ
    beep = np.zeros(6 * rate_hz)
    beep[rate_hz : 5 * rate_hz] = np.sin(np.arange(4 * rate_hz) / 10)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 2 * rate_hz, 0, "NONE", ""))
        writer.writeframes((beep * 32767).astype("<i2").tobytes())
    recording = _decoded(file, DecodeLimits(), "", is_first=True)
    found = measured(recording, mixed_down(recording.samples))
    # It is no speech; and a peak for the limiter.
    samples = found.take.samples
    samples[2 * rate_hz] = 10.0
    speech = Speech((Span(rate_hz, 5 * rate_hz),), 4 * rate_hz)
    _prepared("", [replace(found, take=Take(samples, speech))])


def _names(style: str, count: int) -> list[str]:
    """How messages call the recordings of a style."""
    if count == 1:
        return [f"The {style} recording"]
    return [f"The {style} recording {number} of {count}" for number in range(1, count + 1)]


def _decoded(file: BinaryIO, limits: DecodeLimits, name: str, *, is_first: bool) -> Recording:
    try:
        audio = decode_audio(file, limits)
    except DecodeError as error:
        message = f"{name}: {error.message}" if name else error.message
        if error.reason is DecodeFailure.TOO_LONG and not is_first:
            message += " All recordings share one limit, and those before it count."
        raise RecordingRejectedError(_REASONS[error.reason], message) from error
    return Recording(audio.samples, audio.sample_rate_hz)


def _prepared(style: str, parts: Sequence[Examined]) -> PreparedRecording:
    takes = [part.take for part in parts]
    rate_hz = RECORDING_RATE_HZ
    speech_ms = sum(take.speech.sample_count for take in takes) * 1000 // rate_hz
    if speech_ms < _LEAST_SPEECH_MS:
        raise RecordingRejectedError(
            RejectionReason.TOO_SHORT,
            f"The style {style} has {speech_ms / 1000:.1f} s of speech, and "
            f"{_LEAST_SPEECH_MS / 1000:.0f} s are needed.",
        )
    excerpt = excerpt_of(takes, rate_hz, longest_ms=_LONGEST_KEPT_MS)
    kept = levelled(excerpt.samples, rate_hz, target_lufs=_TARGET_LUFS, ceiling_dbtp=_CEILING_DBTP)
    quantised = np.rint(kept.samples * 32768).clip(-32768, 32767).astype(np.int16)

    findings = Findings(
        speech_ms=speech_ms,
        kept_ms=len(quantised) * 1000 // rate_hz,
        shortened=excerpt.shortened,
        loudness_lufs=integrated_loudness_lufs(
            np.concatenate([part.as_recorded() for part in parts]), rate_hz
        ),
        clipped_speech_share=max(part.clipped_speech_share for part in parts),
        signal_to_noise_db=signal_to_noise_db(
            [(take.samples, take.speech.phrases) for take in takes], rate_hz
        ),
        bandwidth_hz=min(part.bandwidth_hz for part in parts),
        limited_db=kept.limited_db,
    )
    after = quantised.astype(np.float32) / np.float32(32768)
    quality = StyleQuality(
        style=style,
        recording_count=len(parts),
        duration_ms=sum(part.duration_ms for part in parts),
        speech_ms=speech_ms,
        kept_ms=findings.kept_ms,
        loudness_before_lufs=findings.loudness_lufs,
        loudness_after_lufs=integrated_loudness_lufs(after, rate_hz),
        true_peak_dbtp=max(part.true_peak_dbtp for part in parts),
        clipped_share=sum(part.clipped_count for part in parts)
        / sum(part.sample_count for part in parts),
        signal_to_noise_db=findings.signal_to_noise_db,
        bandwidth_hz=findings.bandwidth_hz,
        warnings=warnings_about(findings),
    )
    return PreparedRecording(style, quantised, quality)
