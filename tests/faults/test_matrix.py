"""Every method against every fault: the right answer or a status that says what happened, and
afterwards a server that holds what it held before and speaks the right bytes.

`make soak-matrix` runs a hundred rounds of each cell, and prints and keeps the figures.
"""

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.faults.at_rest import QUIET_METRICS, Holdings, at_rest, holdings
from tests.faults.full_disk import Disk, small_disk
from tests.faults.matrix_calls import (
    CALLS,
    Caller,
    HeldCall,
    Reference,
    channel_to,
    outcome_of,
    seed_voices,
    upload_parts,
)
from tests.server_process import ServerProcess, running_server

_ROUNDS = int(os.environ.get("SOAK_ROUNDS", "1"))
_FIGURES = os.environ.get("SOAK_JSON", "")
_ENVIRONMENT = {
    **QUIET_METRICS,
    "TTS_TONE__REAL_TIME_FACTOR": "0.01",
    "TTS_WORKER_HEALTH_INTERVAL_S": "0.2",
    # Workers are killed more often than a sane one fails.
    "TTS_WORKER_FAILURE_LIMIT": "1000000",
    # All calls of a row have a place at once.
    "TTS_ADMISSION__SLOTS": "16",
    # Small in memory, so that what is kept isn't taken for what leaks.
    "TTS_CACHE__MEMORY_LIMIT_BYTES": str(4 << 20),
    "TTS_CACHE__SIZE_LIMIT_BYTES": str(32 << 20),
}
# The call has to be midway by then: 9 MB that are read from the disk, on a machine that is busy.
_DEADLINE_S = 1.0

_LOST = "UNAVAILABLE WORKER_LOST"
_FULL = "RESOURCE_EXHAUSTED STORAGE_FULL"
_ENDED = {"UNAVAILABLE", "UNAVAILABLE SHUTTING_DOWN", "CANCELLED"}
# A worker without memory fails at what it was asked, or ends.
_OUT_OF_MEMORY = {_LOST, "INTERNAL RENDER_FAILED"}
# How a call may end whose worker was struck midway; all others end with the right answer. Speech
# that the worker was done with when it was struck is whole.
_STRUCK = {
    "killed": {"Synthesize, miss": {"OK", _LOST}, "UploadVoice": {"OK", _LOST}},
    "stopped": {"Synthesize, miss": {"OK", _LOST}, "UploadVoice": {"OK", _LOST}},
    "out of memory": {
        "Synthesize, miss": {"OK", *_OUT_OF_MEMORY},
        "UploadVoice": {"OK", *_OUT_OF_MEMORY},
    },
}


@dataclass
class _Bench:
    """A server that is harmed, and what is known of it.

    Attributes:
        figures: of each cell, what the server held before its rounds and after them.
    """

    server: ServerProcess
    disk: Disk
    caller: Caller
    reference: Reference
    figures: dict[str, tuple[Holdings, Holdings]] = field(default_factory=dict)

    def rounds(self, cell: str, one: Callable[[], None]) -> None:
        """Runs a cell once to warm up and then its rounds; all must leave the server as it was."""
        one()
        self.reference.assert_serves(self.server)
        before = at_rest(self.server)
        for _ in range(_ROUNDS):
            one()
            after = at_rest(self.server, before)
            self.reference.assert_serves(self.server)
        self.figures[cell] = (before, after)


@contextmanager
def _front(folder: Path, **settings: str) -> Iterator[ServerProcess]:
    """A tone server with a folder of its own, whose log holds no trace when it has ended."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {**_ENVIRONMENT, "TMPDIR": str(temporary), **settings}
    with running_server(
        folder, "--engine", "tone", environment=environment, keeps_speech=True
    ) as server:
        yield server
    for line in server.log.splitlines():
        if '"process": "front"' in line:
            assert '"exception"' not in line, line
            assert "handler failed" not in line, line
        else:
            # A worker's own words, in its format too; anything else was printed past the log.
            assert '"process": "worker:tone"' in line, line


@pytest.fixture(scope="module")
def reference(tone_server: ServerProcess) -> Reference:
    return Reference(tone_server)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> Iterator[_Bench]:
    folder = tmp_path_factory.mktemp("matrix")
    with small_disk(folder / "data") as disk:
        doomed = seed_voices(disk.folder, (_ROUNDS + 1) * (3 + len(_STRUCK) + 1))
        with _front(folder) as server:
            bench = _Bench(server, disk, Caller(server, reference, doomed), reference)
            bench.caller.warm_up()
            yield bench
        _report(bench.figures)


def test_every_method_has_a_row() -> None:
    service = tts_pb2.DESCRIPTOR.services_by_name["TextToSpeech"]
    assert {method.name for method in service.methods} == set(CALLS.values())


def test_looking_at_it_costs_nothing(bench: _Bench) -> None:
    """Each scrape of the metrics once left two descriptors of the cache's database open."""
    before = at_rest(bench.server)
    for _ in range(30):
        holdings(bench.server)
    at_rest(bench.server, before)


@pytest.mark.parametrize("name", CALLS)
def test_answered(bench: _Bench, name: str) -> None:
    def one() -> None:
        with channel_to(bench.server) as channel:
            assert outcome_of(bench.caller.begin(name, channel)) == "OK"

    bench.rounds(f"{name}: answered", one)


@pytest.mark.parametrize("name", CALLS)
def test_cancelled_midway(bench: _Bench, name: str) -> None:
    def one() -> None:
        with channel_to(bench.server) as channel:
            held = bench.caller.begin(name, channel)
            held.cancel()
            assert outcome_of(held) == "CANCELLED"

    bench.rounds(f"{name}: cancelled", one)


