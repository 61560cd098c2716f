"""Kept speech from outside: what is replayed, what is shared, what is not kept, what may fail."""

import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess, running_server
from tests.speech import Speech, details_of, speak
from tests.waiting import wait_until
from tests.xtts_checkpoint import TINY, write_checkpoint

MISS = tts_pb2.CACHE_STATUS_MISS
HIT = tts_pb2.CACHE_STATUS_HIT
BYPASS = tts_pb2.CACHE_MODE_BYPASS
REFRESH = tts_pb2.CACHE_MODE_REFRESH
ONLY = tts_pb2.CACHE_MODE_ONLY

# Not the same twice: what comes again with the same bytes was spoken once.
PIPER_VOICE = "en_US-joe-medium"
_ENCODINGS = [name.removeprefix("ENCODING_") for name in tts_pb2.Encoding.keys()[1:]]


def caching_server(
    folder: Path, *engines: str, **settings: str
) -> AbstractContextManager[ServerProcess]:
    """A server that keeps speech, with settings such as `CACHE__MAX_AGE_S`."""
    environment = {
        "TTS_ENGINES": ",".join(engines),
        "TTS_METRICS_LISTEN": "127.0.0.1:0",
        # Workers are stopped for a while here, and that is not for the server to mend.
        "TTS_WORKER_HEALTH_INTERVAL_S": "60",
        **{f"TTS_{name}": value for name, value in settings.items()},
    }
    keeps_speech = environment.get("TTS_CACHE__ENABLED") != "false"
    return running_server(folder, environment=environment, keeps_speech=keeps_speech)


@contextmanager
def nobody_speaks(server: ServerProcess) -> Iterator[None]:
    """Stops all workers meanwhile."""
    workers = server.workers()
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


def metric(server: ServerProcess, name: str) -> float:
    """A value that Prometheus would read, by its name with the labels; 0 if there is none."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
    return float(values[0]) if values else 0.0


def heard(speech: Speech) -> tuple[Any, ...]:
    """All that a caller is told, but for the request's id, the cache, and how long it took."""
    header, summary = tts_pb2.SynthesisHeader(), tts_pb2.SynthesisSummary()
    header.CopyFrom(speech.header)
    summary.CopyFrom(speech.summary)
    header.request_id, header.cache_status = "", tts_pb2.CACHE_STATUS_UNSPECIFIED
    summary.first_audio_ms = summary.render_ms = summary.real_time_factor = 0.0
    return header, speech.frames, summary


