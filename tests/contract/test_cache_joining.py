"""Many callers of one text at once: one of them is spoken, and all hear it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.contract.test_cache import (
    BYPASS,
    HIT,
    MISS,
    PIPER_VOICE,
    REFRESH,
    assert_not_kept,
    caching_server,
    is_kept,
    metric,
)
from tests.server_process import ServerProcess
from tests.speech import Speech, all_at_once, details_of, speak
from tests.waiting import wait_until

_JOINED = tts_pb2.CACHE_STATUS_JOINED
_CALLERS = 50
_MARKERS = count(1)
_FORMAT = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE, frame_ms=100)
# Three of them: more than the transport takes in for a caller who does not read.
_MINUTES = "and so it went, on and on. " * 120


class _Call:
    """A call of Synthesize that is read as far as one wants.

    Attributes:
        events: what was read so far.
    """

    def __init__(self, stub: tts_pb2_grpc.TextToSpeechStub, text: str, **request: Any) -> None:
        message = tts_pb2.SynthesizeRequest(text=text, format=_FORMAT, **request)
        self._call = stub.Synthesize(message, timeout=60)
        self.events: list[tts_pb2.SynthesizeResponse] = []

    @property
    def status(self) -> Any:
        return self.events[0].header.cache_status

    @property
    def data(self) -> bytes:
        return b"".join(event.audio.data for event in self.events)

    @property
    def is_whole(self) -> bool:
        return self.events[-1].HasField("summary")

    def begin(self) -> "_Call":
        """Reads its header and first audio."""
        self.events += [next(self._call), next(self._call)]
        return self

    def finish(self) -> "_Call":
        """Reads the rest."""
        self.events += self._call
        return self

    def fail(self) -> grpc.RpcError:
        """Reads the rest, which ends in an error."""
        with pytest.raises(grpc.RpcError) as caught:
            self.events += self._call
        return caught.value

    def leave(self) -> None:
        self._call.cancel()


def _is_idle(server: ServerProcess) -> bool:
    """Whether neither the front nor its worker has anything to do."""
    processes = [psutil.Process(server.process.pid), *server.workers()]

    def busy_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before_s = busy_s()
    time.sleep(0.3)
    return busy_s() - before_s <= 0.02


def _count_values(server: ServerProcess) -> int:
    """Counts the files of values when all is written that was to be, two more each time."""
    marker = f"Marker {next(_MARKERS)}."
    with server.stub() as stub:
        speak(stub, text=marker)
        # It is written behind everything else.
        assert wait_until(lambda: is_kept(stub, text=marker, encoding="WAV"))
    return len(list((server.data_dir / "cache").rglob("*.val")))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Tone, four times as fast as real time."""
    folder = tmp_path_factory.mktemp("server")
    with caching_server(folder, "tone", TONE__REAL_TIME_FACTOR="0.25") as server:
        yield server


