"""What the callers of a soak do: every kind of call, good and bad, patient and not.

Each thing that a caller does is one method of `Caller`. It checks every byte that it gets and every
status, and raises `Wrong` for what should not be.
"""

import io
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import av
import google_crc32c
import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from soak_known import Known, Wrong, digest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.faults.matrix_calls import recording
from tests.faulty_network import Way
from tests.speech import reason_of

__all__ = ["ENCODINGS", "Caller"]

ENCODINGS = tuple(
    value for value in tts_pb2.Encoding.values() if value != tts_pb2.ENCODING_UNSPECIFIED
)
_PIPER_TEXTS = (
    "The kettle is on.",
    "Your train leaves from platform two.",
    "It will rain later.",
    "Thank you, goodbye.",
    "Three new messages.",
    "The door is open.",
)
_PIPER_VOICE = "en_US-joe-medium"
_TONE_VOICES = ("tone-low", "tone-high")
# Some ten minutes, which nobody hears to the end.
_LONG = ("A long story that nobody will listen to until it is over. " * 170)[:9_000]
_TIMEOUT_S = 60.0
_CALLS_A_CHANNEL = 40
# How long after a worker was struck its loss may be what ends a call.
_STRIKE_FELT_S = 40.0
_LOSSES = {"WORKER_LOST", "WORKERS_LOST", "ENGINE_STARTING"}
_OWN = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
_CUTS = {"UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"}


