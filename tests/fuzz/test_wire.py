"""Whatever comes over the wire: each call is answered, and others hear no difference.

`FUZZ_CASES` says how many cases there are, and `FUZZ_SEED` what number the first has. A case is
made from its number alone, so that a failure is had again with `FUZZ_SEED=NUMBER FUZZ_CASES=1`;
its message says so. `make fuzz` runs a hundred thousand, from another number each time.
"""

import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_status import rpc_status

from protos.tts.v1 import tts_pb2
from tests.faults.at_rest import QUIET_METRICS, Holdings, at_rest
from tests.fuzz.wire_frames import ATTACKS, message, request
from tests.fuzz.wire_messages import REQUESTS, mutant, upload
from tests.fuzz.wire_peer import Peer
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, speak
from tests.waiting import wait_until

_CASES = int(os.environ.get("FUZZ_CASES", "3000"))
_SEED = int(os.environ.get("FUZZ_SEED", "1"))
_MESSAGE_SHARE = 0.6
_UPLOAD_SHARE = 0.05
_FRAME_SHARE = 0.3

# What docs/api.md promises for such requests on a server that is well.
_DOCUMENTED = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
_BUSY = {"TOO_MANY_UPLOADS"}
# What gRPC itself says to who doesn't speak gRPC, before a handler sees anything of it.
_TRANSPORT = {"UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "CANCELLED"}
# What gRPC says to all calls of a connection that it hangs up on.
_TORN = ("Failed parsing HTTP/2", "Too many pings")
_CODES = {str(code.value[0]): code.name for code in grpc.StatusCode}
_LEAKS = ("Traceback", "Exception", ".py", "Error(", "/tmp", "/usr", "Unexpected <")

_OTHERS_TEXT = "Nobody else notices."
_SANE_S = 10.0
# They begin calls faster than the front takes them. gRPC lets 1,000 to 3,000 wait, seen in no
# figure, and of more than that drops some, honest ones among them. So memory says nothing while
# they last, but that it stays below what so many hold, and all when they are over.
_FLOODS = {"rapid_reset", "continuation_flood"}
_SANE_IN_A_FLOOD_S = 40.0
_AFTERMATH_S = 120.0
_MOST_IN_A_FLOOD_MB = 1600.0
_HALF_A_FLOOD = 200
# Longer than between two of the times when the front gives free memory back.
_GIVEN_BACK_S = 12.0
_HANG_S = 30.0
_FLAT_MB = 12.0
# What allocators keep of a flood grows with the first ones, less from one to the next.
_FLAT_AFTER_FLOODS_MB = 48.0
_MOST_HELD_MB = 256.0
# Of memory at the least, where there are as many cases.
_SAMPLES = 12
_PARALLEL = 4


class _Neighbour:
    """An honest caller beside it all, on connections of its own.

    Args:
        in_flood: whether calls of it may be dropped before anything is heard of them.
    """

    def __init__(self, server: ServerProcess, *, in_flood: bool) -> None:
        self._server = server
        self._in_flood = in_flood
        self._expected = self._hear()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="neighbour")
        self.slowest_s = 0.0
        self.calls = 0
        self.shed = 0
        self.wrong: list[str] = []

    def __enter__(self) -> "_Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def assert_heard(self) -> None:
        """Asserts that all calls got the right bytes in sane time, and that one does now."""
        assert not self.wrong
        assert self.slowest_s < (_SANE_IN_A_FLOOD_S if self._in_flood else _SANE_S)
        assert self._hear() == self._expected
        shed = f", {self.shed} were shed" if self.shed else ""
        print(f"a neighbour's {self.calls} calls took {self.slowest_s:.2f} s at the most{shed}")

    def _hear(self) -> bytes:
        with self._server.stub() as stub:
            return speak(stub, text=_OTHERS_TEXT, cache=tts_pb2.CACHE_MODE_BYPASS).data

    def _listen(self) -> None:
        while not self._over.wait(0.02):
            began_s = time.monotonic()
            try:
                if self._hear() != self._expected:
                    self.wrong.append("other bytes")
                self.calls += 1
            except grpc.RpcError as error:
                if self._in_flood and error.code() is grpc.StatusCode.CANCELLED:
                    self.shed += 1
                else:
                    self.wrong.append(repr(error))
            except Exception as error:
                self.wrong.append(repr(error))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("wire")
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = {
        **QUIET_METRICS,
        "TMPDIR": str(temporary),
        "TTS_CACHE__MEMORY_LIMIT_BYTES": str(1 << 20),
    }
    flags = ("--engine", "tone")
    with running_server(folder, *flags, environment=environment, keeps_speech=True) as server:
        yield server
    for line in server.log.splitlines():
        for trouble in ("handler failed", "Traceback", '"exception"', "worker ended", "hangs"):
            assert trouble not in line, line


