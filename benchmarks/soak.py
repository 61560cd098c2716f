"""The whole service under everything at once, for an hour or as long as is asked for.

    python benchmarks/soak.py [--minutes 60] [--callers 6] [--seed N] [--json FILE]

Callers speak with Piper and with tones, in all encodings, new, kept and joined; they cancel, miss
deadlines, upload well and badly, vanish and read slowly, over good networks and bad ones, while
workers are killed and stopped. Every byte is checked: tones against a server that nobody harmed,
Piper's by its checksums, and what was kept against what was spoken. Every few seconds the memory,
the descriptors and the threads of the front and its workers are read.

A crowd comes first, so that pools, caches and allocators are as large as they get. After a warm-up,
a quarter of the time, Theil-Sen slopes with 99 % intervals say whether a figure grows (`slope.py`).
A worker's figures count by its lives, each without its first three minutes. In the first half only
the tones' worker is struck and in the second only Piper's: a slow leak shows in a worker that lives
for long. The exit status is 1 if a byte was wrong, a call ended with a status that it may not,
something is still held in the end, or a figure grows for certain and by more than its bound. Memory
is judged after ten minutes and more. Linux only.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from machine import Machine
from slope import Slope
from soak_callers import ENCODINGS, Caller
from soak_known import Known, Networks, digest, tone_texts

from protos.tts.v1 import tts_pb2
from tests.faults.at_rest import QUIET_METRICS, Holdings, at_rest, holdings
from tests.faulty_network import Way, faulty_network_thread
from tests.server_process import ServerProcess, running_server

_ENVIRONMENT = {
    **QUIET_METRICS,
    "TTS_WORKER_HEALTH_INTERVAL_S": "1",
    "TTS_WORKER_FAILURE_LIMIT": "1000000",
    # Whoever finds no place is refused, which is admission's own matter and not a fault.
    "TTS_ADMISSION__SLOTS": "64",
    "TTS_STALL_LIMIT_S": "8",
    # Small, so that they are full when the warm-up is over.
    "TTS_CACHE__MEMORY_LIMIT_BYTES": str(2 << 20),
    "TTS_CACHE__SIZE_LIMIT_BYTES": str(16 << 20),
}
# Pools of threads grow with those who call at once, up to their bounds.
_CROWD = 24
_CROWD_S = 60.0
_SAMPLE_EVERY_S = 3.0
_SAY_EVERY_S = 30.0
_WARM_UP_SHARE = 0.25
_MOST_FAILURES = 50
# Before that the caches, the pools and the allocator still fill up.
_MEMORY_JUDGED_AFTER_MIN = 10
# What has to be the same in the end, to the unit. Pools of threads grow to their bounds and stay,
# and each of their threads has descriptors of its own.
_LEFT_BY_NOBODY = (
    "calls",
    "renders",
    "places",
    "children",
    "worker_fds",
    "worker_folders",
    "spooled",
    "staged",
)
# In each life of a worker. Piper's memory grows until it has spoken long sentences on all its
# threads.
_LIFE_WARM_UP_S = 180.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure may grow by: so much an hour, and in a short run at least so much in all."""

    per_hour: float
    at_least: float


_BOUNDS = {
    "mb": Bound(per_hour=16.0, at_least=12.0),
    "fds": Bound(per_hour=4.0, at_least=3.0),
    "threads": Bound(per_hour=4.0, at_least=4.0),
}