def assert_not_kept(stub: tts_pb2_grpc.TextToSpeechStub, **request: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        speak(stub, cache=ONLY, **request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND, caught.value
    info: Any = details_of(caught.value)["ErrorInfo"]
    assert info.reason == "NOT_CACHED"


def is_kept(stub: tts_pb2_grpc.TextToSpeechStub, **request: Any) -> bool:
    try:
        return speak(stub, cache=ONLY, **request).header.cache_status == HIT
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Piper and tone, for all tests that speak texts of their own."""
    with caching_server(tmp_path_factory.mktemp("server"), "piper", "tone") as server:
        yield server


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with server.stub() as stub:
        yield stub


def test_what_is_replayed_is_what_was_heard(tmp_path: Path) -> None:
    """In each encoding and of each engine; from memory, and from the disk after a restart."""
    requests = [
        {"text": f"Number {n}. It is here.", "voice": voice, "encoding": encoding}
        for n, encoding in enumerate(_ENCODINGS)
        for voice in (PIPER_VOICE, "tone-low")
    ]

    def ask(server: ServerProcess) -> list[Speech]:
        with server.stub() as stub:
            return [speak(stub, **request) for request in requests]

    def results(server: ServerProcess) -> list[float]:
        names = ("miss", "memory", "disk", "segments")
        return [metric(server, f'tts_cache_requests_total{{result="{name}"}}') for name in names]

    with caching_server(tmp_path, "piper", "tone") as server:
        first = ask(server)
        with nobody_speaks(server):
            replayed = [ask(server)]
        assert results(server) == [20, 20, 0, 0]
    with caching_server(tmp_path, "piper", "tone") as server:
        with nobody_speaks(server):
            replayed += [ask(server), ask(server)]
        assert results(server) == [0, 20, 20, 0]
    assert len({speech.data for speech in first}) == 20
    assert {speech.header.cache_status for speech in first} == {MISS}
    for again in replayed:
        assert {speech.header.cache_status for speech in again} == {HIT}
        assert [heard(speech) for speech in again] == [heard(speech) for speech in first]


def test_a_known_phrase_in_another_format_is_not_spoken_again(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    text = "Thank you for waiting. Somebody will be with you soon."
    first = speak(stub, text=text, voice=PIPER_VOICE, encoding="PCM_S16LE")
    assert wait_until(lambda: is_kept(stub, text=text, voice=PIPER_VOICE, encoding="MULAW"))
    with nobody_speaks(server):
        others = {
            encoding: speak(stub, text=text, voice=PIPER_VOICE, encoding=encoding)
            for encoding in _ENCODINGS
        }
        slower = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_MP3, bitrate_bps=32_000)
        assert speak(stub, text=text, voice=PIPER_VOICE, format=slower).header.cache_status == HIT
    assert {speech.header.cache_status for speech in others.values()} == {HIT}
    assert others["WAV"].data[44:] == first.data
    for speech in (first, *others.values()):
        assert _named(text, speech) == text.replace(" ", "")


def test_the_modes(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    def ask(**request: Any) -> Speech:
        request = {"text": "Mind the gap.", "encoding": "PCM_S16LE"} | request
        return speak(stub, voice=PIPER_VOICE, **request)

    assert_not_kept(stub, text="Mind the gap.", voice=PIPER_VOICE)
    assert ask(cache=BYPASS).header.cache_status == MISS
    assert_not_kept(stub, text="Mind the gap.", voice=PIPER_VOICE)

    first = ask()
    bypass = ask(cache=BYPASS)
    assert (first.header.cache_status, bypass.header.cache_status) == (MISS, MISS)
    assert bypass.data != first.data
    assert ask().data == ask(cache=ONLY).data == first.data

    refreshed = ask(cache=REFRESH)
    assert refreshed.header.cache_status == MISS
    assert refreshed.data not in {first.data, bypass.data}
    assert heard(ask()) == heard(ask(cache=ONLY)) == heard(refreshed)
    # Its segments were replaced, too, a moment later.
    assert wait_until(lambda: ask(encoding="WAV", cache=ONLY).data[44:] == refreshed.data)
    assert ask(cache=ONLY).header.cache_status == HIT


def test_speech_that_began_before_a_refresh_does_not_replace_it(server: ServerProcess) -> None:
    text = " ".join(f"This is sentence {n} of a long story." for n in range(8))
    request = tts_pb2.SynthesizeRequest(text=text, voice=PIPER_VOICE)
    request.format.encoding = tts_pb2.ENCODING_PCM_S16LE
    # So this one takes in no more than 64 KiB before it is read.
    narrow = grpc.insecure_channel(server.address, options=[("grpc.http2.bdp_probe", 0)])
    with narrow as channel, server.stub() as stub:
        slow = tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(request, timeout=60)
        assert next(slow).header.cache_status == MISS
        refreshed = speak(stub, text=text, voice=PIPER_VOICE, format=request.format, cache=REFRESH)
        old = b"".join(event.audio.data for event in slow)
        kept = speak(stub, text=text, voice=PIPER_VOICE, format=request.format)
        assert kept.header.cache_status == HIT
        assert kept.data == refreshed.data != old


def _named(text: str, speech: Speech) -> str:
    """What the frames say that they speak, without spaces. They go on, and share what they cut."""
    starts, ends = zip(
        *((f.span.start_character, f.span.end_character) for f in speech.frames), strict=True
    )
    assert list(starts) == sorted(starts)
    assert list(ends) == sorted(ends)
    heard = {n for start, end in zip(starts, ends, strict=True) for n in range(start, end)}
    return "".join("".join(text[n] for n in sorted(heard)).split())


def test_what_is_shared_and_what_is_not(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    def status(text: str = "Share me, please. Twice.", **request: Any) -> Any:
        request = {"voice": "tone-low", "encoding": "MP3"} | request
        return speak(stub, text=text, **request).header.cache_status

    assert status() == MISS
    assert status() == HIT
    assert status("\n  Share me, please. Twice.\t ") == HIT
    assert status(prosody=tts_pb2.Prosody(speed=1.0)) == HIT
    assert status(language="en") == HIT
    assert status(voice="tone-high") == MISS
    assert status(language="de") == MISS
    assert status(prosody=tts_pb2.Prosody(speed=1.5)) == MISS
    assert status("Share me, please. Thrice.") == MISS
    assert status("share me, please. twice.") == MISS
    # The same sentences, with other positions in the text; they come from their segments.
    for spaced in ("Share  me, please.\n\nTwice.", "Twice. Share me, please."):
        assert wait_until(lambda spaced=spaced: is_kept(stub, text=spaced, voice="tone-low"))  # type: ignore[misc]
        own = speak(stub, text=spaced, voice="tone-low")
        assert _named(spaced, own) == "".join(spaced.split())


def test_only_the_new_sentence_of_five_is_spoken(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    known = ["The doors open at eight.", "Please have your tickets ready."]
    known += ["Dogs are welcome.", "Enjoy the show."]

    def ask(*sentences: str) -> Speech:
        text = " ".join(sentences)
        return speak(stub, text=text, voice=PIPER_VOICE, encoding="PCM_S16LE")

    def counted() -> list[float]:
        names = ("hit", "miss")
        return [metric(server, f'tts_cache_segments_total{{result="{name}"}}') for name in names]

    four = ask(*known)
    assert wait_until(
        lambda: is_kept(stub, text=" ".join(known), voice=PIPER_VOICE, encoding="ALAW")
    )
    hits, misses = counted()
    five = ask(*known[:2], "There will be one break.", *known[2:])
    assert counted() == [hits + 4, misses + 1]
    assert five.header.cache_status == MISS
    # Around the new one everything is to the bit as it was.
    same_start = _common_length(four.data, five.data)
    same_end = _common_length(four.data[::-1], five.data[::-1])
    assert same_start + same_end >= len(four.data)


def _common_length(one: bytes, other: bytes) -> int:
    differing = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def test_seeds(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TINY)
    settings = {
        "XTTS__CHECKPOINT_DIR": str(checkpoint),
        "XTTS__DEVICE": "cpu",
        "XTTS__PRECISION": "float32",
    }

    def ask(stub: tts_pb2_grpc.TextToSpeechStub, text: str = "Heads or tails?", **more: Any) -> Any:
        request = {"voice": "ana-example", "language": "en", "encoding": "PCM_S16LE"} | more
        own = speak(stub, text=text, **request)
        seed = own.header.seed if own.header.HasField("seed") else None
        return own.header.cache_status, seed, own.data

    def seeded(seed: int) -> dict[str, Any]:
        return {"sampling": tts_pb2.Sampling(seed=seed)}

    with caching_server(tmp_path, "xtts", **settings) as server, server.stub() as stub:
        status, drawn, data = ask(stub)
        assert status == MISS
        assert drawn is not None
        assert ask(stub) == (HIT, drawn, data)
        # Who names a seed is answered by nothing else, be it the same seed.
        assert ask(stub, **seeded(drawn)) == (MISS, drawn, data)
        status, seed, other = ask(stub, **seeded(drawn ^ 1))
        assert (status, seed) == (MISS, drawn ^ 1)
        assert other != data
        assert ask(stub, **seeded(drawn ^ 1)) == (HIT, drawn ^ 1, other)
        assert ask(stub) == (HIT, drawn, data)
        hotter = tts_pb2.Sampling(temperature=1.5)
        assert ask(stub, sampling=hotter)[0] == MISS

        assert wait_until(lambda: is_kept(stub, text="Heads or tails?", voice="ana-example"))
        # Its first sentence has a seed of its own.
        text = "Heads or tails? Who knows?"
        status, seed, mixed = ask(stub, text)
        assert (status, seed) == (MISS, None)
        assert mixed.startswith(data)
        assert ask(stub, text) == (HIT, None, mixed)
        assert ask(stub, text, **seeded(5))[:2] == (MISS, 5)
        assert ask(stub, encoding="WAV")[:2] == (HIT, None)
        assert ask(stub, encoding="WAV", **seeded(drawn ^ 1))[:2] == (HIT, drawn ^ 1)


def test_what_is_old_is_spoken_anew(tmp_path: Path) -> None:
    with caching_server(tmp_path, "tone", CACHE__MAX_AGE_S="1.5") as server, server.stub() as stub:
        speak(stub, text="It is noon.")
        assert wait_until(lambda: not is_kept(stub, text="It is noon."))
        assert_not_kept(stub, text="It is noon.", encoding="WAV")
        assert speak(stub, text="It is noon.").header.cache_status == MISS


def test_the_limit_of_the_disk(tmp_path: Path) -> None:
    settings = {"CACHE__SIZE_LIMIT_BYTES": str(1 << 20), "CACHE__MEMORY_LIMIT_BYTES": "0"}
    texts = [f"{word}, which makes about six seconds of tones." * 2 for word in "ABCDE"]
    with caching_server(tmp_path, "tone", **settings) as server, server.stub() as stub:
        for text in texts:
            speak(stub, text=text, encoding="PCM_S16LE")
            assert wait_until(lambda text=text: is_kept(stub, text=text, encoding="PCM_S16LE"))  # type: ignore[misc]
        assert_not_kept(stub, text=texts[0], encoding="PCM_S16LE")
        assert metric(server, "tts_cache_evictions_total") > 0
        assert wait_until(lambda: metric(server, 'tts_cache_size_bytes{tier="disk"}') <= 1 << 20)
        files = [file for file in (server.data_dir / "cache").rglob("*") if file.is_file()]
        assert 0 < sum(file.stat().st_size for file in files if file.suffix == ".val") <= 1 << 20


def test_no_cache(tmp_path: Path) -> None:
    with caching_server(tmp_path, "tone", CACHE__ENABLED="false") as server:
        with server.stub() as stub:
            for _ in range(2):
                assert speak(stub, text="Again.").header.cache_status == MISS
            assert_not_kept(stub, text="Again.")
        assert not (server.data_dir / "cache").exists()


def test_a_folder_that_cannot_be_one_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache").write_text("no folder")
    with caching_server(tmp_path, "tone") as server, server.stub() as stub:
        assert "there is no cache; speech goes on" in server.log
        for _ in range(2):
            assert speak(stub, text="Again.").header.cache_status == MISS
    assert (tmp_path / "data" / "cache").read_text() == "no folder"


def test_a_folder_that_goes_while_the_server_runs(tmp_path: Path) -> None:
    with caching_server(tmp_path, "tone") as server, server.stub() as stub:
        kept = speak(stub, text="I was here before.")
        assert wait_until(lambda: is_kept(stub, text="I was here before.", encoding="WAV"))
        cache = server.data_dir / "cache"
        shutil.rmtree(cache)
        cache.write_text("no folder")
        for text in ("One.", "One. Two.", "One. Two."):
            for mode in (tts_pb2.CACHE_MODE_UNSPECIFIED, REFRESH, BYPASS):
                assert speak(stub, text=text, cache=mode).summary.audio_ms > 0
        assert heard(speak(stub, text="I was here before.")) == heard(kept)
        assert speak(stub, text="I was here before.", encoding="WAV").summary.audio_ms > 0
        assert wait_until(lambda: "the cache's disk fails" in server.log)
        assert metric(server, 'tts_cache_entries{tier="memory"}') > 0
        assert "handler failed" not in server.log


def test_broken_values_are_spoken_anew_and_never_for_who_wants_kept_ones(tmp_path: Path) -> None:
    with caching_server(tmp_path, "tone") as server, server.stub() as stub:
        first = speak(stub, text="Whole.", encoding="PCM_S16LE")
        assert wait_until(lambda: is_kept(stub, text="Whole.", encoding="WAV"))
        for file in (server.data_dir / "cache").rglob("*.val"):
            file.write_bytes(file.read_bytes()[:-1])
        assert_not_kept(stub, text="Whole.", encoding="WAV")
        assert metric(server, 'tts_cache_requests_total{result="miss"}') == 1
        again = speak(stub, text="Whole.", encoding="WAV")
        assert (again.header.cache_status, again.data[44:]) == (MISS, first.data)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """No file may grow beyond 64 KiB from some moment on, as if the disk were full."""
    with caching_server(tmp_path, "tone") as server, server.stub() as stub:
        speak(stub, text="Short.")
        assert wait_until(lambda: is_kept(stub, text="Short.", encoding="WAV"))
        front = psutil.Process(server.process.pid)
        front.rlimit(psutil.RLIMIT_FSIZE, (1 << 16, front.rlimit(psutil.RLIMIT_FSIZE)[1]))
        text = "More than a file takes. " * 5
        own = speak(stub, text=text, encoding="WAV")
        assert own.header.cache_status == MISS
        assert len(own.data) > 1 << 16
        assert wait_until(lambda: metric(server, 'tts_cache_failures_total{what="write"}') > 0)
        assert speak(stub, text=text, encoding="FLAC").summary.audio_ms == own.summary.audio_ms
        assert is_kept(stub, text="Short.", encoding="FLAC")
        sizes = [file.stat().st_size for file in (server.data_dir / "cache").rglob("*.val")]
        assert max(sizes) < 1 << 16
