"""Both clients against a server that streams well, badly, or not at all."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.contract.client_faces import FACES, Face
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    summary_event,
    whole_stream,
)
from tts_client import (
    AsyncClient,
    Cancelled,
    Client,
    Completion,
    CorruptStream,
    DeadlineExceeded,
    Encoding,
    EngineState,
    InvalidArgument,
    NotFound,
    RetryPolicy,
    ServerError,
    TextSpan,
    TruncatedStream,
    Unavailable,
)

FEW = RetryPolicy(max_attempts=1)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, server: ScriptedServer) -> Face:
    return FACES[request.param](server.address, retry=FEW)


def test_a_whole_stream_arrives_with_header_frames_and_summary(
    server: ScriptedServer, face: Face
) -> None:
    spoken = face.speak("Hello", voice="ada", language="en", format="opus", speed=1.5)

    request = server.calls[0].request
    assert (request.text, request.voice, request.language) == ("Hello", "ada", "en")
    assert request.format.encoding == Encoding.OGG_OPUS.value
    assert request.prosody.speed == 1.5
    assert spoken.header.voice == "ada"
    assert spoken.header.format.sample_rate_hz == 22_050
    assert [frame.data for frame in spoken.frames] == [b"one", b"two"]
    assert spoken.frames[1].start_ms == 40
    assert spoken.frames[1].span == TextSpan(0, 2)
    assert spoken.summary.audio_ms == 80
    assert spoken.summary.completion is Completion.SPOKEN


def test_read_joins_all_frames(face: Face) -> None:
    assert face.read("Hello") == b"onetwo"


def test_the_request_id_travels_and_comes_back_with_errors(
    server: ScriptedServer, face: Face
) -> None:
    def script(call, context):
        fail(context, grpc.StatusCode.INTERNAL, "broke")
        return []

    server.script = script
    with pytest.raises(ServerError) as caught:
        face.speak("Hello", request_id="order-66")

    assert server.calls[0].metadata["x-request-id"] == "order-66"
    assert caught.value.request_id == "order-66"


def test_each_call_without_a_request_id_gets_one_of_its_own(
    server: ScriptedServer, face: Face
) -> None:
    face.speak("one")
    face.speak("two")

    first, second = (call.metadata["x-request-id"] for call in server.calls)
    assert first
    assert first != second


@pytest.mark.parametrize(
    ("events", "error"),
    [
        pytest.param([], TruncatedStream, id="nothing"),
        pytest.param([header_event()], TruncatedStream, id="header only"),
        pytest.param([header_event(), audio_event(0, b"x")], TruncatedStream, id="no summary"),
        pytest.param([header_event(), audio_event(1, b"x")], CorruptStream, id="gap"),
        pytest.param(
            [header_event(), audio_event(0, b"x"), summary_event([b"x"], crc32c=1)],
            CorruptStream,
            id="wrong checksum",
        ),
        pytest.param(
            [header_event(), audio_event(0, b"x"), summary_event([b"x"], byte_count=2)],
            CorruptStream,
            id="wrong length",
        ),
        pytest.param(
            [*whole_stream([b"x"]), audio_event(1, b"y")], CorruptStream, id="after summary"
        ),
    ],
)
def test_a_stream_that_is_not_whole_is_never_taken_for_one(
    server: ScriptedServer, face: Face, events: list[object], error: type[Exception]
) -> None:
    server.script = lambda _call, _context: events

    with pytest.raises(error):
        face.speak("Hello")


def test_a_failed_stream_goes_on_failing() -> None:
    with ScriptedServer() as server, Client(server.address) as client:
        server.script = lambda _call, _context: [header_event(), audio_event(0, b"x")]
        speech = client.synthesize("Hello")
        assert next(speech).data == b"x"
        for _ in range(2):
            with pytest.raises(TruncatedStream):
                next(speech)
        with pytest.raises(RuntimeError, match="no summary before"):
            _ = speech.summary


def test_a_failure_in_mid_stream_is_raised_after_the_frames_before_it(
    server: ScriptedServer, face: Face
) -> None:
    def script(call, context):
        yield header_event()
        yield audio_event(0, b"x")
        fail(context, grpc.StatusCode.UNAVAILABLE, "the worker ended")

    server.script = script
    heard: list[bytes] = []
    with pytest.raises(Unavailable, match="the worker ended") as caught:
        face.speak("Hello", heard=lambda frame: heard.append(frame.data))

    assert heard == [b"x"]
    assert caught.value.request_id == "from-server"
    assert len(server.calls) == 1


def slow_stream(call, context):
    """Frames until the caller leaves."""
    yield header_event()
    for sequence in range(1_000):
        yield audio_event(sequence, b"x" * 100)
        if call.ended.wait(0.01):
            return


def test_cancel_ends_the_iteration_and_the_servers_work(server: ScriptedServer, face: Face) -> None:
    server.script = slow_stream

    with pytest.raises(Cancelled):
        face.cancel_after_first_frame("Hello")

    assert server.calls[0].ended.wait(2)
    assert server.calls[0].cancelled


def test_leaving_the_with_statement_cancels(server: ScriptedServer) -> None:
    server.script = slow_stream
    with Client(server.address) as client:
        with client.synthesize("Hello") as speech:
            next(speech)
        assert server.calls[0].ended.wait(2)
        assert server.calls[0].cancelled


async def test_cancelling_the_task_cancels_the_call_and_nothing_is_swallowed(
    server: ScriptedServer,
) -> None:
    server.script = slow_stream
    async with AsyncClient(server.address) as client:
        begun = asyncio.Event()

        async def listen() -> None:
            async for _ in client.synthesize("Hello"):
                begun.set()

        task = asyncio.create_task(listen())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.calls[0].ended.wait, 2)
        assert server.calls[0].cancelled


async def test_closing_the_async_client_is_an_error_and_no_cancellation_for_its_readers(
    server: ScriptedServer,
) -> None:
    server.script = slow_stream
    client = AsyncClient(server.address)
    speech = client.synthesize("Hello")
    await anext(speech)
    await client.close()
    with pytest.raises(Cancelled):
        await speech.read()


def test_another_thread_may_cancel(server: ScriptedServer) -> None:
    server.script = slow_stream
    with Client(server.address) as client:
        speech = client.synthesize("Hello")
        next(speech)
        threading.Timer(0.05, speech.cancel).start()
        with pytest.raises(Cancelled):
            speech.read()


def test_the_deadline_ends_a_call(server: ScriptedServer, face: Face) -> None:
    server.script = slow_stream
    begun = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        face.speak("Hello", timeout_s=0.3)

    assert time.monotonic() - begun < 5
    assert server.calls[0].ended.wait(2)


@pytest.mark.parametrize("make", FACES.values(), ids=FACES)
def test_the_clients_own_limit_is_used_when_the_call_has_none(
    server: ScriptedServer, make: Callable[..., Face]
) -> None:
    server.script = slow_stream

    with pytest.raises(DeadlineExceeded):
        make(server.address, timeout_s=0.3).speak("Hello")


@pytest.mark.parametrize("make", FACES.values(), ids=FACES)
def test_no_server_is_unavailable_without_a_reason(make: Callable[..., Face]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for use in (lambda f: f.speak("Hello"), lambda f: f.voices(), lambda f: f.server_info()):
            with pytest.raises(Unavailable) as caught:
                use(make(address, retry=FEW))
            assert caught.value.reason == ""


def test_a_text_that_is_no_text_never_leaves(server: ScriptedServer, face: Face) -> None:
    with pytest.raises(InvalidArgument) as caught:
        face.speak("a\ud800b")

    assert [violation.field for violation in caught.value.violations] == ["text"]
    assert server.calls == []


def test_an_unknown_option_is_refused(face: Face) -> None:
    with pytest.raises(TypeError, match="'pitch'"):
        face.speak("Hello", pitch=3)


def test_voices_come_from_all_pages_with_the_same_filters(
    server: ScriptedServer, face: Face
) -> None:
    voices = face.voices(language="en", engine="tone")

    assert [voice.id for voice in voices] == ["ada", "bob", "cleo", "dora", "emil"]
    assert voices[0].languages == ("en-US", "en-GB")
    assert [r.page_token for r in server.list_requests] == ["", "2", "4"]
    assert {(r.language, r.engine) for r in server.list_requests} == {("en", "tone")}


def test_one_voice_or_none(face: Face) -> None:
    assert face.voice("bob").display_name == "Bob"
    with pytest.raises(NotFound, match="zoe"):
        face.voice("zoe")


def test_server_info(face: Face) -> None:
    info = face.server_info()

    assert info.version == "9.8.7"
    assert info.engines[0].state is EngineState.READY
    assert info.engines[1].state is EngineState.UNSPECIFIED, "a state from the future"
    assert info.formats[0].encoding is Encoding.MP3
    assert info.formats[0].sample_rates_hz == (22_050, 24_000)
    assert info.limits.max_text_characters == 20_000
