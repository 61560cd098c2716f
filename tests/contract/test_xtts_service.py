"""XTTS behind the public contract: a tiny random model and the real Piper in one server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ as RECORDING_HZ
from tests.human_speech import speech
from tests.server_process import ServerProcess, running_server
from tests.speech import Speech, all_at_once, details_of, speak
from tests.xtts_checkpoint import TINY, write_checkpoint

if TYPE_CHECKING:
    from tests.contract.conftest import Tools

_RATE_HZ = 24_000
_PIPER_VOICE = "en_US-joe-medium"

# 240 characters, which XTTS speaks in one go: 619 codes, or half a minute.
_LONG = (
    "The ferry left the harbour late that evening and the wind had turned by then so that "
    "nobody on deck could hear what the captain shouted to the men at the ropes while the "
    "lights of the town grew small behind them and then were gone in the fog"
)

# At MP3's beginning, decoders put out the encoder's 576 samples of delay and their own 529;
# its end is padded to a whole frame of 576.
_MP3_DELAY_SAMPLES = 1105
_MP3_FRAME_SAMPLES = 576


@pytest.fixture(scope="module")
def checkpoint_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("xtts") / "checkpoint", TINY)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path
) -> Iterator[ServerProcess]:
    """Piper and XTTS, and an uploaded voice, `anna`."""
    environment = _environment(checkpoint_dir, engines="piper,xtts")
    with running_server(tmp_path_factory.mktemp("server"), environment=environment) as server:
        recording = audio_file(AudioFileKind.FLAC, speech().samples, RECORDING_HZ)
        with server.stub() as stub:
            stub.UploadVoice(upload_parts(recording, voice_id="anna"))
        yield server


@pytest.fixture
def small_server(tmp_path: Path, checkpoint_dir: Path) -> Iterator[ServerProcess]:
    """XTTS alone, for two callers at once and two that wait."""
    limits = {"TTS_XTTS__SLOTS": "2", "TTS_XTTS__WAITING_LIMIT": "2"}
    # The front would refuse what the engine is to refuse here.
    limits["TTS_ADMISSION__SLOTS"] = "100"
    environment = _environment(checkpoint_dir, engines="xtts") | limits
    with running_server(tmp_path, environment=environment) as server:
        yield server


def _environment(checkpoint_dir: Path, *, engines: str) -> dict[str, str]:
    return {
        "TTS_ENGINES": engines,
        "TTS_XTTS__CHECKPOINT_DIR": str(checkpoint_dir),
        "TTS_XTTS__DEVICE": "cpu",
        # In bfloat16 the rounding of another batch size is enough for another code.
        "TTS_XTTS__PRECISION": "float32",
        # A worker that starts again imports torch first.
        "TTS_ENGINE_WAIT_S": "60",
    }


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with server.stub() as stub:
        yield stub


def _pcm(speech: Speech) -> NDArray[np.float64]:
    """The samples of a synthesis that was asked for as PCM, shape (n,)."""
    return np.frombuffer(speech.data, "<i2") / 32768.0


def _assert_alike(one: Speech, other: Speech) -> None:
    """As equal as two batch sizes make it, and the rounding to 16 bits."""
    assert len(_pcm(one)) == len(_pcm(other)) > 0
    assert np.abs(_pcm(one) - _pcm(other)).max() <= 1e-3 + 1 / 32768


def _failed(events: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        list(events)
    return caught.value


def _why(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Its code and its reason."""
    info: Any = details_of(error)["ErrorInfo"]
    return error.code(), info.reason