class Samples:
    """Figures of the front and of each life of a worker, by name, as (seconds, value)."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._began_s = time.monotonic()
        self.front: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.workers: defaultdict[str, defaultdict[int, list[tuple[float, float]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def take(self) -> None:
        """Reads all of them."""
        at_s = time.monotonic() - self._began_s
        with suppress(psutil.NoSuchProcess, OSError):
            now: Holdings = holdings(self._server)
            self.front["fds"].append((at_s, now.front_fds))
            self.front["threads"].append((at_s, now.front_threads))
            self.front["mb"].append((at_s, now.front_mb))
        for worker in self._server.workers():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                engine = _engine(worker)
                if engine:
                    key = f"{engine} "
                    self.workers[key + "mb"][worker.pid].append(
                        (at_s, worker.memory_info().rss / 1e6)
                    )
                    self.workers[key + "fds"][worker.pid].append((at_s, worker.num_fds()))
                    self.workers[key + "threads"][worker.pid].append((at_s, worker.num_threads()))

    def slopes(self, seconds: float) -> dict[str, tuple[Slope | None, Bound]]:
        """Of each figure after its warm-up, with its bound; of a soak of so many seconds."""
        warm_up_s = _WARM_UP_SHARE * seconds
        slopes: dict[str, tuple[Slope | None, Bound]] = {}
        for name, series in self.front.items():
            warm = [(at_s, value) for at_s, value in series if at_s >= warm_up_s]
            slopes[f"front {name}"] = (Slope.of(warm), _BOUNDS[name])
        for name, lives in self.workers.items():
            warm_lives = [
                [(at_s, value) for at_s, value in life if at_s >= life[0][0] + _LIFE_WARM_UP_S]
                for life in lives.values()
            ]
            slope = Slope.of(*(life for life in warm_lives if len(life) > 2))
            slopes[f"worker {name}"] = (slope, _BOUNDS[name.partition(" ")[2]])
        return slopes


def main() -> int:
    """Soak, and say what was found. 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--callers", type=int, default=6, help="at the same time (6)")
    parser.add_argument("--seed", type=int, default=None, help="of all chances; printed")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"{options.minutes:g} minutes, {options.callers} callers, --seed {seed}", flush=True)
    failures: list[str] = []
    with ExitStack() as opened:
        known_tones = _reference()
        folder = Path(opened.enter_context(TemporaryDirectory()))
        temporary = folder / "tmp"
        temporary.mkdir()
        environment = {**_ENVIRONMENT, "TMPDIR": str(temporary)}
        flags = ("--engine", "tone", "--engine", "piper")
        server = opened.enter_context(
            running_server(folder, *flags, environment=environment, keeps_speech=True)
        )
        known = Known(known_tones, opened.enter_context(_networks(server)))
        _crowd(server, known, seed, failures)
        before = at_rest(server, within_s=60)
        samples = _soak(server, known, options.minutes * 60, options.callers, seed, failures)
        time.sleep(3 * _SAMPLE_EVERY_S)
        after = at_rest(server, within_s=60)
        failures += [f"kept speech of {text!r} was never spoken" for text in known.unmade()]
        log = server.log
        failures += _complaints(log)
    slopes = samples.slopes(options.minutes * 60)
    failures += _left(before, after)
    failures += _growing(slopes, options.minutes)
    _print(known, slopes, before, after, failures)
    if options.json:
        report = {
            "machine": asdict(Machine.here()),
            "minutes": options.minutes,
            "callers": options.callers,
            "seed": seed,
            "counts": {f"{what}: {how}": n for (what, how), n in sorted(known.counts.items())},
            "served_bytes": known.served_bytes,
            "before": asdict(before),
            "after": asdict(after),
            "slopes": {name: slope and asdict(slope) for name, (slope, _) in slopes.items()},
            "front": samples.front,
            "workers": samples.workers,
            "failures": failures,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        server_log = options.json.with_suffix(".server.log")
        server_log.write_text(log)
        print(f"\nwritten: {options.json}, and what the server said: {server_log}")
    return int(bool(failures))


def _reference() -> dict[tuple[str, int], str]:
    """The digest of each tone text in each encoding, from a server that nobody harms."""
    expected: dict[tuple[str, int], str] = {}
    with (
        TemporaryDirectory() as folder,
        running_server(Path(folder), "--engine", "tone") as server,
        server.stub() as stub,
    ):
        for text, encoding in itertools.product(tone_texts(), ENCODINGS):
            audio_format = tts_pb2.AudioFormat(encoding=encoding)
            request = tts_pb2.SynthesizeRequest(text=text, voice="tone-low", format=audio_format)
            data = b"".join(event.audio.data for event in stub.Synthesize(request))
            expected[text, encoding] = digest(data)
    return expected


@contextmanager
def _networks(server: ServerProcess) -> Iterator[Networks]:
    late = Way(latency_ms=5, slice_bytes=1000)
    with (
        faulty_network_thread(server.address, to_server=late, to_client=late) as patient,
        faulty_network_thread(
            server.address, to_client=Way(bytes_per_s=4000), is_thin=True
        ) as thin,
        faulty_network_thread(server.address) as torn,
    ):
        yield Networks(patient, thin, torn)


def _crowd(server: ServerProcess, known: Known, seed: int, failures: list[str]) -> None:
    """Has many more callers for a minute."""
    print(f"first {_CROWD} callers for {_CROWD_S:.0f} s", flush=True)
    end_s = time.monotonic() + _CROWD_S

    def is_over() -> bool:
        return time.monotonic() >= end_s or len(failures) >= _MOST_FAILURES

    def failed(name: str, error: Exception) -> None:
        failures.append(f"in the crowd, {name}: {type(error).__name__}: {error}")
        print(failures[-1], flush=True)

    with ThreadPoolExecutor(_CROWD) as pool:
        callers = [Caller(server.address, known, 100 + n, seed) for n in range(_CROWD)]
        for running in [pool.submit(caller.run, is_over, failed) for caller in callers]:
            running.result()


def _soak(
    server: ServerProcess,
    known: Known,
    seconds: float,
    caller_count: int,
    seed: int,
    failures: list[str],
) -> Samples:
    """Lets all callers loose for so long."""
    end_s = time.monotonic() + seconds
    samples = Samples(server)

    def is_over() -> bool:
        return time.monotonic() >= end_s or len(failures) >= _MOST_FAILURES

    def failed(name: str, error: Exception) -> None:
        at_s = seconds - (end_s - time.monotonic())
        failures.append(f"{at_s:.0f} s, {name}: {type(error).__name__}: {error}")
        print(failures[-1], flush=True)

    with ThreadPoolExecutor(caller_count + 1) as pool:
        callers = [Caller(server.address, known, n, seed) for n in range(caller_count)]
        running = [pool.submit(caller.run, is_over, failed) for caller in callers]
        running.append(pool.submit(_strike, server, known, seed, seconds, is_over))
        said_s = time.monotonic()
        while not is_over():
            time.sleep(_SAMPLE_EVERY_S)
            samples.take()
            if time.monotonic() - said_s >= _SAY_EVERY_S:
                said_s = time.monotonic()
                _say(known, samples, seconds - (end_s - said_s))
        for future in running:
            future.result()
    return samples


def _strike(
    server: ServerProcess, known: Known, seed: int, seconds: float, is_over: Callable[[], bool]
) -> None:
    """Kills or stops a worker now and then: in the first half tones', in the second Piper's."""
    chance = random.Random(f"{seed}/strikes")
    every_s = max(45.0, seconds / 12)
    began_s = time.monotonic()
    due_s = began_s + every_s
    while not is_over():
        time.sleep(0.5)
        if time.monotonic() < due_s:
            continue
        due_s = time.monotonic() + every_s * chance.uniform(0.8, 1.2)
        struck = "tone" if time.monotonic() - began_s < seconds / 2 else "piper"
        workers = [worker for worker in server.workers() if _engine(worker) == struck]
        if workers:
            known.struck_s = time.monotonic()
            worker = chance.choice(workers)
            how, strike = chance.choice((("killed", worker.kill), ("stopped", worker.suspend)))
            known.count(f"worker {_engine(worker)}", how)
            with suppress(psutil.NoSuchProcess):
                strike()


def _engine(process: psutil.Process) -> str:
    """The engine of a worker; "" for any other process."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        for argument in process.cmdline():
            if argument.startswith("--engine="):
                return argument.partition("=")[2]
    return ""


def _say(known: Known, samples: Samples, at_s: float) -> None:
    with known.lock:
        calls, served_mb = known.counts.total(), known.served_bytes / 1e6
    now = ", ".join(f"{name} {series[-1][1]:.0f}" for name, series in samples.front.items())
    print(f"{at_s / 60:5.1f} min: {calls} calls, {served_mb:.0f} MB; front: {now}", flush=True)


def _complaints(log: str) -> list[str]:
    """Lines of the log that no fault from outside may bring forth."""
    bad = ("handler failed", "Traceback", "never retrieved", "broke the contract")
    lines = [line for line in log.splitlines() if any(word in line for word in bad)]
    return [f"log: {line[:500]}" for line in lines[:_MOST_FAILURES]]


def _left(before: Holdings, after: Holdings) -> list[str]:
    """What is still held though nobody calls any more."""
    held_before, held = asdict(before), asdict(after)
    return [
        f"{name} was {held_before[name]} before, and is {held[name]} at rest"
        for name in _LEFT_BY_NOBODY
        if held[name] > held_before[name]
    ]


def _growing(slopes: dict[str, tuple[Slope | None, Bound]], minutes: float) -> list[str]:
    return [
        f"{name} grows by {slope.per_hour:.1f} an hour"
        for name, (slope, bound) in slopes.items()
        if slope
        and (minutes >= _MEMORY_JUDGED_AFTER_MIN or not name.endswith(" mb"))
        and slope.exceeds(per_hour=bound.per_hour, at_least=bound.at_least)
    ]


def _print(
    known: Known,
    slopes: dict[str, tuple[Slope | None, Bound]],
    before: Holdings,
    after: Holdings,
    failures: list[str],
) -> None:
    print("\nwhat was done, and how it ended")
    by_what: defaultdict[str, list[str]] = defaultdict(list)
    for (what, how), count in sorted(known.counts.items()):
        by_what[what].append(f"{how} {count}")
    for what, outcomes in by_what.items():
        print(f"  {what:<24}{', '.join(outcomes)}")
    print(f"  {known.counts.total()} in all, {known.served_bytes / 1e6:.0f} MB of audio checked")
    print("\nslopes an hour, Theil-Sen, 99 % interval; bound")
    for name, (slope, bound) in slopes.items():
        if slope is None:
            print(f"  {name:<24}too few samples")
            continue
        interval = f"{slope.low_per_hour:.2f} to {slope.high_per_hour:.2f}"
        verdict = "not distinguishable from 0" if slope.is_zero else "distinguishable from 0"
        print(f"  {name:<24}{slope.per_hour:>9.2f}  ({interval}); {bound.per_hour:g}; {verdict}")
    print("\nat rest, before and after")
    for name, value in asdict(before).items():
        print(f"  {name:<24}{value:>9.0f}{asdict(after)[name]:>9.0f}")
    print(f"\n{len(failures)} failures")
    for failure in failures:
        print(f"  {failure}")


if __name__ == "__main__":
    sys.exit(main())
