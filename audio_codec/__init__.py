"""Turns samples into encoded audio as a stream, and untrusted files into samples.

    audio_format = resolve_format(Encoding.OGG_OPUS, source_rate_hz=22050)
    with StreamEncoder(audio_format, source_rate_hz=22050) as encoder:
        for samples in speech:
            send(encoder.encode(samples))
        send(encoder.finish())

    audio = decode_audio(file, DecodeLimits(max_duration_s=120))  # strangers' files: in a Sandbox

PyAV codes, soxr resamples. Nothing here knows of the network or of the service.
"""

from audio_codec.decode import DecodedAudio, DecodeLimits, decode_audio
from audio_codec.encode import ENCODER_VERSION, EncodedFrame, StreamEncoder
from audio_codec.errors import (
    CodecError,
    DecodeError,
    DecodeFailure,
    EncodingFailedError,
    FormatError,
    LengthMismatchError,
    SandboxDiedError,
    SandboxRefusedError,
    SandboxStartError,
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
from audio_codec.sandbox import Sandbox, SandboxLimits, SandboxResult
from audio_codec.sniff import Container, sniff_container

__all__ = [
    "ENCODER_VERSION",
    "FORMATS",
    "AudioFormat",
    "Bitrates",
    "CodecError",
    "Container",
    "DecodeError",
    "DecodeFailure",
    "DecodeLimits",
    "DecodedAudio",
    "EncodedFrame",
    "Encoding",
    "EncodingFailedError",
    "FormatError",
    "FormatSpec",
    "LengthMismatchError",
    "Sandbox",
    "SandboxDiedError",
    "SandboxLimits",
    "SandboxRefusedError",
    "SandboxResult",
    "SandboxStartError",
    "StreamClosedError",
    "StreamEncoder",
    "StreamResampler",
    "decode_audio",
    "resolve_format",
    "sniff_container",
]
