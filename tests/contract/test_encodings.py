"""Every encoding at every usual rate, read back by tools that nobody here wrote."""

import io
import struct
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from audio_codec import (
    FORMATS,
    AudioFormat,
    EncodedFrame,
    Encoding,
    StreamEncoder,
    StreamResampler,
    resolve_format,
)

if TYPE_CHECKING:
    from tests.contract.conftest import Tools

pytestmark = pytest.mark.external

SOURCE_HZ = 22050
SOURCE_COUNT = int(2.3 * SOURCE_HZ) | 1
BURST_MS = 30
STEP = SOURCE_HZ // 200  # 5 ms
RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)
CASES = [
    (encoding, rate)
    for encoding, spec in FORMATS.items()
    for rate in RATES_HZ
    if rate in (spec.sample_rates_hz or RATES_HZ)
]
FILES = [case for case in CASES if case[0] is not Encoding.OPUS_PACKETS]
OPUS = (Encoding.OGG_OPUS, Encoding.OPUS_PACKETS, Encoding.WEBM_OPUS)
LOSSLESS = (Encoding.PCM_S16LE, Encoding.WAV, Encoding.FLAC)

# Samples that a decoder puts out before the true ones, where the file cannot tell it so:
# LAME's 576 and the decoder's 529, and one frame of AAC.
DELAY_SAMPLES = {Encoding.MP3: 1105, Encoding.AAC_ADTS: 1024}

# Codecs that cannot keep to 120 ms. Each of their frames leaves when the next one is full,
# so that almost two are waited for; 32 ms more wait in the resampler at 8 kHz, 26 at 16.
WAIT_LIMIT_MS = {
    (Encoding.MP3, 8000): 2 * 576 / 8 + 32,
    (Encoding.AAC_ADTS, 8000): 2 * 1024 / 8 + 32,
    (Encoding.AAC_ADTS, 16000): 2 * 1024 / 16 + 26,
}

# What survives of the tones, in dB. 13-bit companding, and what bitrates of 24 to 128 kb/s
# leave of a signal with a steady tone, a sweep and a burst.
LEAST_SNR_DB = {
    Encoding.MULAW: 30,
    Encoding.ALAW: 30,
    Encoding.MP3: 15,
    Encoding.AAC_ADTS: 15,
    Encoding.OGG_OPUS: 8,
    Encoding.OPUS_PACKETS: 8,
    Encoding.WEBM_OPUS: 8,
}


@dataclass(frozen=True)
class Stream:
    """One encoded stream and how it came out of the encoder."""

    format: AudioFormat
    frames: list[EncodedFrame]
    first_frame_ms: float
    longest_wait_ms: float
    sample_count: int

    @property
    def data(self) -> bytes:
        return b"".join(frame.data for frame in self.frames)


def make_signal() -> NDArray[np.float32]:
    """A sweep over a tone, a short pause, and a burst at the very end."""
    times = np.arange(SOURCE_COUNT) / SOURCE_HZ
    signal = 0.25 * np.sin(2 * np.pi * (200 * times + 500 * times**2))
    signal += 0.25 * np.sin(2 * np.pi * 440 * times)
    burst = BURST_MS * SOURCE_HZ // 1000
    signal[-2 * burst :] = 0
    signal[-burst:] = 0.5 * np.sin(2 * np.pi * 1300 * times[:burst])
    return signal.astype(np.float32)


SIGNAL = make_signal()


def encode(
    encoding: Encoding,
    rate: int,
    *,
    step: int = STEP,
    frame_ms: int = 0,
    known_length: bool = True,
) -> Stream:
    audio_format = resolve_format(
        encoding, source_rate_hz=SOURCE_HZ, sample_rate_hz=rate, frame_ms=frame_ms
    )
    frames: list[EncodedFrame] = []
    first_ms, longest_ms = float("inf"), 0.0
    with StreamEncoder(
        audio_format,
        source_rate_hz=SOURCE_HZ,
        source_sample_count=SOURCE_COUNT if known_length else None,
    ) as encoder:
        for start in range(0, SOURCE_COUNT, step):
            frames += encoder.encode(SIGNAL[start : start + step])
            fed_ms = 1000 * min(start + step, SOURCE_COUNT) / SOURCE_HZ
            covered = frames[-1].start_sample + frames[-1].sample_count if frames else 0
            if frames:
                first_ms = min(first_ms, fed_ms)
            longest_ms = max(longest_ms, fed_ms - 1000 * covered / rate)
        frames += encoder.finish()
        return Stream(audio_format, frames, first_ms, longest_ms, encoder.sample_count)


