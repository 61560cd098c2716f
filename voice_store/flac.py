"""Kept recordings as FLAC files, and what identifies their content."""

import hashlib
import io
from collections.abc import Mapping

import av
import numpy as np
from numpy.typing import NDArray

from audio_codec import Encoding, StreamEncoder, resolve_format

from .errors import UnreadableRecordingError
from .records import RECORDING_RATE_HZ

__all__ = ["content_fingerprint", "decode_flac", "encode_flac"]


def encode_flac(samples: NDArray[np.int16]) -> bytes:
    """Returns a FLAC file of mono samples at `RECORDING_RATE_HZ`.

    Args:
        samples: shape (n,), int16, n > 0. Decoding gives the same again.

    Raises:
        ValueError: another shape or type.
    """
    if samples.ndim != 1 or samples.dtype != np.int16 or not len(samples):
        raise ValueError("samples must be int16 of shape (n,), n > 0")
    audio_format = resolve_format(Encoding.FLAC, source_rate_hz=RECORDING_RATE_HZ)
    with StreamEncoder(audio_format, source_rate_hz=RECORDING_RATE_HZ) as encoder:
        frames = encoder.encode(samples.astype(np.float32) / np.float32(32768))
        frames += encoder.finish()
    return b"".join(frame.data for frame in frames)


def decode_flac(data: bytes) -> NDArray[np.int16]:
    """Returns the samples of a file that `encode_flac` made: shape (n,), int16.

    Only for the store's own files: uploads are decoded in a sandbox.

    Raises:
        UnreadableRecordingError: it is none, or damaged so that decoding fails.
    """
    blocks = []
    try:
        with av.open(io.BytesIO(data), mode="r", format="flac") as container:
            for frame in container.decode(audio=0):
                mono = frame.layout.nb_channels == 1
                if not mono or frame.format.name != "s16" or frame.sample_rate != RECORDING_RATE_HZ:
                    raise UnreadableRecordingError("not 16-bit mono at 24 kHz")
                blocks.append(frame.to_ndarray()[0].astype(np.int16, copy=False))
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableRecordingError("not FLAC") from error
    if not blocks:
        raise UnreadableRecordingError("no audio")
    return np.concatenate(blocks)


def content_fingerprint(recordings: Mapping[str, NDArray[np.int16]]) -> str:
    """Returns the SHA-256, in hexadecimal, of the recordings by style.

    It covers the samples and not the files, so that it outlives changes of the encoder: for
    each style in alphabetical order its name, a zero byte, the count of samples as 8 bytes
    little-endian, and the samples as 16 bits little-endian.
    """
    digest = hashlib.sha256()
    for style, samples in sorted(recordings.items()):
        digest.update(style.encode() + b"\0" + len(samples).to_bytes(8, "little"))
        digest.update(samples.astype("<i2").tobytes())
    return digest.hexdigest()
