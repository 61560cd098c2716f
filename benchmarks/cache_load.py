"""For `cache.py`: a client in a process of its own, and the server that it is measured against."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import grpc.aio

from protos.tts.v1 import tts_pb2, tts_pb2_grpc

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Load:
    """How a server is called.

    Attributes:
        callers: calls in progress at once, at most.
        rate_hz: calls a second, at random times; 0 for each caller's next when its last is done.
    """

    callers: int
    seconds: float
    rate_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call, timed from when it was due.

    Attributes:
        first_ms: until the first message, which is the header.
        audio_ms: until the first message with audio.
        whole_ms: until the end.
    """

    first_ms: float
    audio_ms: float
    whole_ms: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What a client saw.

    Attributes:
        elapsed_s: from the first call's start until the last one's end.
        client_cpu_s: processor time of the client's process.
    """

    calls: tuple[Call, ...]
    elapsed_s: float
    client_cpu_s: float


class Client:
    """Calls servers from one process of its own."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def take(self, address: str, request: tts_pb2.SynthesizeRequest, load: Load) -> Taken:
        """Calls a server as `load` says; all answers have to be hits."""
        return self._pool.submit(_take, address, request.SerializeToString(), load).result()


@contextmanager
def running_client() -> Iterator[Client]:
    """Starts a client, and ends it when the context is left."""
    with ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
        yield Client(pool)


@contextmanager
def running_bare_server(
    responses: Sequence[tts_pb2.SynthesizeResponse],
) -> Iterator[tuple[str, int]]:
    """Starts a server that knows nothing but to send these messages; yields address and pid."""
    ours, theirs = _SPAWN.Pipe()
    messages = [response.SerializeToString() for response in responses]
    process = _SPAWN.Process(target=_serve_bare, args=(theirs, messages), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{ours.recv()}", process.pid or 0
    finally:
        process.terminate()
        process.join()


def _take(address: str, request: bytes, load: Load) -> Taken:
    return asyncio.run(_call_all(address, tts_pb2.SynthesizeRequest.FromString(request), load))


async def _call_all(address: str, request: tts_pb2.SynthesizeRequest, load: Load) -> Taken:
    calls: list[Call] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = tts_pb2_grpc.TextToSpeechStub(channel)
        await _call(stub, request, time.perf_counter())  # connects
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        due_times = _due_times(load, start_s)

        async def caller() -> None:
            for due_s in due_times:
                began_s = time.perf_counter()
                if due_s > began_s:
                    await asyncio.sleep(due_s - began_s)
                    # How late a timer is, is not the server's fault.
                    began_s = time.perf_counter()
                elif due_s:
                    began_s = due_s
                calls.append(await _call(stub, request, began_s))

        await asyncio.gather(*(caller() for _ in range(load.callers)))
    return Taken(tuple(calls), time.perf_counter() - start_s, time.process_time() - start_cpu_s)


def _due_times(load: Load, began_s: float) -> Iterator[float]:
    """Yields when calls are due, 0 for at once; shared by all callers."""
    chance = random.Random(1)
    due_s, end_s = began_s, began_s + load.seconds
    while due_s < end_s and time.perf_counter() < end_s:
        if load.rate_hz:
            due_s += chance.expovariate(load.rate_hz)
        yield due_s if load.rate_hz else 0.0


async def _call(stub: Any, request: tts_pb2.SynthesizeRequest, began_s: float) -> Call:
    first_s = audio_s = 0.0
    response = None
    async for response in stub.Synthesize(request):
        if not first_s:
            first_s = time.perf_counter()
            if response.header.cache_status != tts_pb2.CACHE_STATUS_HIT:
                raise RuntimeError("is no hit")
        elif not audio_s:
            audio_s = time.perf_counter()
    if response is None or not response.HasField("summary"):
        raise RuntimeError("was cut off")
    ended_s = time.perf_counter()
    return Call((first_s - began_s) * 1000, (audio_s - began_s) * 1000, (ended_s - began_s) * 1000)


class _Bare(tts_pb2_grpc.TextToSpeechServicer):
    def __init__(self, responses: Sequence[tts_pb2.SynthesizeResponse]) -> None:
        self._responses = responses

    async def Synthesize(  # noqa: N802 # the generated name
        self, request: tts_pb2.SynthesizeRequest, context: Any
    ) -> AsyncIterator[tts_pb2.SynthesizeResponse]:
        del request, context
        for response in self._responses:
            yield response


def _serve_bare(pipe: Connection, messages: Sequence[bytes]) -> None:
    responses = [tts_pb2.SynthesizeResponse.FromString(message) for message in messages]

    async def serve() -> None:
        server = grpc.aio.server()
        tts_pb2_grpc.add_TextToSpeechServicer_to_server(_Bare(responses), server)  # type: ignore[abstract]
        pipe.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())
