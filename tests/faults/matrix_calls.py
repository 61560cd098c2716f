"""Every method of tts.v1 as a call that can be held midway, for the matrix of faults.

A call is midway when the server has begun on it and waits for its caller: a stream whose frames
nobody takes, an upload of which a half has come, a unary call whose request is still to come.
"""

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
import grpc

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.faults.at_rest import spooled_files
from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, speech
from tests.server_process import ServerProcess
from tests.speech import details_of
from tests.voice_data import add_voice
from tests.waiting import wait_until
from voice_store import VoiceStore

__all__ = [
    "CALLS",
    "Caller",
    "HeldCall",
    "Reference",
    "assert_whole",
    "channel_to",
    "outcome_of",
    "recording",
    "seed_voices",
    "upload_parts",
]

# The rows of the matrix: the calls, and the method of each.
CALLS = {
    "Synthesize, miss": "Synthesize",
    "Synthesize, hit": "Synthesize",
    "UploadVoice": "UploadVoice",
    "ListVoices": "ListVoices",
    "GetVoice": "GetVoice",
    "DeleteVoice": "DeleteVoice",
    "GetServerInfo": "GetServerInfo",
}

# A minute of tones: 0.6 s to speak at the pace of the matrix's servers.
_MISS_SENTENCE = "Tones of round {} that nobody has heard before. "
# Three minutes, 8.6 MB as PCM: more than lies between a server and a caller who reads nothing.
_HIT_TEXT = ("Tones that were heard before, and are kept. " * 80)[:3000]
_SHORT_TEXT = "Still here?"
_PCM = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE)
_PIECE_BYTES = 1 << 15
_TIMEOUT_S = 60.0
# gRPC's clients let a server send megabytes ahead, unless they are told not to.
_OPTIONS = (
    ("grpc.http2.lookahead_bytes", 1 << 14),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@cache
def recording() -> bytes:
    """Some seconds of speech as a FLAC file."""
    return audio_file(AudioFileKind.FLAC, speech(SENTENCES[:2]).samples, SAMPLE_RATE_HZ)


@contextmanager
def channel_to(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A connection of one's own, over which a server can't send far ahead."""
    with grpc.insecure_channel(server.address, options=_OPTIONS) as channel:
        yield channel


def seed_voices(data_dir: Path, count: int) -> Iterator[str]:
    """Makes voices for `DeleteVoice` to delete, before the server starts; returns their ids."""
    data_dir.mkdir(parents=True, exist_ok=True)
    ids = [f"doomed-{number:04}" for number in range(count)]
    with VoiceStore.open(data_dir / "voices") as store:
        for voice_id in ids:
            add_voice(store, voice_id)
    return iter(ids)


def upload_parts(
    voice_id: str, may_go: threading.Event | None = None
) -> Iterator[tts_pb2.UploadVoiceRequest]:
    """The parts of an upload, the second half of its bytes when it `may_go`."""
    metadata = tts_pb2.VoiceMetadata(display_name="Anna", language="en", voice_id=voice_id)
    yield tts_pb2.UploadVoiceRequest(metadata=metadata)
    yield tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording())
    data, half = recording(), len(recording()) // 2
    for piece in (data[:half], data[half:]):
        for start in range(0, len(piece), _PIECE_BYTES):
            yield tts_pb2.UploadVoiceRequest(data=piece[start : start + _PIECE_BYTES])
        if piece is not data[half:] and may_go is not None:
            may_go.wait()


def assert_whole(events: list[tts_pb2.SynthesizeResponse], expected: bytes) -> None:
    """Asserts that these events are one whole stream of the expected bytes."""
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["header", *["audio"] * (len(events) - 2), "summary"]
    data = b"".join(event.audio.data for event in events)
    assert data == expected
    summary = events[-1].summary
    assert (summary.byte_count, summary.crc32c) == (len(data), google_crc32c.value(data))


class Reference:
    """The right answers, from a server that nobody harms."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        with server.stub() as stub:
            self.hit, self.short = (self._speak(stub, text) for text in (_HIT_TEXT, _SHORT_TEXT))
            voice = stub.UploadVoice(upload_parts("reference")).voice
            self.voice_fingerprint = voice.content_fingerprint
            stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="reference"))

    def of(self, text: str) -> bytes:
        """The right bytes of any text."""
        with self._server.stub() as stub:
            return self._speak(stub, text)

    @staticmethod
    def _speak(stub: tts_pb2_grpc.TextToSpeechStub, text: str) -> bytes:
        request = tts_pb2.SynthesizeRequest(text=text, format=_PCM)
        return b"".join(event.audio.data for event in stub.Synthesize(request))

    def assert_serves(self, server: ServerProcess) -> None:
        """Asserts that a server speaks the right bytes now: by its engine, and from its cache."""
        modes = (tts_pb2.CACHE_MODE_BYPASS, tts_pb2.CACHE_MODE_UNSPECIFIED)
        with channel_to(server) as channel:
            stub = tts_pb2_grpc.TextToSpeechStub(channel)
            for mode in modes:
                request = tts_pb2.SynthesizeRequest(text=_SHORT_TEXT, format=_PCM, cache=mode)
                assert_whole(list(stub.Synthesize(request, timeout=_TIMEOUT_S)), self.short)


