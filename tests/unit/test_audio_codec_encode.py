"""The encoder as a stream: lengths, tiling, threads, ends and failures."""

import gc
import io
import os
import struct
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio_codec import (
    FORMATS,
    AudioFormat,
    EncodedFrame,
    Encoding,
    FormatError,
    LengthMismatchError,
    StreamClosedError,
    StreamEncoder,
    resolve_format,
)

SOURCE_HZ = 22050


def tone(sample_count: int, pitch_hz: float = 440.0) -> NDArray[np.float32]:
    times = np.arange(sample_count) / SOURCE_HZ
    return (0.4 * np.sin(2 * np.pi * pitch_hz * times)).astype(np.float32)


def open_encoder(encoding: Encoding, **wanted: int) -> StreamEncoder:
    audio_format = resolve_format(encoding, source_rate_hz=SOURCE_HZ, **wanted)
    return StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ)


def encode(encoding: Encoding, samples: NDArray[np.float32]) -> list[EncodedFrame]:
    with open_encoder(encoding) as encoder:
        return encoder.encode(samples) + encoder.finish()


@settings(deadline=None, max_examples=100)
@given(
    encoding=st.sampled_from(Encoding),
    sample_count=st.integers(0, 9000),
    cut=st.integers(0, 9000),
    data=st.data(),
)
def test_frames_tile_the_stream(
    encoding: Encoding, sample_count: int, cut: int, data: st.DataObject
) -> None:
    rate = data.draw(st.sampled_from(FORMATS[encoding].sample_rates_hz or (8000, 22050, 31415)))
    frame_ms = data.draw(st.sampled_from([0, 10, 40]))
    samples = tone(sample_count)
    with open_encoder(encoding, sample_rate_hz=rate, frame_ms=frame_ms) as encoder:
        frames = encoder.encode(samples[:cut]) + encoder.encode(samples[cut:])
        frames += encoder.finish()
    assert encoder.sample_count == int(sample_count * rate / SOURCE_HZ + 0.5)
    position = 0
    for frame in frames:
        assert frame.start_sample == position
        assert frame.sample_count >= 0
        assert frame.data
        position += frame.sample_count
    assert position == encoder.sample_count


@pytest.mark.parametrize("encoding", [Encoding.PCM_S16LE, Encoding.MULAW, Encoding.OGG_OPUS])
def test_long_input_comes_out_in_short_frames(encoding: Encoding) -> None:
    with open_encoder(encoding, frame_ms=20) as encoder:
        frames = encoder.encode(tone(3 * SOURCE_HZ))
    assert 140 <= len(frames) <= 150


@pytest.mark.parametrize("encoding", Encoding)
def test_an_empty_stream_ends_well(encoding: Encoding) -> None:
    frames = encode(encoding, tone(0))
    assert sum(frame.sample_count for frame in frames) == 0
    data = b"".join(frame.data for frame in frames)
    if encoding is Encoding.WAV:
        assert len(data) == 44
    if encoding is Encoding.OGG_OPUS:
        assert data.count(b"OggS") == 3


def test_an_empty_wav_is_a_wav() -> None:
    audio_format = resolve_format(Encoding.WAV, source_rate_hz=SOURCE_HZ)
    encoder = StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ, source_sample_count=0)
    (frame,) = encoder.finish()
    with wave.open(io.BytesIO(frame.data)) as reader:
        assert reader.getparams()[:4] == (1, 2, SOURCE_HZ, 0)


@pytest.mark.parametrize("sample_count", [1, 575, 576, 577, 1105, 5000, 50715])
def test_mp3_holds_the_whole_tail(sample_count: int) -> None:
    """576 samples a frame at 22.05 kHz must reach past the delay of 1105 and the stream."""
    data = b"".join(frame.data for frame in encode(Encoding.MP3, tone(sample_count)))
    # 64 kb/s at 22.05 kHz: 208 bytes and a padding byte now and then.
    assert len(data) // 208 * 576 >= sample_count + 1105


def test_sixteen_bit_samples_come_back_as_they_were() -> None:
    wanted = np.arange(-32768, 32768).astype("<i2")
    frames = encode(Encoding.PCM_S16LE, (wanted / 32768.0).astype(np.float32))
    assert b"".join(frame.data for frame in frames) == wanted.tobytes()


def test_too_loud_saturates_and_nonsense_is_silence() -> None:
    samples = np.array([1.0, 2.0, np.inf, -1.0, -7.0, -np.inf, np.nan, 0.5], np.float32)
    frames = encode(Encoding.PCM_S16LE, samples)
    heard = np.frombuffer(b"".join(frame.data for frame in frames), "<i2")
    assert heard.tolist() == [32767, 32767, 32767, -32768, -32768, -32768, 0, 16384]


def test_the_largest_numbers_saturate_whatever_the_rate() -> None:
    samples = np.zeros(4800, np.float32)
    samples[2400:2500] = np.finfo(np.float32).max
    audio_format = resolve_format(
        Encoding.PCM_S16LE, source_rate_hz=SOURCE_HZ, sample_rate_hz=16_000
    )
    with StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ) as encoder:
        frames = encoder.encode(samples) + encoder.finish()
    heard = np.frombuffer(b"".join(frame.data for frame in frames), "<i2")
    at = 2450 * 16_000 // SOURCE_HZ
    assert heard[at - 10 : at + 10].tolist() == [32767] * 20


