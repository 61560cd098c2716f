"""Callers who leave in the midst of a stream leave nothing behind."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from protos.tts.v1 import tts_pb2
from tests.server_process import running_server

_TEXT = "One of many callers, who hears the beginning and leaves. " * 40
_LEAVE_BEFORE, _LEAVE = 150, 400


def test_who_leaves_costs_no_memory(tmp_path: Path) -> None:
    """A read of the worker's that is cancelled once kept its message for good: 50 kB a caller."""
    request = tts_pb2.SynthesizeRequest(
        text=_TEXT,
        cache=tts_pb2.CACHE_MODE_BYPASS,
        format=tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE),
    )
    with (
        running_server(tmp_path, "--engine", "tone") as server,
        server.stub() as stub,
        ThreadPoolExecutor(6) as pool,
    ):
        front = psutil.Process(server.process.pid)

        def leave(_: int) -> None:
            call = stub.Synthesize(request)
            next(call)
            call.cancel()

        list(pool.map(leave, range(_LEAVE_BEFORE)))
        before_mb = front.memory_info().rss / 1e6
        list(pool.map(leave, range(_LEAVE)))
        growth_mb = front.memory_info().rss / 1e6 - before_mb
        log = server.log
    assert growth_mb < 10
    assert '"level": "error"' not in log
