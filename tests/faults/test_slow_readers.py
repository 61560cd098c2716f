"""Callers who read slowly, or not at all."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.faulty_network import FaultyNetwork, Way, faulty_network_thread
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, speak
from tests.waiting import wait_until

_READERS = 20
_STALL_LIMIT_S = 1.5
# Eleven minutes of tones, 31 MB as PCM.
_LONG = ("This goes on for a good while, and nobody reads it quickly. " * 200)[:10_000]
# What may lie ready for one reader: five seconds of samples, and what the transports hold.
_BYTES_EACH = 3_000_000
# gRPC's clients let a server send megabytes ahead, unless they are told not to.
_SMALL_WINDOW = (
    ("grpc.http2.lookahead_bytes", 1 << 14),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A tone server that doesn't wait for long."""
    environment = {"TTS_STALL_LIMIT_S": str(_STALL_LIMIT_S)}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        yield server


@pytest.fixture
def patient_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A tone server as it comes."""
    with running_server(tmp_path, "--engine", "tone") as server:
        yield server


def _relay(address: str, bytes_per_s: float) -> AbstractContextManager[FaultyNetwork]:
    """A slow network that runs in a thread of its own."""
    way = Way(bytes_per_s=bytes_per_s)
    return faulty_network_thread(address, to_client=way, is_thin=True)


def _is_at_rest(server: ServerProcess) -> bool:
    """Whether neither the front nor its workers do much for half a second."""

    def busy_s() -> float:
        processes = [psutil.Process(server.process.pid), *server.workers()]
        return float(sum(sum(process.cpu_times()[:2]) for process in processes))

    before = busy_s()
    time.sleep(0.5)
    return busy_s() - before < 0.1


def _resident_bytes(server: ServerProcess) -> int:
    processes = [psutil.Process(server.process.pid), *server.workers()]
    return sum(process.memory_info().rss for process in processes)


def _begin(stack: ExitStack, address: str, number: int) -> Any:
    """Asks for a long text that nobody else asks for, on a connection of its own."""
    channel = stack.enter_context(grpc.insecure_channel(address, options=_SMALL_WINDOW))
    request = tts_pb2.SynthesizeRequest(text=f"{number}. {_LONG}"[:10_000])
    return tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(request)


def test_slow_readers_take_little_memory_and_nothing_from_others(
    patient_server: ServerProcess,
) -> None:
    server = patient_server
    with (
        _relay(server.address, 1000) as network,
        server.stub() as stub,
        ExitStack() as channels,
    ):
        expected = speak(stub, text="Nobody else notices.").data
        before = _resident_bytes(server)
        calls = [_begin(channels, network.address, number) for number in range(_READERS)]
        for call in calls:
            assert next(call).WhichOneof("event") == "header"
        for _ in range(5):
            assert speak(stub, text="Nobody else notices.").data == expected
        # It comes to rest long before all of it is spoken: nobody has read that far.
        assert wait_until(lambda: _is_at_rest(server), 30)
        assert _resident_bytes(server) - before < _READERS * _BYTES_EACH
        assert speak(stub, text="Nobody else notices.").data == expected
        for call in calls:
            assert call.is_active()
            call.cancel()


def test_who_does_not_read_is_cut_off(server: ServerProcess) -> None:
    with ExitStack() as channels:
        call = _begin(channels, server.address, 0)
        assert next(call).WhichOneof("event") == "header"
        assert wait_until(lambda: server.times_logged("READ_TOO_SLOWLY") == 1, 10)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(caught.value)["ErrorInfo"].reason == "READ_TOO_SLOWLY"  # type: ignore[attr-defined]


def test_when_a_network_stands_still_all_work_for_it_ends(server: ServerProcess) -> None:
    text = f"0. {_LONG}"[:10_000]
    request = tts_pb2.SynthesizeRequest(text=text)

    def cache_status(stub: tts_pb2_grpc.TextToSpeechStub) -> tts_pb2.CacheStatus.ValueType:
        call = stub.Synthesize(request)
        header = next(call).header
        call.cancel()
        return header.cache_status

    with _relay(server.address, 20_000) as network, ExitStack() as channels:
        calls = [_begin(channels, network.address, number) for number in range(_READERS)]
        for call in calls:
            assert next(call).WhichOneof("event") == "header"
        network.stall()
        with server.stub() as stub:
            assert cache_status(stub) == tts_pb2.CACHE_STATUS_JOINED
            assert wait_until(lambda: server.times_logged("READ_TOO_SLOWLY") == _READERS, 20)
            assert cache_status(stub) == tts_pb2.CACHE_STATUS_MISS
        assert wait_until(lambda: _is_at_rest(server), 20)
    # The grace for calls is ten seconds; there are none.
    server.process.terminate()
    assert server.process.wait(9) == 0


def test_who_reads_slowly_but_steadily_is_heard_out(server: ServerProcess) -> None:
    with (
        _relay(server.address, 24_000) as network,
        grpc.insecure_channel(network.address, options=_SMALL_WINDOW) as channel,
        server.stub() as stub,
    ):
        text = "Some tones, at half of their pace"
        expected = speak(stub, text=text).data
        assert speak(tts_pb2_grpc.TextToSpeechStub(channel), text=text).data == expected
    assert not server.times_logged("READ_TOO_SLOWLY")
