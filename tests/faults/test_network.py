"""Networks that fail: what comes is whole, or it is called broken on both sides."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.client_faces import FACES, Face
from tests.faults.at_rest import QUIET_METRICS, Holdings, at_rest, spooled_files
from tests.faults.matrix_calls import recording
from tests.faulty_network import Way, faulty_network_thread
from tests.server_process import ServerProcess, running_server
from tests.speech import speak
from tests.waiting import wait_until
from tts_client import DeadlineExceeded, RetryPolicy, TruncatedStream, Unavailable

_ENVIRONMENT = {
    **QUIET_METRICS,
    "TTS_STALL_LIMIT_S": "1.5",
    "TTS_UPLOADS__TIMEOUT_S": "4",
    "TTS_SHUTDOWN_GRACE_S": "1",
}
# Some seconds of tones, 230 kB; and what is heard of others meanwhile.
_TEXT = "Some tones that have a long way to go, over a network that is none of the best ones. "
_OTHERS_TEXT = "Nobody else notices."
# Networks that only take their time: each way from the client and to it.
_PATIENT = {
    "latency": (Way(latency_ms=40), Way(latency_ms=40)),
    "bandwidth": (Way(bytes_per_s=400_000), Way(bytes_per_s=400_000)),
    "slices": (Way(slice_bytes=61), Way(slice_bytes=61)),
    "slow close": (Way(close_after_s=0.5), Way(close_after_s=0.5)),
    "all of it": (
        Way(latency_ms=10, bytes_per_s=800_000, slice_bytes=701),
        Way(latency_ms=10, bytes_per_s=800_000, slice_bytes=701),
    ),
}
# The beginning of HTTP/2, of a stream, and its midst.
_CUTS_BYTES = (0, 30, 2_000, 100_000)
_CUT_SEED = 7


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("network")
    with running_server(folder, "--engine", "tone", environment=_ENVIRONMENT) as server:
        yield server
    assert "handler failed" not in server.log
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def baseline(server: ServerProcess, recording_path: Path) -> Holdings:
    """What the server holds once it has done everything."""
    face = FACES["sync"](server.address)
    for number in range(3):
        face.read(_TEXT)
        with server.stub() as stub:
            speak(stub, text=_OTHERS_TEXT)
        _upload(face, recording_path, f"warm-{number}")
    return at_rest(server)


@pytest.fixture(scope="module")
def recording_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "speech.flac"
    path.write_bytes(recording())
    return path


@pytest.fixture(autouse=True)
def others_hear_no_difference(server: ServerProcess, baseline: Holdings) -> Iterator[None]:
    """Asserts that meanwhile others get the right bytes, and that nothing is left in the end."""
    with server.stub() as stub:
        expected = speak(stub, text=_OTHERS_TEXT).data
    wrong: list[str] = []
    over = threading.Event()

    def listen() -> None:
        with server.stub() as stub:
            while not over.wait(0.05):
                try:
                    if speak(stub, text=_OTHERS_TEXT).data != expected:
                        wrong.append("other bytes")
                except Exception as error:
                    wrong.append(repr(error))

    listener = threading.Thread(target=listen)
    listener.start()
    yield
    over.set()
    listener.join()
    assert not wrong
    at_rest(server, baseline)


@pytest.fixture(params=FACES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _face(kind: str, address: str, *, attempts: int = 1, timeout_s: float = 30.0) -> Face:
    retry = RetryPolicy(max_attempts=attempts, initial_backoff_ms=20, max_backoff_ms=50)
    return FACES[kind](address, retry=retry, timeout_s=timeout_s)


def _upload(face: Face, path: Path, voice_id: str) -> None:
    uploaded = face.upload_voice(path, name="Anna", language="en", voice_id=voice_id)
    assert uploaded.voice.id == voice_id
    face.delete_voice(voice_id)


# Both clients read in ways of their own, and upload in the same.
@pytest.mark.parametrize(
    ("kind", "name"), [("async", "all of it"), *(("sync", n) for n in _PATIENT)]
)
def test_who_waits_gets_all_of_it(
    server: ServerProcess, recording_path: Path, kind: str, name: str
) -> None:
    expected = FACES["sync"](server.address).read(_TEXT)
    to_server, to_client = _PATIENT[name]
    with faulty_network_thread(server.address, to_server=to_server, to_client=to_client) as network:
        face = _face(kind, network.address)
        assert face.read(_TEXT) == expected
        if kind == "sync":
            _upload(face, recording_path, "patient")


@pytest.mark.parametrize("after_bytes", _CUTS_BYTES)
def test_a_stream_that_is_cut_off_is_no_whole_file(
    server: ServerProcess, tmp_path: Path, kind: str, after_bytes: int
) -> None:
    chance = random.Random(_CUT_SEED + after_bytes)
    cut = Way(cut_after_bytes=after_bytes + chance.randrange(after_bytes + 1) // 4)
    path = tmp_path / "speech.wav"
    with (
        faulty_network_thread(server.address, to_client=cut) as network,
        pytest.raises((Unavailable, TruncatedStream)),
    ):
        _face(kind, network.address).save(_TEXT, path)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_cut_off_leaves_nothing(
    server: ServerProcess, recording_path: Path
) -> None:
    half = Way(cut_after_bytes=len(recording()) // 2)
    with (
        faulty_network_thread(server.address, to_server=half) as network,
        pytest.raises(Unavailable),
    ):
        _upload(_face("sync", network.address), recording_path, "cut-off")
    assert _voices(server) == []


def test_a_stream_that_stands_still_ends_at_its_deadline(
    server: ServerProcess, tmp_path: Path, kind: str
) -> None:
    """Half-open: nobody hears that the other is gone. The server gives up, and so does the client.

    The server is the earlier one: it has a limit for readers who take nothing.
    """
    with faulty_network_thread(
        server.address, to_client=Way(halt_after_bytes=100_000), is_thin=True
    ) as network:
        before = server.times_logged("READ_TOO_SLOWLY")
        face = _face(kind, network.address, timeout_s=4.0)
        with pytest.raises(DeadlineExceeded):
            face.save(_TEXT * 40, tmp_path / "speech.wav")
        assert wait_until(lambda: server.times_logged("READ_TOO_SLOWLY") > before, 10)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_stands_still_ends_on_both_sides(
    server: ServerProcess, recording_path: Path
) -> None:
    before = server.times_logged("DEADLINE_PASSED")
    halt = Way(halt_after_bytes=len(recording()) // 2)
    # The server's word comes through: only one way is dead.
    with (
        faulty_network_thread(server.address, to_server=halt) as network,
        pytest.raises(DeadlineExceeded) as caught,
    ):
        _upload(_face("sync", network.address), recording_path, "halted")
    assert caught.value.reason == "DEADLINE_PASSED"
    assert wait_until(lambda: server.times_logged("DEADLINE_PASSED") == before + 1, 10)
    assert _voices(server) == []


@pytest.mark.parametrize("kind_of_call", ["stream", "upload"])
def test_a_client_that_is_killed(server: ServerProcess, kind_of_call: str) -> None:
    with _client(server.address, kind_of_call) as client:
        if kind_of_call == "upload":
            assert wait_until(lambda: spooled_files(server) == 1, 10)
        client.kill()
        client.wait()
    assert wait_until(lambda: spooled_files(server) == 0, 10)
    assert _voices(server) == []


@contextmanager
def _client(address: str, kind: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.faults.vanishing_client", address, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "midway\n"
            yield client
        finally:
            client.kill()


def _voices(server: ServerProcess) -> list[str]:
    """The uploaded ones."""
    voices = FACES["sync"](server.address).voices()
    return [voice.id for voice in voices if not voice.id.startswith("tone-")]
