"""Back from what a stream carries to samples, for each encoding."""

import struct
from collections.abc import Sequence
from io import BytesIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from audio_codec import DecodeLimits, Encoding, decode_audio

__all__ = ["decode_frames"]

_LIMITS = DecodeLimits(max_duration_s=60.0)
_WAVE_TAGS = {Encoding.ALAW: 6, Encoding.MULAW: 7}
_OPUS_RATE_HZ = 48_000


def decode_frames(
    encoding: Encoding, sample_rate_hz: int, frames: Sequence[bytes]
) -> tuple[NDArray[np.float32], int]:
    """Decodes all frames of a stream.

    Returns:
        Samples of shape (n,), full scale 1.0, and their rate.

    Raises:
        CodecError, ValueError, av.FFmpegError: they can't be decoded.
    """
    match encoding:
        case Encoding.PCM_S16LE:
            scaled = np.frombuffer(b"".join(frames), "<i2").astype(np.float32)
            return scaled / np.float32(32768), sample_rate_hz
        case Encoding.OPUS_PACKETS:
            return _opus(frames), _OPUS_RATE_HZ
        case Encoding.MULAW | Encoding.ALAW:
            data = _as_wave(b"".join(frames), _WAVE_TAGS[encoding], sample_rate_hz)
        case _:
            data = b"".join(frames)
    audio = decode_audio(BytesIO(data), _LIMITS)
    return audio.samples[0], audio.sample_rate_hz


def _as_wave(data: bytes, tag: int, rate_hz: int) -> bytes:
    """A WAV file around bytes of G.711, which come without a header."""
    fmt = struct.pack("<HHIIHHH", tag, 1, rate_hz, rate_hz, 1, 8, 0)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data


def _opus(packets: Sequence[bytes]) -> NDArray[np.float32]:
    decoder = AudioCodecContext.create("opus", "r")
    decoder.sample_rate = _OPUS_RATE_HZ
    decoder.layout = "mono"
    decoder.open()
    decoded = [
        frame.to_ndarray().reshape(-1)
        for packet in packets
        for frame in decoder.decode(av.Packet(packet))
    ]
    return np.concatenate(decoded or [np.zeros(0)]).astype(np.float32)