@pytest.mark.external
def test_an_uploaded_voice_speaks_two_languages_beside_piper(
    server: ServerProcess, tools: "Tools"
) -> None:
    texts = {
        ("xtts", "anna", "en"): "The parcel arrives on Monday.",
        ("xtts", "anna", "de"): "Das Paket kommt am Montag an.",
        ("piper", _PIPER_VOICE, "en-US"): "The parcel arrives on Monday.",
    }
    cases = [(who, encoding) for who in texts for encoding in ("MP3", "OGG_OPUS")]

    def ask(case: tuple[tuple[str, str, str], str]) -> Speech:
        (_, voice, language), encoding = case
        with server.stub() as stub:
            return speak(
                stub, text=texts[case[0]], voice=voice, language=language, encoding=encoding
            )

    for (who, encoding), own in zip(cases, all_at_once(ask, cases), strict=True):
        assert (own.header.engine, own.header.voice, own.header.language) == who
        assert own.summary.audio_ms > 1_000
        _assert_decodes_to_its_length(own, encoding, tools)


def _assert_decodes_to_its_length(own: Speech, encoding: str, tools: "Tools") -> None:
    rate_hz, count = own.header.format.sample_rate_hz, own.summary.sample_count
    if encoding == "MP3":
        decoded = tools.decode(own.data, "mp3", rate_hz)
        assert 0 <= len(decoded) - _MP3_DELAY_SAMPLES - count <= _MP3_FRAME_SAMPLES
    else:
        decoded = tools.decode(own.data, "opus", rate_hz)
        assert abs(len(decoded) - count) <= 1
    assert np.sqrt(np.mean(decoded**2)) > 1e-3