class Caller:
    """One of many callers.

    Args:
        number: makes its own chances and names.
    """

    def __init__(self, address: str, known: Known, number: int, seed: int) -> None:
        self._address = address
        self._known = known
        self._number = number
        self._chance = random.Random(f"{seed}/{number}")
        self._upload_count = 0
        self._calls_left = 0
        self._channel: grpc.Channel | None = None
        self._doings: dict[str, tuple[int, Callable[[], None]]] = {
            "tone": (30, self.speak_tones),
            "tone, patient network": (4, self.speak_tones_patiently),
            "tone, joined": (4, self.join),
            "piper": (14, self.speak),
            "cancel": (10, self.cancel),
            "deadline": (8, self.miss_a_deadline),
            "ask": (10, self.ask),
            "bad request": (6, self.ask_wrongly),
            "upload": (2, self.upload),
            "bad upload": (2, self.upload_badly),
            "torn network": (4, self.vanish),
            "slow reader": (1, self.read_slowly),
        }

    def run(self, until: Callable[[], bool], failed: Callable[[str, Exception], None]) -> None:
        """Does one thing after another until it is over; hands on what was wrong."""
        names = list(self._doings)
        weights = [weight for weight, _ in self._doings.values()]
        while not until():
            (name,) = self._chance.choices(names, weights)
            try:
                self._doings[name][1]()
            except Exception as error:
                self._known.count(name, "WRONG")
                failed(name, error)
            if self._chance.random() < 0.2:
                time.sleep(self._chance.expovariate(10))
        if self._channel is not None:
            self._channel.close()

    def speak_tones(self) -> None:
        """Some tones, new or kept, in any encoding."""
        self._hear_tones("tone", self._stub())

    def speak_tones_patiently(self) -> None:
        """The same over a network that is late and cuts into slices."""
        address = self._known.networks.patient.address
        with grpc.insecure_channel(address, options=_OWN) as channel:
            self._hear_tones("tone, patient network", tts_pb2_grpc.TextToSpeechStub(channel))

    def join(self) -> None:
        """Two at once ask for what nobody has asked for before."""
        text = f"{self._number} {self._chance.getrandbits(60)} together"
        request = _request(text, self._chance.choice(ENCODINGS), "tone-low")
        stub = self._stub()
        calls = [stub.Synthesize(request, timeout=_TIMEOUT_S) for _ in range(2)]
        heard = [self._take("tone, joined", call) for call in calls]
        if None not in heard and heard[0] != heard[1]:
            raise Wrong("two who asked for the same got different bytes")

    def speak(self) -> None:
        """A sentence by Piper. What is kept of it must be what was spoken once."""
        text = self._chance.choice(_PIPER_TEXTS)
        encoding = ENCODINGS[_PIPER_TEXTS.index(text) % len(ENCODINGS)]
        mode = self._chance.choices(tts_pb2.CacheMode.values()[:3], (7, 2, 1))[0]
        request = _request(text, encoding, _PIPER_VOICE, mode)
        header: list[tts_pb2.SynthesisHeader] = []
        data = self._take("piper", self._stub().Synthesize(request, timeout=_TIMEOUT_S), header)
        if data is None:
            return
        is_hit = header[0].cache_status == tts_pb2.CACHE_STATUS_HIT
        with self._known.lock:
            (self._known.found if is_hit else self._known.made)[text].add(digest(data))
        if encoding == tts_pb2.ENCODING_MP3 and self._chance.random() < 0.1:
            _decode(data)

    def cancel(self) -> None:
        """Leaves after some frames, or before the first."""
        call = self._stub().Synthesize(self._long(), timeout=_TIMEOUT_S)
        try:
            for _ in range(self._chance.choice((0, 1, 2, 20))):
                next(call)
            call.cancel()
            for _ in call:
                pass
            raise Wrong("a cancelled call ended well")
        except grpc.RpcError as error:
            self._judge("cancel", error, {"CANCELLED"})

    def miss_a_deadline(self) -> None:
        """Has less time than it takes."""
        call = self._stub().Synthesize(self._long(), timeout=self._chance.uniform(0.001, 0.3))
        try:
            for _ in call:
                pass
            raise Wrong("ten minutes were heard in a third of a second")
        except grpc.RpcError as error:
            self._judge("deadline", error, {"DEADLINE_EXCEEDED"})

    def ask(self) -> None:
        """One of the small methods."""
        stub = self._stub()
        try:
            match self._chance.randrange(3):
                case 0:
                    voices = stub.ListVoices(tts_pb2.ListVoicesRequest(page_size=1000), timeout=30)
                    if not {*_TONE_VOICES, _PIPER_VOICE} <= {voice.id for voice in voices.voices}:
                        raise Wrong("a voice is missing")
                case 1:
                    request = tts_pb2.GetVoiceRequest(voice=_PIPER_VOICE)
                    if stub.GetVoice(request, timeout=30).voice.engine != "piper":
                        raise Wrong("a voice of another engine")
                case _:
                    info = stub.GetServerInfo(tts_pb2.GetServerInfoRequest(), timeout=30)
                    if [engine.name for engine in info.engines] != ["tone", "piper"]:
                        raise Wrong("an engine is missing")
        except grpc.RpcError as error:
            self._judge("ask", error, set())
        else:
            self._known.count("ask", "OK")

    def ask_wrongly(self) -> None:
        """What is refused by name."""
        stub = self._stub()
        calls: tuple[tuple[Callable[[], object], str], ...] = (
            (lambda: list(stub.Synthesize(_request("x", 99, "tone-low"))), "INVALID_ARGUMENT"),
            (lambda: list(stub.Synthesize(_request("x", 1, "nobody"))), "NOT_FOUND"),
            (lambda: stub.GetVoice(tts_pb2.GetVoiceRequest(voice="nobody")), "NOT_FOUND"),
            (
                lambda: stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="tone-low")),
                "FAILED_PRECONDITION",
            ),
        )
        call, expected = self._chance.choice(calls)
        try:
            call()
            raise Wrong(f"{expected} was expected")
        except grpc.RpcError as error:
            self._judge("bad request", error, {expected})

    def upload(self) -> None:
        """A voice is stored, speaks, and is deleted."""
        self._upload_count += 1
        voice, stub = f"caller-{self._number}-{self._upload_count}", self._stub()
        try:
            stub.UploadVoice(_parts(voice, recording()), timeout=_TIMEOUT_S)
            try:
                request = _request("In my own voice", tts_pb2.ENCODING_FLAC, voice)
                self._take("upload", stub.Synthesize(request, timeout=_TIMEOUT_S))
            finally:
                stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice=voice), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            self._judge("upload", error, {"RESOURCE_EXHAUSTED"})

    def upload_badly(self) -> None:
        """Noise that is no audio, half of a recording's metadata, an upload without an end."""
        voice = f"bad-{self._number}"
        parts: Callable[[], Iterator[tts_pb2.UploadVoiceRequest]] = self._chance.choice(
            (
                lambda: _parts(voice, self._chance.randbytes(50_000)),
                lambda: _parts("No Id", recording()),
                lambda: _parts(voice, b""),
                lambda: iter([tts_pb2.UploadVoiceRequest(data=b"x")]),
            )
        )
        try:
            self._stub().UploadVoice(parts(), timeout=_TIMEOUT_S)
            raise Wrong("a bad upload was stored")
        except grpc.RpcError as error:
            self._judge("bad upload", error, {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})

    def vanish(self) -> None:
        """The connection is cut somewhere. What came until then was no whole."""
        network = self._known.networks.torn
        network.to_client = Way(cut_after_bytes=self._chance.choice((0, 40, 3_000, 100_000)))
        with grpc.insecure_channel(network.address, options=_OWN) as channel:
            stub = tts_pb2_grpc.TextToSpeechStub(channel)
            try:
                for _ in stub.Synthesize(self._long(), timeout=_TIMEOUT_S):
                    pass
                raise Wrong("a stream that was cut ended well")
            except grpc.RpcError as error:
                self._judge("torn network", error, _CUTS)

    def read_slowly(self) -> None:
        """Over a network that carries little, for a while."""
        address = self._known.networks.thin.address
        with grpc.insecure_channel(address, options=_OWN) as channel:
            call = tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(
                self._long(), timeout=self._chance.uniform(3, 15)
            )
            try:
                for _ in call:
                    pass
                raise Wrong("a slow network carried ten minutes")
            except grpc.RpcError as error:
                self._judge("slow reader", error, {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})

    def _hear_tones(self, what: str, stub: tts_pb2_grpc.TextToSpeechStub) -> None:
        (text, encoding), expected = self._chance.choice(tuple(self._known.tones.items()))
        mode = self._chance.choices(tts_pb2.CacheMode.values()[:3], (6, 2, 2))[0]
        request = _request(text, encoding, "tone-low", mode)
        data = self._take(what, stub.Synthesize(request, timeout=_TIMEOUT_S))
        if data is not None and digest(data) != expected:
            raise Wrong(f"{text!r} in encoding {encoding} came with other bytes")

    def _take(
        self,
        what: str,
        call: Iterator[tts_pb2.SynthesizeResponse],
        header: list[tts_pb2.SynthesisHeader] | None = None,
    ) -> bytes | None:
        """All bytes of a stream that is whole; None of one that had reason not to be."""
        try:
            events = list(call)
        except grpc.RpcError as error:
            self._judge(what, error, set())
            return None
        kinds = [event.WhichOneof("event") for event in events]
        if kinds != ["header", *["audio"] * (len(events) - 2), "summary"]:
            raise Wrong(f"events out of order: {kinds[:3]} ... {kinds[-3:]}")
        data = b"".join(event.audio.data for event in events)
        summary = events[-1].summary
        if (summary.byte_count, summary.crc32c) != (len(data), google_crc32c.value(data)):
            raise Wrong("the summary's length or checksum is another")
        if header is not None:
            header.append(events[0].header)
        with self._known.lock:
            self._known.served_bytes += len(data)
            status = tts_pb2.CacheStatus.Name(events[0].header.cache_status).removeprefix(
                "CACHE_STATUS_"
            )
            self._known.counts[what, status] += 1
        return data

    def _judge(self, what: str, error: grpc.RpcError, expected: set[str]) -> None:
        """Takes note of how a call ended, if it may have ended so."""
        code = error.code().name
        reason = _reason(error)
        is_felt = time.monotonic() - self._known.struck_s < _STRIKE_FELT_S
        if code in expected or (code == "UNAVAILABLE" and reason in _LOSSES and is_felt):
            self._known.count(what, f"{code} {reason}".strip())
            return
        raise Wrong(f"{code} {reason}: {error.details()}")

    def _long(self) -> tts_pb2.SynthesizeRequest:
        """Much, of an own kind, so that nobody joins it."""
        text = f"{self._chance.getrandbits(60)}. {_LONG}"
        encoding = self._chance.choice(ENCODINGS)
        return _request(text, encoding, self._chance.choice(_TONE_VOICES))

    def _stub(self) -> tts_pb2_grpc.TextToSpeechStub:
        """On a connection that is a new one now and then."""
        if self._channel is None or self._calls_left == 0:
            if self._channel is not None:
                self._channel.close()
            self._channel = grpc.insecure_channel(self._address, options=_OWN)
            self._calls_left = _CALLS_A_CHANNEL
        self._calls_left -= 1
        return tts_pb2_grpc.TextToSpeechStub(self._channel)


