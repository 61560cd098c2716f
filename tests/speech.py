"""Reading a synthesis from a generated stub, with the contract's promises checked."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import google_crc32c
import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protos.tts.v1 import tts_pb2, tts_pb2_grpc

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Speech:
    """One whole synthesis."""

    header: tts_pb2.SynthesisHeader
    frames: list[tts_pb2.AudioFrame]
    summary: tts_pb2.SynthesisSummary

    @property
    def data(self) -> bytes:
        """All frames, joined."""
        return b"".join(frame.data for frame in self.frames)


def speak(stub: tts_pb2_grpc.TextToSpeechStub, **request: object) -> Speech:
    """Calls Synthesize and checks what every stream promises."""
    encoding = request.pop("encoding", None)
    if encoding is not None:
        request["format"] = tts_pb2.AudioFormat(encoding=f"ENCODING_{encoding}")
    events = list(stub.Synthesize(tts_pb2.SynthesizeRequest(**request), timeout=60))  # type: ignore[arg-type]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["header", *["audio"] * (len(events) - 2), "summary"]
    speech = Speech(events[0].header, [e.audio for e in events[1:-1]], events[-1].summary)

    position_ms = 0
    for sequence, frame in enumerate(speech.frames):
        assert frame.sequence == sequence
        assert frame.start_ms == position_ms
        assert frame.duration_ms >= 0
        position_ms += frame.duration_ms
        assert 0 <= frame.span.start_character <= frame.span.end_character
        assert frame.span.end_character <= speech.summary.character_count
    summary = speech.summary
    assert summary.audio_ms == position_ms
    assert summary.byte_count == len(speech.data)
    assert summary.crc32c == google_crc32c.value(speech.data)
    assert summary.audio_ms == summary.sample_count * 1000 // speech.header.format.sample_rate_hz
    if speech.frames:
        assert 0 < summary.first_audio_ms <= summary.render_ms
    return speech


def details_of(error: grpc.RpcError) -> dict[str, Message]:
    """The details of an error by the name of their type."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    details: dict[str, Message] = {}
    for packed in status.details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        details[type(message).__name__] = message
    return details


def refused(call: Callable[[], object]) -> grpc.RpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def reason_of(error: grpc.RpcError) -> str:
    """The reason in the error's `ErrorInfo`."""
    return str(details_of(error)["ErrorInfo"].reason)  # type: ignore[attr-defined]


def all_at_once(call: Callable[[Any], _Result], cases: Sequence[Any]) -> list[_Result]:
    """Calls with all cases at the same time; returns the results in their order."""
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(call, cases))