class HeldCall(ABC):
    """A call that is midway. `go` lets it go on, and `wait` checks its answer.

    Attributes:
        call: gRPC's own.
    """

    call: Any

    @abstractmethod
    def wait(self) -> None:
        """Takes the answer and checks it. Raises what gRPC raises."""

    def go(self) -> None:  # noqa: B027 - a stream goes on by being read
        """Lets it go on."""

    def cancel(self) -> None:
        """Leaves, as callers do."""
        self.call.cancel()
        self.go()


def outcome_of(held: HeldCall) -> str:
    """How a call ended: OK for the right answer, else the status, and the reason if there is one.

    The right answer is checked; a wrong one raises AssertionError.
    """
    held.go()
    try:
        held.wait()
    except grpc.FutureCancelledError:
        return "CANCELLED"
    except grpc.RpcError as error:
        has_details = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata())
        reason = details_of(error)["ErrorInfo"].reason if has_details else ""  # type: ignore[attr-defined]
        return f"{error.code().name} {reason}".strip()
    return "OK"


class Caller:
    """Begins the calls of the matrix on one server.

    Args:
        doomed: ids of voices that are there to be deleted.

    Attributes:
        may_ask_on: whether an answer is also checked by a call that asks for what it has left.
    """

    def __init__(self, server: ServerProcess, reference: Reference, doomed: Iterator[str]) -> None:
        self._server = server
        self._reference = reference
        self._doomed = doomed
        self._miss_count = 0
        self.may_ask_on = True
        self.renew()

    def renew(self) -> None:
        """Takes another text to speak: one that was open as workers ended is refused in the end."""
        self._miss_count += 1
        self._miss_text = (_MISS_SENTENCE.format(self._miss_count) * 40)[:1000]
        self._miss = self._reference.of(self._miss_text)

    def warm_up(self) -> None:
        """Has kept what is to be a hit: too large for memory, and written in the background."""
        with channel_to(self._server) as channel:
            stub = tts_pb2_grpc.TextToSpeechStub(channel)
            request = tts_pb2.SynthesizeRequest(text=_HIT_TEXT, format=_PCM)
            assert_whole(list(stub.Synthesize(request)), self._reference.hit)
            request.cache = tts_pb2.CACHE_MODE_ONLY

            def is_kept() -> bool:
                try:
                    return bool(list(stub.Synthesize(request)))
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                return False

            assert wait_until(is_kept, 20)

    def begin(self, name: str, channel: grpc.Channel, timeout_s: float = _TIMEOUT_S) -> HeldCall:
        """Begins the call of this name, and returns when it is midway."""
        unary = _Unary.of(channel, timeout_s)
        match name:
            case "Synthesize, miss":
                request = tts_pb2.SynthesizeRequest(
                    text=self._miss_text, format=_PCM, cache=tts_pb2.CACHE_MODE_REFRESH
                )
                return _Stream(channel, request, self._miss, "MISS", timeout_s)
            case "Synthesize, hit":
                request = tts_pb2.SynthesizeRequest(text=_HIT_TEXT, format=_PCM)
                return _Stream(channel, request, self._reference.hit, "HIT", timeout_s)
            case "UploadVoice":
                return self._upload(channel, timeout_s)
            case "ListVoices":
                return unary(tts_pb2.ListVoicesRequest(page_size=1000), "ListVoices", _lists_tones)
            case "GetVoice":
                return unary(tts_pb2.GetVoiceRequest(voice="tone-low"), "GetVoice", _is_tone_low)
            case "DeleteVoice":
                voice = next(self._doomed)
                request = tts_pb2.DeleteVoiceRequest(voice=voice)
                return unary(request, "DeleteVoice", lambda _: self._is_gone(voice))
            case "GetServerInfo":
                return unary(tts_pb2.GetServerInfoRequest(), "GetServerInfo", _knows_itself)
            case _:
                raise LookupError(name)

    def _upload(self, channel: grpc.Channel, timeout_s: float) -> HeldCall:
        # Another server may have had this folder, and been uploaded to.
        voice_id, before = f"uploaded-{uuid.uuid4().hex}", spooled_files(self._server)
        held = _Upload(self, channel, voice_id, self._reference.voice_fingerprint, timeout_s)
        if not wait_until(lambda: spooled_files(self._server) > before, 10):
            held.cancel()
            raise AssertionError("the upload does not begin")
        return held

    def _is_gone(self, voice: str) -> None:
        if self.may_ask_on:
            request = tts_pb2.ListVoicesRequest(page_size=1000)
            with self._server.stub() as stub:
                listed = stub.ListVoices(request, timeout=_TIMEOUT_S)
            assert voice not in [other.id for other in listed.voices]
        assert not (self._server.data_dir / "voices" / "voices" / voice).exists()