@pytest.mark.parametrize("name", CALLS)
def test_a_deadline_midway(bench: _Bench, name: str) -> None:
    def one() -> None:
        with channel_to(bench.server) as channel:
            held = bench.caller.begin(name, channel, timeout_s=_DEADLINE_S)
            _wait_for_end(held)
            assert outcome_of(held).startswith("DEADLINE_EXCEEDED")

    bench.rounds(f"{name}: past its deadline", one)


@pytest.mark.parametrize("strike", _STRUCK)
def test_a_worker_struck_midway(bench: _Bench, strike: str) -> None:
    """All calls at once, as they are when it happens."""

    def one() -> None:
        bench.caller.renew()
        before = _worker(bench.server)
        with ExitStack() as channels:
            held = _begin_all(bench.caller, bench.server, channels)
            with _struck(before, strike):
                outcomes = {name: outcome_of(call) for name, call in held.items()}
        for name, outcome in outcomes.items():
            assert outcome in _STRUCK[strike].get(name, {"OK"}), outcomes

    bench.rounds(f"all: worker {strike}", one)


def test_a_disk_that_is_full_midway(bench: _Bench) -> None:
    def one() -> None:
        with ExitStack() as channels:
            held = _begin_all(bench.caller, bench.server, channels)
            with bench.disk.full(bench.server.process.pid):
                outcomes = {name: outcome_of(call) for name, call in held.items()}
                assert outcomes.pop("UploadVoice") == _FULL
                assert set(outcomes.values()) == {"OK"}, outcomes
                # One that begins now, too.
                stub = tts_pb2_grpc.TextToSpeechStub(
                    channels.enter_context(channel_to(bench.server))
                )
                with pytest.raises(grpc.RpcError) as caught:
                    stub.UploadVoice(upload_parts("too-late"))
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert ("grpc-retry-pushback-ms", "-1") in caught.value.trailing_metadata()

    bench.rounds(f"all: disk full{'' if bench.disk.is_mounted else ' (file size limit)'}", one)


def test_drained_midway(tmp_path: Path, reference: Reference) -> None:
    """Within the grace all calls are answered; beyond it they end with a status, and the server."""
    data = tmp_path / "data"
    doomed = seed_voices(data, 2 * _ROUNDS)
    for grace_s in (60.0, 0.3) * _ROUNDS:
        with (
            _front(tmp_path, TTS_SHUTDOWN_GRACE_S=str(grace_s)) as server,
            ExitStack() as channels,
        ):
            caller = Caller(server, reference, doomed)
            caller.warm_up()
            held = _begin_all(caller, server, channels)
            children = psutil.Process(server.process.pid).children(recursive=True)
            caller.may_ask_on = False
            server.process.send_signal(signal.SIGTERM)
            if grace_s < 1:  # nobody goes on before it is over
                assert server.process.wait(20) == 0
            outcomes = {name: outcome_of(call) for name, call in held.items()}
            expected = {"OK"} if grace_s > 1 else _ENDED
            assert set(outcomes.values()) <= expected, outcomes
            assert server.process.wait(20) == 0
            _, alive = psutil.wait_procs(children, timeout=5)
            assert not alive
        for left in (tmp_path / "tmp", data / "spool", data / "voices" / "staging"):
            assert list(left.iterdir()) == []
    with _front(tmp_path) as server:
        reference.assert_serves(server)


def _begin_all(caller: Caller, server: ServerProcess, channels: ExitStack) -> dict[str, HeldCall]:
    return {name: caller.begin(name, channels.enter_context(channel_to(server))) for name in CALLS}


def _wait_for_end(held: HeldCall) -> None:
    """Waits until gRPC knows the call's status, without reading on."""
    held.call.code()


def _worker(server: ServerProcess) -> psutil.Process:
    (worker,) = (
        child for child in server.workers() if "tts_service.engines.worker" in child.cmdline()
    )
    return worker


@contextmanager
def _struck(worker: psutil.Process, strike: str) -> Iterator[None]:
    """Strikes a worker. Where it can live on, it gets well when the context is left."""
    match strike:
        case "killed":
            worker.kill()
            yield
        case "stopped":
            worker.suspend()
            yield
            assert not worker.is_running(), "a stopped worker was not replaced"
        case _:
            limits = resource.prlimit(worker.pid, resource.RLIMIT_AS)
            # Less than it has: nothing more is to be had from the kernel.
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (1 << 20, limits[1]))
            yield
            with suppress(ProcessLookupError):
                resource.prlimit(worker.pid, resource.RLIMIT_AS, limits)


def _report(figures: dict[str, tuple[Holdings, Holdings]]) -> None:
    """Prints what was held before the rounds and after them, and keeps it where that is wanted."""
    columns = ("calls", "front_fds", "front_threads", "front_mb", "children", "worker_fds")
    print(f"\n{_ROUNDS} rounds; before -> after")
    print(f"{'':<42}" + "".join(f"{column:>18}" for column in columns))
    for cell, (before, after) in figures.items():
        pairs = ((getattr(before, column), getattr(after, column)) for column in columns)
        print(f"{cell:<42}" + "".join(f"{f'{a:.0f} -> {b:.0f}':>18}" for a, b in pairs))
    if _FIGURES:
        path = Path(_FIGURES)
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = {
            cell: {"before": asdict(before), "after": asdict(after)}
            for cell, (before, after) in figures.items()
        }
        path.write_text(json.dumps({"rounds": _ROUNDS, "cells": cells}, indent=2) + "\n")