@pytest.fixture(scope="module")
def baseline(server: ServerProcess) -> Holdings:
    """What the server holds once all its pools are as large as they get."""

    def warm(number: int) -> None:
        with server.stub() as stub:
            speak(stub, text=f"Warm {number}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(warm, range(64)))
    return at_rest(server)


@contextmanager
def _unharmed(
    server: ServerProcess, baseline: Holdings, *, in_flood: bool = False
) -> Iterator["_Memory"]:
    """Asserts that what happens within leaves the server and a neighbour as they were."""
    workers = server.workers()
    memory = _Memory(server)
    with _Neighbour(server, in_flood=in_flood) as neighbour:
        yield memory
    assert server.process.poll() is None
    if in_flood:
        _outlive(server)
        memory.assert_below(_MOST_IN_A_FLOOD_MB)
    else:
        memory.assert_flat(_FLAT_MB)
    at_rest(server, baseline, within_s=30, memory_slack_mb=_MOST_HELD_MB)
    assert server.workers() == workers
    neighbour.assert_heard()


def _outlive(server: ServerProcess) -> None:
    """Waits until no call of a flood waits any more."""

    def is_taken_at_once() -> bool:
        began_s = time.monotonic()
        try:
            with server.stub() as stub:
                speak(stub, text=_OTHERS_TEXT, cache=tts_pb2.CACHE_MODE_BYPASS)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:  # which is what gRPC drops look like
                raise
            return False
        return time.monotonic() - began_s < 0.5

    assert wait_until(is_taken_at_once, _AFTERMATH_S), "calls still wait long after the flood"


class _Memory:
    """The front's resident memory over the cases."""

    def __init__(self, server: ServerProcess) -> None:
        self._front = psutil.Process(server.process.pid)
        self._mb: list[float] = []

    def sample(self) -> None:
        self._mb.append(self._now_mb())

    def held_after_all(self, server: ServerProcess) -> float:
        """What is held once a flood is over and what it held is given back, in MB."""
        _outlive(server)
        time.sleep(_GIVEN_BACK_S)
        print(f"the front holds {self._now_mb():.0f} MB after the flood")
        return self._now_mb()

    def _now_mb(self) -> float:
        return self._front.memory_info().rss / 1e6

    def assert_flat(self, flat_mb: float) -> None:
        """Asserts that the last third of the cases added nothing to the second."""
        third = len(self._mb) // 3
        if third < 3:  # less than `_SAMPLES` cases, which somebody asks for again
            return
        middle, last = self._mb[third : 2 * third], self._mb[2 * third :]
        growth_mb = statistics.median(last) - statistics.median(middle)
        assert growth_mb < flat_mb, f"grew by {growth_mb:.1f} MB: {self._mb}"

    def assert_below(self, most_mb: float) -> None:
        """Asserts that it never held as much."""
        print(f"the front held {max(self._mb, default=0):.0f} MB at the most")
        assert max(self._mb, default=0) < most_mb


def _cases(share: float) -> range:
    """The numbers of so many of them."""
    return range(_SEED, _SEED + max(1, round(_CASES * share)))


def _run(
    numbers: range, one: Callable[[random.Random], str], memory: _Memory, name: str
) -> Counter[str]:
    """Runs these cases; returns how often each outcome was had."""

    every = max(1, min(20, len(numbers) // _SAMPLES))

    def case(number: int) -> str:
        if number % every == 0:
            memory.sample()
        try:
            return one(random.Random(number))
        except Exception as error:
            raise AssertionError(
                f"case {number} of {name}; again with: FUZZ_SEED={number} FUZZ_CASES=1 make fuzz"
                f" ARGS='-k {name}'"
            ) from error

    with ThreadPoolExecutor(_PARALLEL) as pool:
        outcomes = Counter(pool.map(case, numbers))
    print(f"\n{name}: {len(numbers)} cases from {numbers[0]} on: {dict(outcomes.most_common())}")
    return outcomes


@pytest.mark.timeout(0)
def test_messages(server: ServerProcess, baseline: Holdings) -> None:
    methods = ("Synthesize", "Synthesize", *REQUESTS)
    with _unharmed(server, baseline) as memory, grpc.insecure_channel(server.address) as channel:

        def one(chance: random.Random) -> str:
            method = chance.choice(methods)
            call = channel.unary_stream(f"/tts.v1.TextToSpeech/{method}")
            return _outcome(lambda: list(call(mutant(chance, REQUESTS[method]), timeout=_HANG_S)))

        outcomes = _run(_cases(_MESSAGE_SHARE), one, memory, "messages")
    if _CASES >= 1000:
        # Neither did all fail at the door nor did the wounds go unnoticed.
        assert min(outcomes["OK"], outcomes["INVALID_ARGUMENT"]) > outcomes.total() // 20


@pytest.mark.timeout(0)
def test_messages_of_an_upload_in_any_order(server: ServerProcess, baseline: Holdings) -> None:
    with _unharmed(server, baseline) as memory, grpc.insecure_channel(server.address) as channel:

        def one(chance: random.Random) -> str:
            call = channel.stream_unary("/tts.v1.TextToSpeech/UploadVoice")
            return _outcome(lambda: call(iter(upload(chance)), timeout=_HANG_S))

        outcomes = _run(_cases(_UPLOAD_SHARE), one, memory, "upload")
    assert outcomes["OK"] == 0


@pytest.mark.timeout(0)
def test_requests_more_or_fewer_than_one(server: ServerProcess, baseline: Holdings) -> None:
    """A unary call is one request. A client that nobody here wrote may send none, or several."""
    with _unharmed(server, baseline) as memory, grpc.insecure_channel(server.address) as channel:

        def one(chance: random.Random) -> str:
            method = chance.choice(tuple(REQUESTS))
            data = REQUESTS[method][0].SerializeToString()
            call = channel.stream_stream(f"/tts.v1.TextToSpeech/{method}")
            requests = iter([data] * chance.choice((0, 2, 3)))
            return _outcome(lambda: list(call(requests, timeout=5)), _TRANSPORT)

        outcomes = _run(_cases(0.02), one, memory, "more_or_fewer")
    assert outcomes["DEADLINE_EXCEEDED"] == 0, "a call without a request hangs"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ATTACKS)
def test_frames(server: ServerProcess, baseline: Holdings, name: str) -> None:
    cases = _cases(_FRAME_SHARE / len(ATTACKS))
    with _unharmed(server, baseline, in_flood=name in _FLOODS) as memory:

        def one(chance: random.Random) -> str:
            with closing(Peer(server.address)) as peer:
                ATTACKS[name](peer, chance)
                peer.listen(for_s=0.01)
                return ", ".join(sorted({_checked(*status) for status in peer.statuses}))

        half = len(cases) // 2
        if name in _FLOODS and half > _HALF_A_FLOOD:
            _run(cases[:half], one, memory, name)
            held_mb = memory.held_after_all(server)
            _run(cases[half:], one, memory, name)
            growth_mb = memory.held_after_all(server) - held_mb
            assert growth_mb < _FLAT_AFTER_FLOODS_MB, f"grew by {growth_mb:.1f} MB"
        else:
            _run(cases, one, memory, name)


@pytest.mark.parametrize("path", [b"/tts.v1.TextToSpeech/Nothing", b"/tts.v1.TextToSpeech/\x83"])
def test_a_path_that_nobody_knows_is_refused(
    server: ServerProcess, baseline: Holdings, path: bytes
) -> None:
    """One that isn't UTF-8 once ended the server, and everybody's calls."""
    log = len(server.log)
    with _unharmed(server, baseline), closing(Peer(server.address)) as peer:
        peer.greet()
        for stream in (1, 3):
            peer.call(stream, request("GetServerInfo", **{":path": path}), message(b""))
        peer.listen(for_s=1)
        assert peer.statuses.count(("12", "there is no such method")) == 2
    assert "error" not in server.log[log:]


def test_a_bomb_does_not_unfold(server: ServerProcess, baseline: Holdings) -> None:
    """60 kB become 60 MB to whoever decompresses it before looking at its size."""
    front = psutil.Process(server.process.pid)
    Path(f"/proc/{front.pid}/clear_refs").write_text("5")  # the peak begins anew
    before_mb = front.memory_info().rss / 1e6
    with closing(Peer(server.address)) as peer:
        ATTACKS["bomb"](peer, random.Random(1))
    status = Path(f"/proc/{front.pid}/status").read_text().splitlines()
    peak_mb = next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))
    assert peak_mb - before_mb < 20


