"""Thousands of odd requests: each is served or refused by name, none breaks anything."""

from collections.abc import Iterator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess
from tests.speech import details_of

_OK = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
_INT32 = st.integers(-(2**31), 2**31 - 1)
# Characters of every kind that protobuf can carry; control characters and unassigned ones too.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
_ODD_INT = st.one_of(st.sampled_from([0, 1, -1, 8000, 22_050, 24_000, 48_000, 2**31 - 1]), _INT32)

_FORMATS = st.builds(
    tts_pb2.AudioFormat,
    encoding=st.one_of(st.integers(0, 11), _INT32),
    sample_rate_hz=_ODD_INT,
    bitrate_bps=st.one_of(st.sampled_from([0, 6_000, 32_000, 64_000, 320_000]), _INT32),
    frame_ms=st.one_of(st.integers(0, 120), _INT32),
)
_SAMPLINGS = st.builds(
    tts_pb2.Sampling,
    temperature=st.one_of(st.none(), st.floats(width=64)),
    top_k=st.one_of(st.none(), _INT32),
    seed=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
)
_SHARES = st.builds(
    tts_pb2.VoiceShare,
    voice=st.one_of(st.sampled_from(["tone-low", "tone-high"]), _TEXT),
    weight=st.one_of(st.sampled_from([0.5, 1e-300, 1.7e308]), st.floats(width=64)),
)
_REQUESTS = st.builds(
    tts_pb2.SynthesizeRequest,
    text=st.one_of(_TEXT, st.sampled_from(["Hello.", "a" * 500, "1. " * 40, "...", "\ud7ff"])),
    voice=st.one_of(st.just(""), st.sampled_from(["tone-low", "../../etc/passwd"]), _TEXT),
    language=st.one_of(st.just(""), st.sampled_from(["en", "de", "x", "en-" * 9]), _TEXT),
    sampling=st.one_of(st.none(), st.none(), _SAMPLINGS),
    voice_mix=st.one_of(st.just([]), st.lists(_SHARES, max_size=9)),
    format=st.one_of(st.none(), _FORMATS),
    prosody=st.one_of(
        st.none(), st.builds(tts_pb2.Prosody, speed=st.one_of(st.none(), st.floats(width=64)))
    ),
)

_MANY = settings(
    max_examples=1500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def channel(tone_server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tone_server.address) as channel:
        yield channel


def _assert_polite(error: grpc.RpcError, allowed: set[str] = _OK) -> None:
    assert error.code().name in allowed, f"{error.code()}: {error.details()}"
    details = details_of(error)
    assert details["ErrorInfo"].domain == "tts.v1"  # type: ignore[attr-defined]
    for leak in ("Traceback", "Exception", ".py", "Error(", "/tmp", "/usr"):
        assert leak not in (error.details() or "")


@_MANY
@given(request=_REQUESTS)
def test_odd_requests(channel: grpc.Channel, request: tts_pb2.SynthesizeRequest) -> None:
    stub = tts_pb2_grpc.TextToSpeechStub(channel)
    try:
        events = list(stub.Synthesize(request, timeout=20))
    except grpc.RpcError as error:
        _assert_polite(error)
    else:
        assert events[0].WhichOneof("event") == "header"
        assert events[-1].WhichOneof("event") == "summary"


@_MANY
@given(
    method=st.sampled_from(["Synthesize", "ListVoices", "GetVoice", "GetServerInfo"]),
    body=st.one_of(
        st.binary(max_size=64),
        st.tuples(_REQUESTS, st.integers(0, 200), st.binary(min_size=1, max_size=4)).map(
            lambda parts: _overwrite(parts[0].SerializeToString(), parts[1], parts[2])
        ),
    ),
)
def test_odd_bytes(channel: grpc.Channel, method: str, body: bytes) -> None:
    call = channel.unary_stream(f"/tts.v1.TextToSpeech/{method}")
    try:
        assert list(call(body, timeout=20))
    except grpc.RpcError as error:
        _assert_polite(error)


def _overwrite(body: bytes, position: int, patch: bytes) -> bytes:
    position %= len(body) + 1
    return body[:position] + patch + body[position + len(patch) :]


@settings(_MANY, max_examples=120)
@given(
    text=st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
        st.text(
            st.sampled_from("[]<>&#{}|\\/*_~^%$ .,;:!?'\"0123456789aIx\u0301\u200d"), max_size=40
        ),
    )
)
def test_odd_texts_on_the_default_engine(speech_server: ServerProcess, text: str) -> None:
    (worker,) = speech_server.workers()
    with speech_server.stub() as stub:
        try:
            events = list(stub.Synthesize(tts_pb2.SynthesizeRequest(text=text), timeout=60))
        except grpc.RpcError as error:
            _assert_polite(error, {"INVALID_ARGUMENT"})
        else:
            assert events[-1].WhichOneof("event") == "summary"
    assert speech_server.workers() == [worker], "the worker died of it"
