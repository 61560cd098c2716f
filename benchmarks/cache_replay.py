"""For `cache.py`: a log of requests, replayed through a cache that is smaller than what it asks."""

import os
import random
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import accumulate, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import running_server
from tts_service.cache import DiskTier

PHRASE_COUNT = 4000
TOP_COUNT, TOP_SHARE = 20, 0.4
SIZE_LIMIT_BYTES = 8 << 20
MEMORY_LIMIT_BYTES = 256 << 10
# What a second of audio costs: about 35 ms for a phrase.
REAL_TIME_FACTOR = 0.1
_SAMPLE_INTERVAL_S = 0.005
_WALK_INTERVAL_S = 0.2


def replay(request_count: int) -> dict[str, float]:
    """Speaks a log of requests one after another; returns the figures by name."""
    log = make_log(request_count)
    phrases = list(dict.fromkeys(log))
    sizes = _measure_sizes(phrases)
    environment = {
        "TTS_CACHE__SIZE_LIMIT_BYTES": str(SIZE_LIMIT_BYTES),
        "TTS_CACHE__MEMORY_LIMIT_BYTES": str(MEMORY_LIMIT_BYTES),
        "TTS_TONE__REAL_TIME_FACTOR": str(REAL_TIME_FACTOR),
    }
    hits_ms: list[float] = []
    misses_ms: list[float] = []
    began_s = time.monotonic()
    with (
        TemporaryDirectory() as folder,
        running_server(
            Path(folder), "--engine", "tone", keeps_speech=True, environment=environment
        ) as server,
        server.stub() as stub,
        _watched(server.data_dir / "cache") as largest,
    ):
        for phrase in log:
            elapsed_ms, status = _speak(stub, phrase)
            # Nobody else asks, so that nothing is joined.
            (hits_ms if status == tts_pb2.CACHE_STATUS_HIT else misses_ms).append(elapsed_ms)
    most_used = sorted(phrases, key=log.count, reverse=True)[:TOP_COUNT]
    return {
        "requests": len(log),
        "phrases": len(phrases),
        "top_share": sum(log.count(phrase) for phrase in most_used) / len(log),
        "working_set_bytes": sum(map(sum, sizes.values())),
        "size_limit_bytes": SIZE_LIMIT_BYTES,
        "largest_value_bytes": max(map(max, sizes.values())),
        **largest,
        "hit_ratio": len(hits_ms) / len(log),
        "ideal_hit_ratio": ideal_hit_ratio(log, sizes, SIZE_LIMIT_BYTES),
        "hit_p50_ms": statistics.median(hits_ms),
        "hit_p99_ms": sorted(hits_ms)[int(0.99 * (len(hits_ms) - 1))],
        "hit_slowest_ms": max(hits_ms),
        "miss_fastest_ms": min(misses_ms),
        "miss_p50_ms": statistics.median(misses_ms),
        "elapsed_s": time.monotonic() - began_s,
    }


def make_log(request_count: int) -> list[str]:
    """Draws phrases from a Zipf distribution whose first `TOP_COUNT` have `TOP_SHARE`."""
    low, high = 0.0, 4.0
    for _ in range(60):
        exponent = (low + high) / 2
        weights = [rank**-exponent for rank in range(1, PHRASE_COUNT + 1)]
        share = sum(weights[:TOP_COUNT]) / sum(weights)
        low, high = (exponent, high) if share < TOP_SHARE else (low, exponent)
    chance = random.Random(1)
    phrases = list(islice(dict.fromkeys(_phrases(chance)), PHRASE_COUNT))
    return chance.choices(phrases, cum_weights=list(accumulate(weights)), k=request_count)


def _phrases(chance: random.Random) -> Iterator[str]:
    for _ in range(2 * PHRASE_COUNT):
        words = (_word(chance, chance.randint(2, 4)) for _ in range(2))
        yield " ".join(words)


def _word(chance: random.Random, syllables: int) -> str:
    return "".join(
        chance.choice("bdfgklmnprstvz") + chance.choice("aeiou") for _ in range(syllables)
    )


def _speak(stub: tts_pb2_grpc.TextToSpeechStub, phrase: str) -> tuple[float, int]:
    # Twice as fast: half as much audio.
    request = tts_pb2.SynthesizeRequest(text=phrase, prosody=tts_pb2.Prosody(speed=2.0))
    began_s = time.perf_counter()
    responses = list(stub.Synthesize(request))
    return (time.perf_counter() - began_s) * 1000, responses[0].header.cache_status


def _measure_sizes(phrases: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Has all phrases spoken and kept; returns what a response and its segment take on disk."""
    with TemporaryDirectory() as folder:
        with (
            running_server(Path(folder), "--engine", "tone", keeps_speech=True) as server,
            server.stub() as stub,
        ):
            for phrase in phrases:
                _speak(stub, phrase)
        disk = DiskTier.open(server.data_dir / "cache", size_limit_bytes=0)
        entries = list(disk.entries())
        disk.close()
    # In the order in which they came: a response, then its segment.
    pairs = zip(entries[::2], entries[1::2], strict=True)
    sizes = {}
    for phrase, (response, segment) in zip(phrases, pairs, strict=True):
        if not (response.key.startswith("rendition-") and segment.key.startswith("segment-")):
            raise RuntimeError("the entries are in another order")
        sizes[phrase] = response.size_bytes, segment.size_bytes
    return sizes


def ideal_hit_ratio(
    log: Sequence[str], sizes: Mapping[str, tuple[int, int]], limit_bytes: int
) -> float:
    """What the same values would have under a limit that knows every use at once."""
    kept: OrderedDict[tuple[str, str], int] = OrderedDict()
    size, hits = 0, 0

    def put(key: tuple[str, str], size_bytes: int) -> None:
        nonlocal size
        kept[key] = size_bytes
        size += size_bytes
        while size > limit_bytes:
            size -= kept.popitem(last=False)[1]

    for phrase in log:
        response, segment = (phrase, "response"), (phrase, "segment")
        if response in kept:
            kept.move_to_end(response)
            hits += 1
            continue
        known = segment in kept
        if known:
            kept.move_to_end(segment)
            hits += 1
        put(response, sizes[phrase][0])
        if not known:
            put(segment, sizes[phrase][1])
    return hits / len(log)


@contextmanager
def _watched(folder: Path) -> Iterator[dict[str, float]]:
    """Yields the largest sizes of a cache's folder that are seen until the context is left.

    `largest_size_bytes` is by the cache's own books, `largest_files_bytes` by the files.
    """
    largest: dict[str, float] = {"largest_size_bytes": 0, "largest_files_bytes": 0, "looks": 0}
    ended = threading.Event()

    def watch() -> None:
        # The same limit: it is written into the database.
        disk = DiskTier.open(folder, size_limit_bytes=SIZE_LIMIT_BYTES)
        walked_s = 0.0
        while not ended.wait(_SAMPLE_INTERVAL_S):
            largest["looks"] += 1
            largest["largest_size_bytes"] = max(largest["largest_size_bytes"], disk.size_bytes)
            if time.monotonic() - walked_s > _WALK_INTERVAL_S:
                walked_s = time.monotonic()
                found = _files_bytes(folder)
                largest["largest_files_bytes"] = max(largest["largest_files_bytes"], found)
        disk.close()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield largest
        finally:
            ended.set()
        watching.result()


def _files_bytes(folder: Path) -> int:
    """Of the database and all values, without what SQLite writes ahead and empties again."""
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(("-wal", "-shm")):
                with suppress(OSError):  # it went meanwhile
                    count += os.stat(os.path.join(parent, name)).st_size
    return count
