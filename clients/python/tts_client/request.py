"""From a caller's words to the messages that ask for speech. Sends nothing."""

import re
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import PurePath
from typing import TypedDict, Unpack

from protos.tts.v1 import tts_pb2 as pb
from tts_client.cache import CacheMode
from tts_client.encoding import Encoding
from tts_client.errors import InvalidArgument
from tts_client.voice import Consent

# What a gRPC server takes in one message unless it is told otherwise. A text that long is refused
# for its size before any server looks at it, and so without a field.
_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class SpeechOptions(TypedDict, total=False):
    """How to speak and encode. What is left out is the server's default.

    voice: id of the voice.
    language: BCP-47 tag; the first language of the voice when left out.
    format: an `Encoding`, or a name such as "mp3", "wav", "opus", "flac".
    sample_rate_hz: 8000 to 48000.
    bitrate_bps: bits per second, for encodings that have a bitrate.
    frame_ms: desired length of one frame, 10 to 100.
    speed: factor on the speaking rate, 0.5 to 2.0.
    style: one of the voice's styles; `neutral`, or the voice's first, when left out.
    voice_mix: weights by the ids of 2 to 8 voices of one engine, to speak with a mix of them in
        place of `voice`. What counts is the share of each in the sum.
    cache: a `CacheMode`, or its name: "default", "bypass", "refresh", "only".

    The rest is for engines that sample:
    temperature: how freely they draw, 0 (always the likeliest) to 2.
    top_k: draws among so many of the likeliest, 1 to 1000.
    top_p: draws among the likeliest that have this share together, above 0 to 1.
    repetition_penalty: makes what was drawn before less likely, 1 (not at all) to 50.
    seed: 0 to 2^63-1; the `Header.seed` of a stream speaks the same request the same again.
    """

    voice: str
    language: str
    format: Encoding | str | None
    sample_rate_hz: int
    bitrate_bps: int
    frame_ms: int
    speed: float | None
    style: str
    voice_mix: Mapping[str, float]
    cache: CacheMode | str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    seed: int | None


def build_request(text: str, **options: Unpack[SpeechOptions]) -> pb.SynthesizeRequest:
    """The request for `text`.

    Raises `InvalidArgument` for what the wire cannot carry (lone surrogates, numbers beyond 32
    bits, seeds beyond 64, more than 4 MiB) and for unknown formats and cache modes. All else is
    the server's to judge.
    """
    unknown = sorted(options.keys() - SpeechOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}")
    request = pb.SynthesizeRequest(
        text=_unicode("text", text),
        voice=_unicode("voice", options.get("voice", "")),
        language=_unicode("language", options.get("language", "")),
        style=_unicode("style", options.get("style", "")),
        cache=pb.CacheMode.ValueType(_cache_mode(options.get("cache")).value),
    )
    audio_format = pb.AudioFormat(
        encoding=pb.Encoding.ValueType(_encoding(options.get("format")).value),
        sample_rate_hz=_whole("format.sample_rate_hz", options.get("sample_rate_hz", 0)),
        bitrate_bps=_whole("format.bitrate_bps", options.get("bitrate_bps", 0)),
        frame_ms=_whole("format.frame_ms", options.get("frame_ms", 0)),
    )
    if audio_format != pb.AudioFormat():
        request.format.CopyFrom(audio_format)
    speed = options.get("speed")
    if speed is not None:
        request.prosody.speed = speed
    sampling = _sampling(options)
    if sampling.ListFields():
        request.sampling.CopyFrom(sampling)
    for number, (voice, weight) in enumerate(options.get("voice_mix", {}).items()):
        request.voice_mix.add(voice=_unicode(f"voice_mix[{number}].voice", voice), weight=weight)
    if request.ByteSize() > _MAX_REQUEST_BYTES:
        raise InvalidArgument.of_field("text", "too long for one message of 4 MiB")
    return request


def for_file(path: str | PathLike[str], options: SpeechOptions) -> SpeechOptions:
    """The options with their format settled, from the suffix of `path` if need be.

    Raises `InvalidArgument` when that does not tell, or when the format makes no file.
    """
    given = options.get("format")
    encoding = Encoding.of_path(PurePath(path)) if given is None else _encoding(given)
    if not encoding.makes_file:
        raise InvalidArgument.of_field("format.encoding", f"{encoding} makes no file")
    return {**options, "format": encoding}


def build_get_voice(voice: str) -> pb.GetVoiceRequest:
    """The request for one voice."""
    return pb.GetVoiceRequest(voice=_unicode("voice", voice))


def build_delete_voice(voice: str) -> pb.DeleteVoiceRequest:
    """The request to delete one voice."""
    return pb.DeleteVoiceRequest(voice=_unicode("voice", voice))


def build_voice_metadata(
    *, name: str, language: str, voice_id: str, request_id: str, consent: Consent | None
) -> pb.VoiceMetadata:
    """What an upload says of the voice before its recordings.

    Raises `InvalidArgument` for what the wire cannot carry.
    """
    metadata = pb.VoiceMetadata(
        display_name=_unicode("metadata.display_name", name),
        language=_unicode("metadata.language", language),
        voice_id=_unicode("metadata.voice_id", voice_id),
        request_id=request_id,
    )
    if consent is not None:
        for field in ("person", "statement", "attested_by"):
            value = _unicode(f"metadata.consent.{field}", getattr(consent, field))
            setattr(metadata.consent, field, value)
        metadata.consent.consent_time.FromDatetime(consent.consent_time)
    if metadata.ByteSize() > _MAX_REQUEST_BYTES:
        raise InvalidArgument.of_field("metadata", "too long for one message of 4 MiB")
    return metadata


def build_recording(style: str) -> pb.Recording:
    """What an upload says of a recording before its bytes."""
    return pb.Recording(style=_unicode("recording.style", style))


def build_list_voices(language: str, engine: str) -> pb.ListVoicesRequest:
    """The request for the first page of voices."""
    return pb.ListVoicesRequest(
        language=_unicode("language", language), engine=_unicode("engine", engine)
    )


def check_request_id(request_id: str | None) -> str:
    """The id that a call travels under: the caller's, or a new one.

    Raises `InvalidArgument` for one in whose place the server would take one of its own.
    """
    if request_id is None:
        return uuid.uuid4().hex
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument.of_field(
            "request_id", "must be 1 to 128 ASCII characters without spaces"
        )
    return request_id


def _sampling(options: SpeechOptions) -> pb.Sampling:
    sampling = pb.Sampling(
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        repetition_penalty=options.get("repetition_penalty"),
    )
    top_k, seed = options.get("top_k"), options.get("seed")
    if top_k is not None:
        sampling.top_k = _whole("sampling.top_k", top_k)
    if seed is not None:
        sampling.seed = _whole("sampling.seed", seed, bits=64)
    return sampling


def _encoding(wanted: Encoding | str | None) -> Encoding:
    if wanted is None:
        return Encoding.UNSPECIFIED
    return Encoding.parse(wanted) if isinstance(wanted, str) else wanted


def _cache_mode(wanted: CacheMode | str | None) -> CacheMode:
    if wanted is None:
        return CacheMode.UNSPECIFIED
    # What is neither, such as False, is refused as a wrong name is.
    return wanted if isinstance(wanted, CacheMode) else CacheMode.parse(str(wanted))


def _unicode(field: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument.of_field(
            field, f"character {error.start} is a lone surrogate, which is not a character"
        ) from None
    return value


def _whole(field: str, value: int, *, bits: int = 32) -> int:
    end = 1 << bits - 1
    if not -end <= value < end:
        raise InvalidArgument.of_field(field, f"{value} is out of range")
    return value