@pytest.fixture(scope="module")
def fast_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Tone, as fast as it goes, and as far ahead as it goes."""
    folder = tmp_path_factory.mktemp("fast-server")
    with caching_server(folder, "tone", RENDER_AHEAD_MS="600000") as server:
        yield server


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with server.stub() as stub:
        yield stub


def _misses(server: ServerProcess) -> float:
    """Segments that an engine was asked for."""
    return metric(server, 'tts_cache_segments_total{result="miss"}')


def test_one_of_fifty_is_spoken(tmp_path: Path) -> None:
    """Piper never says it in the same way twice; so what all hear alike was spoken once."""
    text = "Everybody wants to hear this at the same time. And so they do, all at once."
    with caching_server(tmp_path, "piper") as server, server.stub() as stub:
        assert speak(stub, text="Warm up.").header.voice == PIPER_VOICE
        before = _misses(server)

        def ask(_: int) -> Speech:
            return speak(stub, text=text, format=_FORMAT)

        results = all_at_once(ask, range(_CALLERS))
        assert _misses(server) == before + 2
        one, *others = results
        for other in others:
            assert other.frames == one.frames
        statuses = Counter(result.header.cache_status for result in results)
        assert statuses[MISS] == 1
        assert statuses[_JOINED] + statuses[HIT] == _CALLERS - 1
        assert statuses[_JOINED] > 0
        assert speak(stub, text=text, format=_FORMAT).frames == one.frames
        assert speak(stub, text=text, format=_FORMAT, cache=BYPASS).data != one.data


def test_who_leaves_is_nobody_elses_matter(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    text = (
        "Ten of us are going to leave before this comes to its end, the first among them, and all "
        "the others stay where they are, for as long as it takes, until the last word of it was "
        "heard by each, and as there are fifty of us who have to begin before it is over, on a "
        "machine that may be busy with other things, it goes on for a while yet and says nothing "
        "that would matter"
    )
    before = _misses(server)
    calls = [_Call(stub, text).begin()]
    calls += [_Call(stub, text) for _ in range(_CALLERS - 1)]
    all_at_once(_Call.begin, calls[1:])
    assert [call.status for call in calls] == [MISS] + [_JOINED] * (_CALLERS - 1)
    apart = [_Call(stub, text, cache=mode).begin() for mode in (BYPASS, REFRESH)]
    assert [call.status for call in apart] == [MISS, MISS]
    assert _misses(server) == before + 3
    for call in [*calls[:10], *apart]:
        call.leave()
    all_at_once(_Call.finish, calls[10:])
    assert all(call.is_whole for call in calls[10:])
    (data,) = {call.data for call in calls[10:]}
    assert len(data) == len(text) * 1440 * 2
    assert _misses(server) == before + 3
    again = speak(stub, text=text, format=_FORMAT)
    assert again.data == data


def test_who_comes_late_hears_it_from_the_start(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    text = "The one who comes late to this has missed nothing at all of what was said before."
    first = _Call(stub, text).begin()
    while len(first.data) < len(text) * 1440:
        first.events.append(next(first._call))
    late = _Call(stub, text).begin()
    assert late.status == _JOINED
    assert late.finish().data == first.finish().data


def test_a_lost_worker_fails_all_alike_and_nothing_is_kept(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    # One segment, of six seconds' work: on a busy machine fifty callers take a while to begin.
    text = (
        "Nobody will hear the end of this as the worker is going to be killed before that " * 5
    )[:390]
    kept = _count_values(server)
    calls = [_Call(stub, text) for _ in range(_CALLERS)]
    all_at_once(_Call.begin, calls)
    (worker,) = server.workers()
    worker.kill()
    errors = all_at_once(_Call.fail, calls)
    infos: list[Any] = [details_of(error)["ErrorInfo"] for error in errors]
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
    assert {info.reason for info in infos} == {"WORKER_LOST"}
    assert len({error.details() for error in errors}) == 1
    assert len({call.data for call in calls}) == 1
    assert not any(call.is_whole for call in calls)
    assert_not_kept(stub, text=text, format=_FORMAT)
    assert _count_values(server) == kept + 2
    again = speak(stub, text=text, format=_FORMAT)
    assert again.header.cache_status == MISS
    assert again.data.startswith(calls[0].data)


def test_work_for_nobody_ends_and_is_not_kept(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    text = " ".join(f"This is sentence {n}." for n in range(150))
    kept, before = _count_values(server), _misses(server)
    calls = [_Call(stub, text).begin() for _ in range(3)]
    for call in calls:
        call.leave()

    def is_over() -> bool:
        asked = _misses(server)
        time.sleep(1)  # a sentence takes a third of it
        return _misses(server) == asked

    assert wait_until(is_over)
    assert 1 <= _misses(server) - before < 100
    assert_not_kept(stub, text=text, format=_FORMAT)
    assert _count_values(server) == kept + 2
    assert _Call(stub, text).begin().status == MISS


def test_without_a_cache_callers_still_join(tmp_path: Path) -> None:
    settings = {"CACHE__ENABLED": "false", "TONE__REAL_TIME_FACTOR": "0.25"}
    text = "This is heard by three and kept by none."
    with caching_server(tmp_path, "tone", **settings) as server, server.stub() as stub:
        calls = [_Call(stub, text).begin() for _ in range(3)]
        assert [call.status for call in calls] == [MISS, _JOINED, _JOINED]
        assert len({call.finish().data for call in calls}) == 1
        assert _misses(server) == 1
        assert speak(stub, text=text, format=_FORMAT).header.cache_status == MISS


def test_the_slow_one_holds_up_nobody(fast_server: ServerProcess) -> None:
    with fast_server.stub() as stub:
        slow = _Call(stub, f"Slow, {_MINUTES}").begin()
        quick = _Call(stub, f"Slow, {_MINUTES}").begin()
        assert (slow.status, quick.status) == (MISS, _JOINED)
        assert quick.finish().is_whole
        assert slow.finish().data == quick.data
        assert is_kept(stub, text=f"Slow, {_MINUTES}", format=_FORMAT)


def test_what_is_all_spoken_when_the_last_one_leaves_is_kept(fast_server: ServerProcess) -> None:
    with fast_server.stub() as stub:
        call = _Call(stub, f"Gone, {_MINUTES}").begin()
        assert wait_until(lambda: _is_idle(fast_server))
        assert_not_kept(stub, text=f"Gone, {_MINUTES}", format=_FORMAT)
        call.leave()
        assert wait_until(lambda: is_kept(stub, text=f"Gone, {_MINUTES}", format=_FORMAT))


def test_what_is_too_large_is_whole_for_all_and_not_kept(tmp_path: Path) -> None:
    limit_bytes = 40_000
    settings = {"CACHE__ENTRY_LIMIT_BYTES": str(limit_bytes), "TONE__REAL_TIME_FACTOR": "1.5"}
    text = "Too large to be kept, and whole."
    with caching_server(tmp_path, "tone", **settings) as server, server.stub() as stub:
        slow, quick = _Call(stub, text), _Call(stub, text)
        grew = threading.Event()

        def read_slowly() -> None:
            slow.begin()
            assert grew.wait(30)
            slow.finish()

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_slowly)
            quick.begin()
            while len(quick.data) < limit_bytes:
                quick.events.append(next(quick._call))
            grew.set()
            late = _Call(stub, text)
            late.begin()
            quick.finish()
            reading.result(30)
            late.finish()
        assert sorted([slow.status, quick.status]) == [MISS, _JOINED]
        assert late.status == MISS
        assert slow.data == quick.data == late.data
        assert len(quick.data) == len(text) * 1440 * 2 > limit_bytes
        assert_not_kept(stub, text=text, format=_FORMAT)
        assert list((server.data_dir / "cache").rglob("*.val")) == []
        assert metric(server, 'tts_cache_entries{tier="disk"}') == 0
