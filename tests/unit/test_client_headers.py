"""Lengths in the headers of files that were streamed."""

import io

import numpy as np
import pytest
import soundfile

from audio_codec import Encoding, StreamEncoder, resolve_format
from tts_client.headers import complete_header

_SAMPLES = 12_345


def _streamed(encoding: Encoding) -> bytes:
    audio_format = resolve_format(encoding, source_rate_hz=24_000)
    with StreamEncoder(audio_format, source_rate_hz=24_000) as encoder:
        frames = encoder.encode(np.full(_SAMPLES, 0.1, np.float32)) + encoder.finish()
    return b"".join(frame.data for frame in frames)


@pytest.mark.parametrize("encoding", [Encoding.WAV, Encoding.FLAC])
def test_a_whole_file_knows_its_length(encoding: Encoding) -> None:
    streamed = _streamed(encoding)
    file = io.BytesIO(streamed)
    complete_header(file, _SAMPLES)
    completed = file.getvalue()
    assert completed != streamed
    assert len(completed) == len(streamed)
    assert soundfile.info(io.BytesIO(completed)).frames == _SAMPLES
    samples, _ = soundfile.read(io.BytesIO(completed))
    assert len(samples) == _SAMPLES
    complete_header(file, _SAMPLES)
    assert file.getvalue() == completed


@pytest.mark.parametrize("data", [b"", b"RIFF", b"fLaC", b"fLaC" + bytes(22), b"ID3" * 30])
def test_other_files_stay_as_they_are(data: bytes) -> None:
    file = io.BytesIO(data)
    complete_header(file, 99)
    assert file.getvalue() == data


def test_mp3_stays_as_it_is() -> None:
    streamed = _streamed(Encoding.MP3)
    file = io.BytesIO(streamed)
    complete_header(file, _SAMPLES)
    assert file.getvalue() == streamed
