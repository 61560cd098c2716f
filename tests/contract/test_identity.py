"""Tokens, as callers of a real server meet them: who is let in, who isn't, and what is told."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import tts_pb2
from tests.contract.client_faces import FACES, Face
from tests.identity import INFO, Tokens, asking_server, bearer, grpcurl, log_line, log_lines
from tests.server_process import ServerProcess
from tests.speech import details_of, speak
from tests.waiting import wait_until
from tts_client import AsyncClient, Client, PermissionDenied, TtsError, Unauthenticated
from tts_service.identity import RULES

_CALL = '"event": "call"'
_TELLING = "Who hears this sentence shall read it nowhere"


@pytest.fixture(scope="module")
def server(tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with asking_server(tmp_path_factory.mktemp("asking-server"), tokens.settings) as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, server: ServerProcess) -> Callable[[str | None], Face]:
    return lambda token: FACES[request.param](server.address, token=token)


def _call(stub: Any, method: str, metadata: Any) -> Any:
    """Calls a method in a way that would do no harm, and takes everything."""
    match method:
        case "Synthesize":
            return list(stub.Synthesize(tts_pb2.SynthesizeRequest(text="Hi"), metadata=metadata))
        case "UploadVoice":
            return stub.UploadVoice(iter([tts_pb2.UploadVoiceRequest()]), metadata=metadata)
        case _:
            name = f"{method}Request"
            return getattr(stub, method)(getattr(tts_pb2, name)(), metadata=metadata)


_METHODS = [method.name for method in tts_pb2.DESCRIPTOR.services_by_name["TextToSpeech"].methods]


# Who isn't known, and what the log says of it.
_STRANGERS: dict[str, tuple[Callable[[Tokens], Any], str, str]] = {
    "no token": (lambda tokens: (), "no token", ""),
    "no scheme": (
        lambda tokens: (("authorization", tokens.texts["chief"]),),
        "malformed token",
        "",
    ),
    "another scheme": (
        lambda tokens: (("authorization", f"Basic {tokens.texts['chief']}"),),
        "malformed token",
        "",
    ),
    "nothing": (lambda tokens: (("authorization", ""),), "malformed token", ""),
    "cut short": (lambda tokens: bearer(tokens.texts["chief"][:-1]), "malformed token", ""),
    "twice": (lambda tokens: bearer(tokens.texts["chief"]) * 2, "malformed token", ""),
    "unknown": (
        lambda tokens: bearer(f"tts_{'0' * 12}_{'A' * 43}"),
        "unknown token",
        "",
    ),
    "a known id with another secret": (
        lambda tokens: bearer(f"{tokens.texts['chief'][:17]}{'A' * 43}"),
        "unknown token",
        "",
    ),
    "expired": (lambda tokens: bearer(tokens.texts["late"]), "expired token", "late"),
    "revoked": (lambda tokens: bearer(tokens.texts["gone"]), "revoked token", "gone"),
}


@pytest.mark.parametrize(
    ("who", "method"),
    [
        *((who, "Synthesize") for who in _STRANGERS),
        *(("revoked", method) for method in _METHODS if method != "Synthesize"),
    ],
)
def test_strangers_are_refused_and_all_told_the_same(
    server: ServerProcess, tokens: Tokens, who: str, method: str
) -> None:
    metadata, cause, holder = _STRANGERS[who]
    request_id = f"{method}-{who}".replace(" ", "-")
    with server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        _call(stub, method, (*metadata(tokens), ("x-request-id", request_id)))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "send a valid token" in str(caught.value.details())
    details = details_of(caught.value)
    assert details["ErrorInfo"].reason == "UNAUTHENTICATED"  # type: ignore[attr-defined]
    assert details["ErrorInfo"].domain == "tts.v1"  # type: ignore[attr-defined]
    assert details["RequestInfo"].request_id == request_id  # type: ignore[attr-defined]

    line = log_line(server, request_id)
    assert (line["method"], line["code"], line["cause"]) == (method, "UNAUTHENTICATED", cause)
    assert line.get("holder", "") == holder
    assert "identity" not in line


def test_nothing_tells_one_stranger_what_another_one_lacks(
    server: ServerProcess, tokens: Tokens
) -> None:
    told = set()
    for metadata, _, _ in _STRANGERS.values():
        with server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
            _call(stub, "Synthesize", (*metadata(tokens), ("x-request-id", "the-same")))
        details = details_of(caught.value)
        told.add((caught.value.code(), caught.value.details(), str(details)))
    assert len(told) == 1


_ALLOWED = {
    "speaker": {"Synthesize", "ListVoices", "GetVoice", "GetServerInfo"},
    "coming": {"Synthesize", "ListVoices", "GetVoice", "GetServerInfo"},
    "keeper": {"UploadVoice", "DeleteVoice", "ListVoices", "GetVoice", "GetServerInfo"},
    "chief": set(_METHODS),
}


@pytest.mark.parametrize("name", _ALLOWED)
@pytest.mark.parametrize("method", _METHODS)
def test_a_scope_opens_what_it_is_for_and_nothing_else(
    server: ServerProcess, tokens: Tokens, name: str, method: str
) -> None:
    request_id = f"{method}-by-{name}"
    metadata = (*bearer(tokens.texts[name]), ("x-request-id", request_id))
    if method in _ALLOWED[name]:
        with server.stub() as stub, suppress(grpc.RpcError):
            _call(stub, method, metadata)
        line = log_line(server, request_id)
        # What may be refused is the empty request, by the method itself.
        assert line["code"] in ("OK", "INVALID_ARGUMENT")
    else:
        with server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
            _call(stub, method, metadata)
        needed = RULES[f"/tts.v1.TextToSpeech/{method}"]
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert f"the scope '{needed}'" in str(caught.value.details())
        assert details_of(caught.value)["ErrorInfo"].reason == "SCOPE_MISSING"  # type: ignore[attr-defined]
        line = log_line(server, request_id)
        assert line["code"] == "PERMISSION_DENIED"
    assert line["identity"] == name


def test_both_clients_show_their_token(face: Callable[..., Face], tokens: Tokens) -> None:
    spoken = face(tokens.texts["speaker"]).speak("It is I", voice="tone-low")
    assert spoken.summary.audio_ms > 0
    assert face(tokens.texts["speaker"]).server_info().default_voice


def test_the_clients_errors_say_what_to_do(
    face: Callable[..., Face], tokens: Tokens, tmp_path: Path
) -> None:
    with pytest.raises(Unauthenticated, match="send a valid token"):
        face(None).read("Hi")
    with pytest.raises(Unauthenticated, match="send a valid token"):
        face(tokens.texts["gone"]).voices()
    recording = tmp_path / "me.wav"
    recording.write_bytes(bytes(3_000_000))
    with pytest.raises(PermissionDenied, match="scope 'voices', which 'speaker' doesn't have"):
        face(tokens.texts["speaker"]).upload_voice(recording, name="Me", language="en")


def test_who_is_refused_need_send_nothing(server: ServerProcess, tokens: Tokens) -> None:
    """The refusal comes before the request: neither side of the call has to send one."""
    for metadata in ((), bearer(tokens.texts["keeper"])):
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_stream("/tts.v1.TextToSpeech/Synthesize")
            over = threading.Event()
            try:
                answer = call(_silence(over), metadata=metadata, timeout=20)
                assert answer.code() in (
                    grpc.StatusCode.UNAUTHENTICATED,
                    grpc.StatusCode.PERMISSION_DENIED,
                )
            finally:
                over.set()


def _silence(over: threading.Event) -> Iterator[bytes]:
    """Requests that do not come while the call is open."""
    over.wait(30)
    yield from ()


@pytest.mark.parametrize("size", [100, 3_500_000])
async def test_a_request_that_is_still_on_its_way_is_refused_with_its_status(
    server: ServerProcess, size: int
) -> None:
    async with AsyncClient(server.address) as client:
        for _ in range(10):
            with pytest.raises(Unauthenticated):
                await client.synthesize("x" * size).read()
    with Client(server.address) as client_:
        for _ in range(10):
            with pytest.raises(Unauthenticated):
                client_.synthesize("x" * size).read()


def test_a_refused_request_is_not_decoded(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_stream("/tts.v1.TextToSpeech/Synthesize")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(b"\xff\xff", timeout=10))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_call_without_a_request_is_answered(server: ServerProcess, tokens: Tokens) -> None:
    for method in ("Synthesize", "GetServerInfo"):
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_stream(f"/tts.v1.TextToSpeech/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                list(call(iter(()), metadata=bearer(tokens.texts["chief"]), timeout=10))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_health_is_open_and_reflection_is_not(server: ServerProcess, tokens: Tokens) -> None:
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="tts.v1.TextToSpeech")
        assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
    bare = grpcurl(server, "-plaintext", verb="list")
    assert bare.returncode != 0
    assert "send a valid token" in bare.stderr
    header = f"Authorization: Bearer {tokens.texts['keeper']}"
    answer = grpcurl(server, "-plaintext", "-H", header, verb="list")
    assert answer.stdout.splitlines() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "tts.v1.TextToSpeech",
    ]


def test_grpcurl_speaks_with_a_token(server: ServerProcess, tokens: Tokens) -> None:
    header = f"authorization: Bearer {tokens.texts['speaker']}"
    words = ("-plaintext", "-H", header, "-d", '{"text": "Hi"}')
    answer = grpcurl(server, *words, verb="tts.v1.TextToSpeech/Synthesize")
    assert answer.returncode == 0, answer.stderr
    assert '"summary"' in answer.stdout


def test_many_callers_hear_their_own_words_under_their_own_names(
    server: ServerProcess, tone_server: ServerProcess, tokens: Tokens
) -> None:
    count = 24
    for n in range(count):
        tokens.add(f"caller-{n}", "speak")
    words = [f"Caller {n} says {'so and ' * (n % 7)}thus." for n in range(count)]
    with tone_server.stub() as stub:
        alone = [speak(stub, text=text, encoding="PCM_S16LE").data for text in words]
    assert len(set(alone)) == count

    def ask(turn: int) -> None:
        n = turn % count
        with Client(server.address, token=tokens.texts[f"caller-{n}"]) as client:
            heard = client.synthesize(words[n], format="pcm", request_id=f"turn-{turn}").read()
        assert heard == alone[n], f"caller {n}"

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(ask, range(3 * count)))
    log_line(server, f"turn-{3 * count - 1}")
    callers = {line.get("request_id"): line.get("identity") for line in log_lines(server)}
    for turn in range(3 * count):
        assert callers[f"turn-{turn}"] == f"caller-{turn % count}"


def test_a_changed_file_counts_from_the_next_call_on(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.jsonl")
    first = tokens.add("first", "speak")
    slow = {"TTS_TONE__REAL_TIME_FACTOR": "0.3"}

    def accepts(token: str) -> bool:
        try:
            with Client(server.address, token=token) as client:
                client.server_info()
        except Unauthenticated:
            return False
        return True

    with asking_server(tmp_path, tokens.settings, slow) as server:
        second = tokens.add("second", "speak")
        assert accepts(second)
        with Client(server.address, token=first) as client:
            speech = client.synthesize("This goes on for a while, come what may.", format="pcm")
            next(speech)
            tokens.file.change(
                lambda records: [
                    r.model_copy(update={"revoked": r.name == "first"}) for r in records
                ]
            )
            assert not accepts(first)
            assert accepts(second)
            assert len(speech.read()) > 0  # the summary has come, too
        good = tokens.file.path.read_text()

        for broken in ("", good[:-10], "{}\n", good.replace("speak", "fly"), good + "what?\n"):
            tokens.file.path.write_text(broken)
            assert accepts(second), broken
            assert not accepts(first), broken
        tokens.file.path.unlink()
        assert accepts(second)
        errors = [line for line in log_lines(server) if line["level"] == "error"]
        assert len(errors) == 6
        assert {line["setting"] for line in errors} == {"auth.tokens_file"}

        tokens.file.path.write_text(good)
        third = tokens.add("third", "speak")
        assert accepts(third)
        assert str(tmp_path) not in server.log


def test_the_log_of_a_whole_session_tells_no_secret(
    server: ServerProcess, tokens: Tokens, tmp_path: Path
) -> None:
    """Of all its calls, also those of the tests above."""
    before = server.log.count(_CALL)
    recording = tmp_path / "recording-of-somebody.wav"
    recording.write_bytes(b"RIFF no audio at all " * 100)
    for name in ("speaker", "keeper", "chief", "late", "gone"):
        for call in (
            lambda client: client.synthesize(_TELLING).read(),
            lambda client: client.synthesize(_TELLING, voice="nobody").read(),
            lambda client: client.upload_voice(recording, name="Somebody", language="en"),
            lambda client: client.delete_voice("nobody"),
            lambda client: list(client.voices()),
        ):
            token = tokens.texts[name]
            with Client(server.address, token=token) as client, suppress(TtsError):
                call(client)
    assert wait_until(lambda: server.log.count(_CALL) == before + 25)
    log = server.log
    # A refused recording's style and the like are none of these.
    for secret in (_TELLING, "It is I", str(recording), recording.name, str(tokens.file.path)):
        assert secret not in log, secret
    assert "Bearer" not in log
    assert str(server.data_dir.parent) not in log
    for text in tokens.texts.values():
        _, token_id, secret = text.split("_", 2)
        assert secret not in log
        assert token_id not in log
    for record in tokens.file.read():
        assert record.sha256 not in log


def test_an_open_server_asks_nobody(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        stub.GetServerInfo(INFO, metadata=(*bearer("whatever"), ("x-request-id", "open-door")))
    assert "identity" not in log_line(tone_server, "open-door")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["0.0.0.0:0", "tls.certificate_file", "tls.plaintext_on_network = true"]),
        (
            {"TTS_TLS__PLAINTEXT_ON_NETWORK": "true"},
            ["0.0.0.0:0", "auth.tokens_file", "auth.anonymous_on_network = true"],
        ),
        (
            {"TTS_LISTEN": "127.0.0.1:0", "TTS_AUTH__TOKENS_FILE": "/nonexistent"},
            ["auth.tokens_file", "/nonexistent", "tts-service tokens add"],
        ),
    ],
)
def test_a_server_that_would_be_open_or_shut_to_all_does_not_start(
    tmp_path: Path, settings: dict[str, str], words: list[str]
) -> None:
    refused = subprocess.run(
        [
            *(sys.executable, "-m", "tts_service", "serve", "--engine", "tone"),
            *("--data-dir", str(tmp_path)),
        ],
        env={**os.environ, "TTS_LISTEN": "0.0.0.0:0", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stdout == ""
    for word in words:
        assert word in refused.stderr


def test_a_token_does_not_leave_the_machine_in_the_clear() -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        # Were it not for what the client sets, gRPC would hand the call to the proxy.
        port = proxy.getsockname()[1]
        code = (
            "import sys; from tts_client import Client, Unavailable\n"
            "try: Client('127.0.0.1:9', token='tts_x', timeout_s=5).server_info()\n"
            "except Unavailable: print('refused')"
        )
        environment = {**os.environ, "http_proxy": f"http://127.0.0.1:{port}"}
        process = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.stdout == "refused\n", process.stderr
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