def reference(rate: int) -> NDArray[np.float32]:
    resampler = StreamResampler(SOURCE_HZ, rate)
    return np.concatenate([resampler.process(SIGNAL), resampler.flush()])


def decode(stream: Stream, tools: "Tools", *, strict: bool = True) -> NDArray[np.float64]:
    """All samples at the stream's rate, the codec's own delay included."""
    encoding, rate = stream.format.encoding, stream.format.sample_rate_hz
    raw = {Encoding.PCM_S16LE: "s16le", Encoding.MULAW: "mulaw", Encoding.ALAW: "alaw"}
    options = ["-f", raw[encoding], "-ar", str(rate), "-ac", "1"] if encoding in raw else []
    suffix = FORMATS[encoding].file_suffixes[0]
    # Opus decodes at 48 kHz; the way back to the stream's rate would blur the ends.
    decoded_rate = 48000 if encoding in OPUS else rate
    return tools.decode(stream.data, suffix, decoded_rate, input_options=options, strict=strict)


@pytest.fixture(scope="module", params=FILES, ids=lambda case: f"{case[0]}-{case[1]}")
def stream(request: pytest.FixtureRequest) -> Stream:
    return encode(*request.param)


def test_it_decodes_whole_and_sounds_the_same(stream: Stream, tools: "Tools") -> None:
    encoding, rate = stream.format.encoding, stream.format.sample_rate_hz
    decoded = decode(stream, tools)
    decoded_rate = 48000 if encoding in OPUS else rate
    wanted = reference(decoded_rate)
    delay = DELAY_SAMPLES.get(encoding, 0)
    codec_frame = {Encoding.MP3: 1152 if rate >= 32000 else 576, Encoding.AAC_ADTS: 1024}
    assert stream.sample_count == len(reference(rate))
    padding = len(decoded) - delay - len(wanted)
    # 48 kHz samples of a stream whose last sample is at a lower rate.
    rounding = decoded_rate // rate
    assert -rounding <= padding <= codec_frame.get(encoding, rounding)

    heard = decoded[delay:][: len(wanted)]
    wanted = wanted[: len(heard)]
    if encoding in LOSSLESS:
        exact = np.clip(np.rint(wanted * 32768.0), -32768, 32767) / 32768.0
        assert np.array_equal(heard, exact)
    else:
        noise = np.sum((heard - wanted) ** 2)
        assert 10 * np.log10(np.sum(wanted**2) / noise) >= LEAST_SNR_DB[encoding]
    burst = slice(-BURST_MS * decoded_rate // 1000, None)
    assert np.corrcoef(heard[burst], wanted[burst])[0, 1] > 0.9


def test_its_own_checker_accepts_it(stream: Stream, tools: "Tools") -> None:
    path = tools.file(stream.data, FORMATS[stream.format.encoding].file_suffixes[0])
    match stream.format.encoding:
        case Encoding.OGG_OPUS:
            result = tools.run("opusinfo", path)
            report = (result.stdout + result.stderr).decode()
            assert result.returncode == 0
            assert "WARNING" not in report
            assert "Playback length" in report
        case Encoding.FLAC:
            result = tools.run("flac", "--test", "--silent", path)
            # There can be no checksum of the whole in front of a stream.
            complaint = result.stderr.decode().replace(
                "WARNING, cannot check MD5 signature since it was unset in the STREAMINFO", ""
            )
            assert "ERROR" not in complaint
            assert "WARNING" not in complaint
            assert result.returncode == 0
        case Encoding.MP3:
            result = tools.run("mp3val", path)
            warnings = [line for line in result.stdout.splitlines() if b"WARNING" in line]
            # A stream without tags is what is wanted.
            assert [line for line in warnings if b"No supported tags" not in line] == []
            assert b"MPEG frames" in result.stdout
            assert tools.run("mpg123", "--quiet", "--test", path).stderr == b""
        case Encoding.WAV:
            with wave.open(path) as reader:
                assert reader.getnframes() == stream.sample_count
            assert soundfile.info(path).frames == stream.sample_count
            assert tools.run("sox", path, "-n", "stat").returncode == 0
        case _:
            # No checker of their own: ffmpeg must find no damage where it looks hardest.
            if stream.format.encoding in (Encoding.AAC_ADTS, Encoding.WEBM_OPUS):
                result = tools.run(
                    *("ffmpeg", "-nostdin", "-v", "error", "-err_detect", "explode"),
                    *("-i", path, "-f", "null", "-"),
                )
                assert result.returncode == 0
                assert result.stderr == b""


def test_it_has_one_header(stream: Stream) -> None:
    data = stream.data
    match stream.format.encoding:
        case Encoding.WAV:
            assert data.startswith(b"RIFF")
            assert data.count(b"RIFF") == data.count(b"WAVEfmt ") == 1
            assert len(data) == 44 + 2 * stream.sample_count
            assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
            assert struct.unpack_from("<I", data, 40)[0] == len(data) - 44
        case Encoding.FLAC:
            assert data.startswith(b"fLaC")
            assert data.count(b"fLaC") == 1
            # No padding block: the first frame comes soon.
            assert len(stream.frames[0].data) < 2000
        case Encoding.OGG_OPUS:
            pages = ogg_pages(data)
            assert [page.flags & 2 for page in pages] == [2] + [0] * (len(pages) - 1)
            assert [page.flags & 4 for page in pages] == [0] * (len(pages) - 1) + [4]
            assert [page.sequence for page in pages] == list(range(len(pages)))
            assert data.count(b"OpusHead") == data.count(b"OpusTags") == 1
        case Encoding.WEBM_OPUS:
            assert data.startswith(b"\x1a\x45\xdf\xa3")
            assert data.count(b"\x1a\x45\xdf\xa3") == data.count(b"OpusHead") == 1
        case Encoding.MP3:
            assert data[0] == 0xFF
            assert not any(tag in data for tag in (b"Xing", b"Info", b"ID3", b"TAG"))
        case Encoding.AAC_ADTS:
            assert data[:2] == b"\xff\xf1"
        case encoding:
            # Nothing but samples.
            assert len(data) == stream.sample_count * (2 if encoding is Encoding.PCM_S16LE else 1)


def test_frames_tile_the_stream(stream: Stream) -> None:
    position = 0
    for frame in stream.frames:
        assert frame.start_sample == position
        assert frame.data
        position += frame.sample_count
    assert position == stream.sample_count


def test_nothing_waits_long(stream: Stream) -> None:
    encoding, rate = stream.format.encoding, stream.format.sample_rate_hz
    limit_ms = WAIT_LIMIT_MS.get((encoding, rate), 120)
    assert stream.longest_wait_ms <= limit_ms
    if encoding in (Encoding.MP3, Encoding.AAC_ADTS):
        # The first frame needs a second one in the codec.
        assert stream.first_frame_ms <= limit_ms + 5
    elif encoding is Encoding.WEBM_OPUS:
        # Two packets more in libavformat, of 20 ms each.
        assert stream.first_frame_ms <= 80
    else:
        assert stream.first_frame_ms <= 40


def test_a_frame_really_completes_what_it_claims(stream: Stream, tools: "Tools") -> None:
    """A decoder that has only the first frames puts out what they promise."""
    encoding = stream.format.encoding
    half = stream.frames[: len(stream.frames) // 2]
    cut = Stream(stream.format, half, 0, 0, half[-1].start_sample + half[-1].sample_count)
    decoded = decode(cut, tools, strict=False)
    decoded_rate = 48000 if encoding in OPUS else stream.format.sample_rate_hz
    assert len(decoded) >= cut.sample_count * decoded_rate // stream.format.sample_rate_hz


@pytest.mark.parametrize(("encoding", "rate"), CASES)
def test_bytes_do_not_depend_on_the_chunks(encoding: Encoding, rate: int) -> None:
    wanted = encode(encoding, rate).frames
    assert encode(encoding, rate, step=SOURCE_COUNT).frames == wanted
    assert encode(encoding, rate, step=997).frames == wanted


@pytest.mark.parametrize("frame_ms", [10, 50, 100])
@pytest.mark.parametrize(("encoding", "rate"), [case for case in FILES if case[1] in (8000, 24000)])
def test_other_frame_lengths(encoding: Encoding, rate: int, frame_ms: int, tools: "Tools") -> None:
    stream = encode(encoding, rate, frame_ms=frame_ms)
    assert stream.longest_wait_ms <= WAIT_LIMIT_MS.get((encoding, rate), 120)
    own_ms = [1000 * frame.sample_count / rate for frame in stream.frames[1:-1]]
    assert max(own_ms) == pytest.approx(stream.format.frame_ms, abs=0.5)
    delay = DELAY_SAMPLES.get(encoding, 0)
    decoded_rate = 48000 if encoding in OPUS else rate
    wanted = (stream.sample_count + delay) * decoded_rate // rate
    assert wanted <= len(decode(stream, tools)) <= wanted + 1152


@pytest.mark.parametrize("rate", RATES_HZ)
def test_wav_of_unknown_length(rate: int, tools: "Tools") -> None:
    stream = encode(Encoding.WAV, rate, known_length=False)
    riff_bytes, data_bytes = (struct.unpack_from("<I", stream.data, at)[0] for at in (4, 40))
    assert riff_bytes == data_bytes + 36
    wanted = np.frombuffer(stream.data[44:], "<i2")
    with wave.open(io.BytesIO(stream.data)) as reader:
        assert reader.readframes(reader.getnframes()) == stream.data[44:]
    samples, read_rate = soundfile.read(io.BytesIO(stream.data), dtype="int16")
    assert read_rate == rate
    assert np.array_equal(samples, wanted)
    # ffmpeg reads on to the end, and only a warning tells that it came early.
    assert np.array_equal(decode(stream, tools, strict=False) * 32768, wanted)
    path = tools.file(stream.data, "wav")
    sox = tools.run("sox", path, "-t", "raw", "-")
    assert sox.stdout == stream.data[44:]
    assert sox.stderr == b""


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_bare_opus_packets(rate: int, frame_ms: int) -> None:
    stream = encode(Encoding.OPUS_PACKETS, rate, frame_ms=frame_ms)
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = 48000
    decoder.layout = "mono"
    played = []
    for frame in stream.frames:
        (decoded,) = decoder.decode(av.Packet(frame.data))
        assert decoded.samples == 48 * frame_ms
        played.append(decoded.to_ndarray().astype(np.float64).ravel() / 32768.0)
    assert all(frame.start_sample % (rate * frame_ms // 1000) == 0 for frame in stream.frames[:-1])
    assert stream.frames[0].sample_count == rate * frame_ms // 1000
    pre_skip = 312
    wanted = reference(48000)
    heard = np.concatenate(played)[pre_skip:][: len(wanted)]
    assert len(heard) == len(wanted)
    noise = np.sum((heard - wanted) ** 2)
    assert 10 * np.log10(np.sum(wanted**2) / noise) >= LEAST_SNR_DB[Encoding.OPUS_PACKETS]
    burst = slice(-BURST_MS * 48, None)
    assert np.corrcoef(heard[burst], wanted[burst])[0, 1] > 0.9


@dataclass(frozen=True)
class Page:
    flags: int
    granule: int
    sequence: int


def ogg_pages(data: bytes) -> list[Page]:
    """Walks from page to page (RFC 3533, section 6)."""
    pages = []
    at = 0
    while at < len(data):
        magic, _, flags, granule, _, sequence, _, segments = struct.unpack_from(
            "<4sBBqIIIB", data, at
        )
        assert magic == b"OggS"
        pages.append(Page(flags, granule, sequence))
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    assert at == len(data)
    return pages


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60, 100])
@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_ogg_pages_are_short(rate: int, frame_ms: int) -> None:
    stream = encode(Encoding.OGG_OPUS, rate, frame_ms=frame_ms)
    granules = [page.granule for page in ogg_pages(stream.data)[1:]]
    assert granules[0] == 0
    lengths_ms = np.diff(granules) / 48
    assert lengths_ms[0] == 20  # nobody waits for a longer first page
    assert np.all(lengths_ms[1:-1] == stream.format.frame_ms)
    assert 20 <= stream.format.frame_ms <= 60
    assert 0 < lengths_ms[-1] <= 60
    assert granules[-1] == 312 + stream.sample_count * 48000 // rate


def test_webm_clusters_are_short() -> None:
    for frame_ms in (20, 100):
        stream = encode(Encoding.WEBM_OPUS, 24000, frame_ms=frame_ms)
        clusters = [frame.data.count(b"\x1f\x43\xb6\x75") for frame in stream.frames]
        assert clusters[:-1] == [1] * (len(clusters) - 1)
        assert max(frame.sample_count for frame in stream.frames[:-1]) <= 24000 * 100 // 1000