def _outcome(call: Callable[[], object], more: Iterable[str] = ()) -> str:
    """ "OK" or the status, which is one that is documented and gives nothing away."""
    try:
        call()
    except grpc.RpcError as error:
        return _documented(error, more)
    return "OK"


def _documented(error: grpc.RpcError, more: Iterable[str]) -> str:
    _assert_gives_nothing_away(error.details() or "")
    code = error.code().name
    if rpc_status.from_call(error) is None:  # type: ignore[arg-type]
        assert code in more, f"{code}: {error.details()}"
    else:
        info = details_of(error)["ErrorInfo"]
        assert info.domain == "tts.v1"  # type: ignore[attr-defined]
        reason = str(info.reason)  # type: ignore[attr-defined]
        assert code in _DOCUMENTED or reason in _BUSY, f"{code} {reason}: {error.details()}"
    return code


def _checked(status: str, message: str) -> str:
    """The name of a status that came over the wire, which gives nothing away."""
    _assert_gives_nothing_away(message)
    code = _CODES.get(status, status)
    is_torn = code == "UNAVAILABLE" and message.startswith(_TORN)
    is_known = is_torn or code in {"OK", *_DOCUMENTED, *_TRANSPORT} or not status.isdigit()
    assert is_known, f"{code}: {message}"
    return code


def _assert_gives_nothing_away(text: str) -> None:
    for leak in _LEAKS:
        assert leak not in text, text
