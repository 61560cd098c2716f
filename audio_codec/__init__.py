"""Turns samples into encoded audio, as a stream.

    audio_format = resolve_format(Encoding.OGG_OPUS, source_rate_hz=22050)
    with StreamEncoder(audio_format, source_rate_hz=22050) as encoder:
        for samples in speech:
            send(encoder.encode(samples))
        send(encoder.finish())

PyAV codes, soxr resamples. Nothing here knows of the network or of the service.
"""

from audio_codec.encode import EncodedFrame, StreamEncoder
from audio_codec.errors import (
    CodecError,
    EncodingFailedError,
    FormatError,
    LengthMismatchError,
    StreamClosedError,
)
from audio_codec.formats import (
    FORMATS,
    AudioFormat,
    Bitrates,
    Encoding,
    FormatSpec,
    resolve_format,
)
from audio_codec.resample import StreamResampler

__all__ = [
    "FORMATS",
    "AudioFormat",
    "Bitrates",
    "CodecError",
    "EncodedFrame",
    "Encoding",
    "EncodingFailedError",
    "FormatError",
    "FormatSpec",
    "LengthMismatchError",
    "StreamClosedError",
    "StreamEncoder",
    "StreamResampler",
    "resolve_format",
]