class _Stream(HeldCall):
    """`Synthesize`, of which two events were taken."""

    def __init__(
        self,
        channel: grpc.Channel,
        request: tts_pb2.SynthesizeRequest,
        expected: bytes,
        status: str,
        timeout_s: float,
    ) -> None:
        self._expected = expected
        self.call = tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(request, timeout=timeout_s)
        self._events = [next(self.call), next(self.call)]
        header = self._events[0].header
        cache_status = tts_pb2.CacheStatus.Name(header.cache_status)
        assert cache_status == f"CACHE_STATUS_{status}", f"{cache_status}, not {status}"

    def wait(self) -> None:
        self._events.extend(self.call)
        assert_whole(self._events, self._expected)


class _Upload(HeldCall):
    """`UploadVoice`, of which a half was sent. A voice that is stored is deleted again."""

    def __init__(
        self,
        caller: Caller,
        channel: grpc.Channel,
        voice_id: str,
        fingerprint: str,
        timeout_s: float,
    ) -> None:
        self._caller = caller
        self._may_go = threading.Event()
        self._voice_id = voice_id
        self._fingerprint = fingerprint
        self._stub = tts_pb2_grpc.TextToSpeechStub(channel)
        self.call = self._stub.UploadVoice.future(
            upload_parts(voice_id, self._may_go), timeout=timeout_s
        )
        self.call.add_done_callback(lambda _: self._may_go.set())

    def go(self) -> None:
        self._may_go.set()

    def wait(self) -> None:
        voice = self.call.result().voice
        assert (voice.id, voice.content_fingerprint) == (self._voice_id, self._fingerprint)
        if self._caller.may_ask_on:
            self._stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice=voice.id), timeout=_TIMEOUT_S)


class _Unary(HeldCall):
    """A unary call whose headers were sent, and not its request: gRPC has no other middle of it."""

    def __init__(
        self,
        channel: grpc.Channel,
        timeout_s: float,
        request: Any,
        method: str,
        check: Callable[[Any], None],
    ) -> None:
        self._may_go = threading.Event()
        self._check = check

        def requests() -> Iterator[Any]:
            self._may_go.wait()
            yield request

        answer = getattr(tts_pb2, f"{method}Response")
        send = channel.stream_unary(
            f"/tts.v1.TextToSpeech/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        self.call = send.future(requests(), timeout=timeout_s)
        self.call.add_done_callback(lambda _: self._may_go.set())
        # A connection is read in order: what came after these headers is answered after them.
        tts_pb2_grpc.TextToSpeechStub(channel).GetServerInfo(tts_pb2.GetServerInfoRequest())

    @classmethod
    def of(cls, channel: grpc.Channel, timeout_s: float) -> Callable[..., HeldCall]:
        """A way to begin one on this channel."""
        return lambda request, method, check: cls(channel, timeout_s, request, method, check)

    def go(self) -> None:
        self._may_go.set()

    def wait(self) -> None:
        self._check(self.call.result())


def _lists_tones(response: tts_pb2.ListVoicesResponse) -> None:
    assert {"tone-low", "tone-high"} <= {voice.id for voice in response.voices}


def _is_tone_low(response: tts_pb2.GetVoiceResponse) -> None:
    assert (response.voice.id, response.voice.engine) == ("tone-low", "tone")


def _knows_itself(response: tts_pb2.GetServerInfoResponse) -> None:
    assert [engine.name for engine in response.engines] == ["tone"]