def test_wav_sizes_are_true_when_the_length_was_promised() -> None:
    audio_format = resolve_format(Encoding.WAV, source_rate_hz=SOURCE_HZ, sample_rate_hz=16000)
    encoder = StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ, source_sample_count=4411)
    frames = encoder.encode(tone(4411)) + encoder.finish()
    data = b"".join(frame.data for frame in frames)
    assert struct.unpack_from("<I", data, 40)[0] == len(data) - 44 == 2 * encoder.sample_count


@pytest.mark.parametrize("actual", [0, 999, 1001])
@pytest.mark.parametrize("encoding", [Encoding.WAV, Encoding.MP3])
def test_a_broken_promise_is_an_error(encoding: Encoding, actual: int) -> None:
    audio_format = resolve_format(encoding, source_rate_hz=SOURCE_HZ)
    encoder = StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ, source_sample_count=1000)
    encoder.encode(tone(actual))
    with pytest.raises(LengthMismatchError) as caught:
        encoder.finish()
    assert caught.value.promised_sample_count == 1000
    assert caught.value.actual_sample_count == actual


@pytest.mark.parametrize("encoding", Encoding)
def test_nothing_goes_on_after_the_end(encoding: Encoding) -> None:
    encoder = open_encoder(encoding)
    encoder.encode(tone(3000))
    encoder.finish()
    for use in (lambda: encoder.encode(tone(1)), encoder.finish):
        with pytest.raises(StreamClosedError):
            use()
    encoder.close()

    abandoned = open_encoder(encoding)
    abandoned.close()
    with pytest.raises(StreamClosedError):
        abandoned.encode(tone(1))


def test_only_one_channel_is_taken() -> None:
    with open_encoder(Encoding.WAV) as encoder, pytest.raises(ValueError, match="one channel"):
        encoder.encode(np.zeros((2, 10), np.float32))


@pytest.mark.parametrize(
    ("audio_format", "field"),
    [
        (AudioFormat(Encoding.MP3, 24000, 65000, 24), "bitrate_bps"),
        (AudioFormat(Encoding.MP3, 24000, 0, 24), "bitrate_bps"),
        (AudioFormat(Encoding.OGG_OPUS, 22050, 32000, 20), "sample_rate_hz"),
        (AudioFormat(Encoding.OGG_OPUS, 24000, 32000, 100), "frame_ms"),
        (AudioFormat(Encoding.WAV, 24000, 0, 0), "frame_ms"),
    ],
)
def test_a_format_that_was_not_resolved_is_refused(audio_format: AudioFormat, field: str) -> None:
    with pytest.raises(FormatError) as caught:
        StreamEncoder(audio_format, source_rate_hz=SOURCE_HZ)
    assert caught.value.field == field


@pytest.mark.parametrize("encoding", Encoding)
def test_eight_threads_make_the_bytes_of_one(encoding: Encoding) -> None:
    pitches = [200.0 + 50 * number for number in range(8)]

    def work(pitch_hz: float) -> list[EncodedFrame]:
        with open_encoder(encoding) as encoder:
            samples = tone(SOURCE_HZ // 2, pitch_hz)
            frames = []
            for start in range(0, len(samples), 441):
                frames += encoder.encode(samples[start : start + 441])
            return frames + encoder.finish()

    alone = [work(pitch_hz) for pitch_hz in pitches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, pitches))
    assert together == alone
    assert len({frame.data for frames in alone for frame in frames[1:2]}) == 8


@pytest.mark.parametrize("encoding", Encoding)
def test_an_encoder_closed_midway_leaves_nothing(encoding: Encoding) -> None:
    def abandon() -> None:
        encoder = open_encoder(encoding)
        encoder.encode(tone(3000))
        encoder.close()
        encoder.close()

    abandon()
    gc.collect()
    files, objects = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for _ in range(20):
        abandon()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    # Twenty encoders that stayed would be hundreds of objects.
    assert len(gc.get_objects()) - objects < 20


@pytest.mark.parametrize(
    ("encoding", "rate", "bitrate"),
    [
        (encoding, rate, bitrate)
        for encoding, spec in FORMATS.items()
        for rate, bitrates in spec.bitrates_by_rate.items()
        for bitrate in bitrates.values_bps or (bitrates.min_bps, bitrates.max_bps)
    ],
)
def test_every_bitrate_that_is_offered_is_delivered(
    encoding: Encoding, rate: int, bitrate: int
) -> None:
    noise = np.random.default_rng(3).standard_normal(SOURCE_HZ).astype(np.float32) * 0.2
    with open_encoder(encoding, sample_rate_hz=rate, bitrate_bps=bitrate) as encoder:
        frames = encoder.encode(noise) + encoder.finish()
    if encoding is Encoding.MP3:
        # Constant: a frame has this length or one byte more (ISO 11172-3, 2.4.3.1).
        frame_bytes = (1152 if rate >= 32000 else 576) * bitrate // rate // 8
        data = b"".join(frame.data for frame in frames)
        assert len(data) % frame_bytes <= len(data) // frame_bytes
        seconds = (len(noise) / SOURCE_HZ) + 1105 / rate
        assert len(data) * 8 / bitrate == pytest.approx(seconds, abs=2 * 1152 / rate)
    if encoding is Encoding.AAC_ADTS:
        # A frame that overflows a decoder's buffer may not be played.
        assert max(len(frame.data) for frame in frames[:-1]) <= 6144 // 8 + 7
