"""Four servers with one cache folder, under load, and callers who compare every byte."""

import json
import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from protos.tts.v1 import tts_pb2
from tests.server_process import ServerProcess, running_server
from tests.speech import speak
from tts_service.cache import DiskTier

_DURATION_S = float(os.environ.get("SOAK_SECONDS", "4"))
_LEAST_CALLS = 200
_SERVERS = 4
_CALLERS = 2  # of each
_TEXTS = [f"Train number {number} leaves from platform {number % 7}." for number in range(60)]
_MODES = [tts_pb2.CACHE_MODE_UNSPECIFIED] * 9 + [tts_pb2.CACHE_MODE_REFRESH]
# Less than all of them take, so that something has to go all the time.
_LIMIT_BYTES = 2 << 20


def test_servers_share_a_folder(tmp_path: Path) -> None:
    shared = tmp_path / "cache"
    environment = {
        "TTS_CACHE__DIR": str(shared),
        "TTS_CACHE__SIZE_LIMIT_BYTES": str(_LIMIT_BYTES),
        "TTS_CACHE__MEMORY_LIMIT_BYTES": "50000",
        "TTS_LOG_FORMAT": "json",
    }
    with ExitStack() as stack:
        servers = []
        for number in range(_SERVERS):
            folder = tmp_path / f"server-{number}"
            folder.mkdir()
            server = running_server(
                folder, "--engine", "tone", environment=environment, keeps_speech=True
            )
            servers.append(stack.enter_context(server))
        with servers[0].stub() as stub:
            # What the engine says is the same each time.
            expected = {
                text: speak(stub, text=text, cache=tts_pb2.CACHE_MODE_BYPASS).data
                for text in _TEXTS
            }
        statuses: Counter[int] = Counter()
        wrong: list[str] = []

        def call(server: ServerProcess, seed: int) -> None:
            chance = random.Random(seed)
            with server.stub() as stub:
                while time.monotonic() < end_s or statuses.total() < _LEAST_CALLS:
                    text = _TEXTS[min(int(chance.expovariate(0.08)), len(_TEXTS) - 1)]
                    speech = speak(stub, text=text, cache=chance.choice(_MODES))
                    statuses[speech.header.cache_status] += 1
                    if speech.data != expected[text]:
                        wrong.append(text)

        end_s = time.monotonic() + _DURATION_S
        callers = [
            threading.Thread(target=call, args=(server, number * _CALLERS + caller))
            for number, server in enumerate(servers)
            for caller in range(_CALLERS)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    print(f"{dict(statuses)} by status; {len(wrong)} wrong")
    assert not wrong
    assert statuses[tts_pb2.CACHE_STATUS_HIT] > 10
    assert statuses[tts_pb2.CACHE_STATUS_MISS] > 10
    for server in servers:
        lines = [json.loads(line) for line in server.log.splitlines()]
        assert [line for line in lines if line["level"] not in ("debug", "info")] == []
    disk = DiskTier.open(shared, size_limit_bytes=_LIMIT_BYTES)
    assert not (shared / "set-aside").exists()
    assert list(disk.check(repair=False)) == []
    # Each may be about to write a value when the others have just filled what there was.
    assert disk.size_bytes < 1.2 * _LIMIT_BYTES
    disk.close()