def _request(
    text: str, encoding: int, voice: str, mode: int = tts_pb2.CACHE_MODE_UNSPECIFIED
) -> tts_pb2.SynthesizeRequest:
    audio_format = tts_pb2.AudioFormat(encoding=encoding)  # type: ignore[arg-type]
    return tts_pb2.SynthesizeRequest(text=text, voice=voice, format=audio_format, cache=mode)  # type: ignore[arg-type]


def _parts(voice: str, data: bytes) -> Iterator[tts_pb2.UploadVoiceRequest]:
    metadata = tts_pb2.VoiceMetadata(display_name="Anna", language="en", voice_id=voice)
    yield tts_pb2.UploadVoiceRequest(metadata=metadata)
    yield tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording())
    for start in range(0, len(data), 1 << 16):
        yield tts_pb2.UploadVoiceRequest(data=data[start : start + (1 << 16)])


def _reason(error: grpc.RpcError) -> str:
    try:
        if rpc_status.from_call(error) is None:  # type: ignore[arg-type]
            return ""
    except (ValueError, DecodeError):
        return ""
    return reason_of(error)


def _decode(data: bytes) -> None:
    with closing(av.open(io.BytesIO(data), "r")) as container:
        if not sum(frame.samples for frame in container.decode(audio=0)):
            raise Wrong("a file without a sample")