def test_the_models_own_voices_are_listed_and_speak(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    voices = stub.ListVoices(tts_pb2.ListVoicesRequest(engine="xtts")).voices
    by_id = {voice.id: voice for voice in voices}
    assert set(by_id) == {"ana-example", "anna", "bruno-example"}
    assert by_id["ana-example"].display_name == "Ana Example"
    assert by_id["ana-example"].origin == tts_pb2.VOICE_ORIGIN_ENGINE
    assert by_id["anna"].origin == tts_pb2.VOICE_ORIGIN_UPLOADED
    for voice in voices:
        assert len(voice.languages) == 17
        assert voice.sample_rate_hz == _RATE_HZ
        assert voice.model_fingerprint == by_id["anna"].model_fingerprint != ""
    spoken = {
        voice: speak(
            stub, text="Good morning to you all.", voice=voice, sampling=tts_pb2.Sampling(seed=1)
        ).data
        for voice in by_id
    }
    assert len(set(spoken.values())) == len(spoken)


def test_a_seed_speaks_the_same_bytes_again(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    def ask(**sampling: Any) -> Speech:
        return speak(
            stub,
            text="Heads or tails, and then again. Who knows?",
            voice="anna",
            language="en",
            encoding="OGG_OPUS",
            sampling=tts_pb2.Sampling(**sampling),
        )

    given = ask(seed=17)
    assert given.header.seed == 17
    assert ask(seed=17).data == given.data != ask(seed=18).data

    drawn = [ask(), ask()]
    first, second = (one.header.seed for one in drawn)
    assert first != second
    assert drawn[0].data != drawn[1].data
    for one in drawn:
        again = ask(seed=one.header.seed)
        assert (again.header.seed, again.data) == (one.header.seed, one.data)

    assert ask(seed=17, temperature=0.0).data == ask(seed=18, temperature=0.0).data != given.data


def test_sixteen_callers_hear_what_each_would_hear_alone(server: ServerProcess) -> None:
    texts = {
        "en": "Everything on the quay began to move",
        "de": "Alles am Kai begann sich zu bewegen",
        "es": "Todo en el muelle empezó a moverse",
        "fr": "Tout sur le quai se mit en marche",
    }
    voices = ("anna", "ana-example", "bruno-example")

    def ask(n: int) -> Speech:
        language = list(texts)[n % len(texts)]
        with server.stub() as stub:
            return speak(
                stub,
                text=f"{texts[language]}{', la' * (n % 8)}.",
                voice=voices[n % len(voices)],
                language=language,
                encoding="PCM_S16LE",
                sampling=tts_pb2.Sampling(seed=1000 + n),
            )

    alone = [ask(n) for n in range(16)]
    assert len({one.data for one in alone}) == 16
    together = all_at_once(ask, range(16))
    for one, other in zip(alone, together, strict=True):
        _assert_alike(one, other)


def _mix(weights: dict[str, float]) -> list[tts_pb2.VoiceShare]:
    return [tts_pb2.VoiceShare(voice=voice, weight=weight) for voice, weight in weights.items()]


def test_voices_are_mixed(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    def ask(**who: Any) -> Speech:
        return speak(
            stub,
            text="Somewhere in between the two.",
            language="en",
            encoding="PCM_S16LE",
            sampling=tts_pb2.Sampling(seed=5),
            **who,
        )

    shares = _mix({"anna": 1.0, "ana-example": 2.0})
    mixed = ask(voice_mix=shares)
    assert list(mixed.header.voice_mix) == shares
    assert mixed.header.voice == ""
    alone = {voice: ask(voice=voice) for voice in ("anna", "ana-example")}
    assert len({mixed.data, ask(voice_mix=_mix({"anna": 2.0, "ana-example": 1.0})).data}) == 2
    assert mixed.data not in {one.data for one in alone.values()}
    # Hardly any of the other is none of it.
    _assert_alike(ask(voice_mix=_mix({"anna": 1e9, "ana-example": 1.0})), alone["anna"])
    _assert_alike(ask(voice_mix=_mix({"anna": 1.0, "ana-example": 1e9})), alone["ana-example"])


def test_voices_of_two_engines_are_not_mixed(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    shares = _mix({"ana-example": 1.0, _PIPER_VOICE: 1.0})
    error = _failed(stub.Synthesize(tts_pb2.SynthesizeRequest(text="No", voice_mix=shares)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad: Any = details_of(error)["BadRequest"]
    assert [violation.field for violation in bad.field_violations] == ["voice_mix[1].voice"]


@pytest.mark.parametrize(("language", "package"), [("zh-CN", "pypinyin"), ("ja", "cutlet")])
def test_a_language_whose_package_is_missing_says_which(
    stub: tts_pb2_grpc.TextToSpeechStub, language: str, package: str
) -> None:
    assert find_spec(package) is None, "this test needs an environment without it"
    request = tts_pb2.SynthesizeRequest(text="你好。", voice="anna", language=language)
    error = _failed(stub.Synthesize(request))
    assert _why(error) == (grpc.StatusCode.FAILED_PRECONDITION, "ENGINE_CANNOT")
    assert package in (error.details() or "")


def test_a_long_text_is_divided_as_its_language_allows(
    stub: tts_pb2_grpc.TextToSpeechStub,
) -> None:
    # 252 characters: German takes 253 at once, and English 250.
    fits = f"{'Das Schiff fuhr weiter und weiter ' * 8}".strip()[:251] + "."
    too_long = f"{'Der Wind wehte kalt vom Meer her ' * 11}".strip() + "."
    text = f"Es war spät. {fits} {too_long} Dann kam der Morgen!"

    # Short enough that each segment has frames of its own.
    short = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE, frame_ms=10)

    def segments(language: str, longest: int) -> list[str]:
        frames = speak(stub, text=text, voice="anna", language=language, format=short).frames
        spoken = [f.span for f in frames if f.span.start_character < f.span.end_character]
        starts = sorted({span.start_character for span in spoken})
        ends = {span.end_character for span in spoken}
        found = [text[start:end].rstrip() for start, end in pairwise([*starts, len(text)])]
        assert {start + len(own) for start, own in zip(starts, found, strict=True)} == ends
        assert max(map(len, found)) <= longest
        return found

    german = segments("de", 253)
    assert [german[0], german[1], german[-1]] == ["Es war spät.", fits, "Dann kam der Morgen!"]
    assert len(german) == 5
    assert len(segments("en", 250)) == 6


def _long_request(seed: int, voice: str = "ana-example") -> tts_pb2.SynthesizeRequest:
    sampling = tts_pb2.Sampling(seed=seed)
    return tts_pb2.SynthesizeRequest(text=_LONG, voice=voice, language="en", sampling=sampling)


def _begun(call: Any) -> list[tts_pb2.SynthesizeResponse]:
    """Its header and first audio."""
    events = [next(call), next(call)]
    assert [event.WhichOneof("event") for event in events] == ["header", "audio"]
    return events


def test_callers_who_leave_give_their_places_back(server: ServerProcess) -> None:
    """16 of them are decoded when they leave, and 24 wait for a slot."""
    heard = threading.Semaphore(0)

    def listen(call: Any) -> None:
        with suppress(grpc.RpcError):
            _begun(call)
            heard.release()

    with server.stub() as stub, ThreadPoolExecutor(40) as pool:
        calls = [stub.Synthesize(_long_request(n), timeout=60) for n in range(40)]
        try:
            for call in calls:
                pool.submit(listen, call)
            for _ in range(8):
                assert heard.acquire(timeout=30)
        finally:
            for call in calls:
                call.cancel()

    def ask(n: int) -> Speech:
        with server.stub() as stub:
            return speak(stub, text="There is room again.", voice="anna", language="en")

    assert all(own.summary.audio_ms > 0 for own in all_at_once(ask, range(16)))


def test_more_callers_than_places_are_told_to_come_back(small_server: ServerProcess) -> None:
    def ask(request: tts_pb2.SynthesizeRequest) -> Any:
        with small_server.stub() as stub:
            try:
                return list(stub.Synthesize(request, timeout=60))
            except grpc.RpcError as error:
                return error

    results = all_at_once(ask, [_long_request(n) for n in range(12)])
    refused = [result for result in results if isinstance(result, grpc.RpcError)]
    served = [result for result in results if not isinstance(result, grpc.RpcError)]
    assert len(served) >= 4
    assert all(events[-1].HasField("summary") for events in served)
    assert refused
    for error in refused:
        assert _why(error) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ENGINE_BUSY")
        retry: Any = details_of(error)["RetryInfo"]
        assert retry.retry_delay.ToMilliseconds() > 0
        trailers = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
        assert int(trailers["grpc-retry-pushback-ms"]) > 0
    within = all_at_once(ask, [tts_pb2.SynthesizeRequest(text="And now?")] * 4)
    assert all(events[-1].HasField("summary") for events in within)


def test_a_killed_worker_ends_its_calls_and_nobody_elses(server: ServerProcess) -> None:
    with server.stub() as stub:
        piper = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG * 4, voice=_PIPER_VOICE))
        piper_events = _begun(piper)
        calls = [stub.Synthesize(_long_request(n, "anna"), timeout=60) for n in range(6)]
        events = all_at_once(_begun, calls)
        server.worker("xtts").kill()
        for call, own in zip(calls, events, strict=True):
            with pytest.raises(grpc.RpcError) as caught:
                own.extend(call)
            assert _why(caught.value) == (grpc.StatusCode.UNAVAILABLE, "WORKER_LOST")
            assert not any(event.HasField("summary") for event in own)

        speak(stub, text="Piper is still here.", voice=_PIPER_VOICE)
        piper_events.extend(piper)
        assert piper_events[-1].HasField("summary")
        all_at_once(lambda voice: speak(stub, text="And back.", voice=voice), ["anna"] * 6)
    assert server.worker("piper").is_running()


def test_without_a_model_the_server_says_how_to_get_one(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    environment = _environment(folder, engines="piper,xtts")
    with running_server(tmp_path, environment=environment, wait=False) as server:
        assert server.process.wait(120) == 2
        lines = server.log.splitlines()
    (named,) = [line for line in lines if str(folder) in line]
    assert "config.json, model.pth, vocab.json" in named
    assert "tts-service models download xtts-v2" in named
    assert "engine xtts refused its settings" in lines[-1]
    assert "Traceback" not in server.log
