"""TLS, client certificates, and certificates that change while the server runs."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from tests.contract.client_faces import FACES, Face
from tests.identity import (
    INFO,
    NOW,
    Authority,
    KeyPair,
    Tokens,
    asking_server,
    bearer,
    grpcurl,
    log_line,
    log_lines,
    stub_over,
)
from tests.server_process import ServerProcess
from tests.speech import details_of, speak
from tts_client import Client, PermissionDenied, Tls, Unauthenticated, Unavailable


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def mtls_server(
    authority: Authority, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that asks for certificates, and takes tokens."""
    folder = tmp_path_factory.mktemp("mtls-server")
    with asking_server(
        folder,
        authority.server().settings,
        {"TTS_TLS__CLIENT_CA_FILE": str(authority.path)},
        tokens.settings,
    ) as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Callable[..., Face]:
    return FACES[request.param]


def test_both_clients_speak_over_tls_with_a_token(
    face: Callable[..., Face], tls_server: ServerProcess, authority: Authority, tokens: Tokens
) -> None:
    client = face(tls_server.address, tls=authority.tls, token=tokens.texts["speaker"])
    assert client.speak("Nobody listens in.").summary.audio_ms > 0
    for token, error in ((None, Unauthenticated), (tokens.texts["late"], Unauthenticated)):
        with pytest.raises(error):
            face(tls_server.address, tls=authority.tls, token=token).server_info()


def test_uploads_show_the_token_over_tls(
    face: Callable[..., Face],
    tls_server: ServerProcess,
    authority: Authority,
    tokens: Tokens,
    tmp_path: Path,
) -> None:
    recording = tmp_path / "me.wav"
    recording.write_bytes(bytes(5_000_000))
    client = face(tls_server.address, tls=authority.tls, token=tokens.texts["speaker"])
    with pytest.raises(PermissionDenied, match="'voices'"):
        client.upload_voice(recording, name="Me", language="en")


def test_a_server_of_an_unknown_authority_is_not_spoken_to(
    face: Callable[..., Face], tls_server: ServerProcess, stranger: Authority, tokens: Tokens
) -> None:
    for tls in (stranger.tls, True):
        client = face(tls_server.address, tls=tls, token=tokens.texts["chief"], timeout_s=20)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            client.server_info()


def test_a_server_of_another_name_is_not_spoken_to(
    tls_server: ServerProcess, authority: Authority, tokens: Tokens
) -> None:
    token = tokens.texts["chief"]
    other = Tls(ca_file=authority.path, server_name="tts.example")
    with (
        Client(tls_server.address, tls=other, token=token, timeout_s=20) as client,
        pytest.raises(Unavailable, match="Hostname Verification"),
    ):
        client.server_info()
    right = Tls(ca_file=authority.path, server_name="localhost")
    with Client(tls_server.address, tls=right, token=token) as client:
        client.server_info()


def test_who_speaks_no_tls_gets_nowhere(tls_server: ServerProcess) -> None:
    with pytest.raises(Unavailable):
        Client(tls_server.address, timeout_s=20).server_info()


def test_grpcurl_speaks_over_tls(
    tls_server: ServerProcess, authority: Authority, tokens: Tokens
) -> None:
    words = ("-cacert", str(authority.path), "-d", '{"text": "Hi"}')
    method = "tts.v1.TextToSpeech/Synthesize"
    bare = grpcurl(tls_server, *words, verb=method)
    assert "send a valid token" in bare.stderr
    header = f"authorization: Bearer {tokens.texts['speaker']}"
    assert '"summary"' in grpcurl(tls_server, *words, "-H", header, verb=method).stdout


# The clients that a server with `client_ca_file` sends away in the handshake.
_SENT_AWAY: dict[str, Callable[[Authority, Authority], Tls]] = {
    "without a certificate": lambda ours, theirs: ours.tls,
    "from another authority": lambda ours, theirs: theirs.issue("c", "shop.internal").client(ours),
    "out of date": lambda ours, theirs: ours.issue(
        "old",
        "shop.internal",
        not_before=NOW - timedelta(days=9),
        not_after=NOW - timedelta(days=1),
    ).client(ours),
}


@pytest.mark.parametrize("who", _SENT_AWAY)
def test_clients_without_a_good_certificate_are_sent_away(
    mtls_server: ServerProcess,
    authority: Authority,
    stranger: Authority,
    tokens: Tokens,
    who: str,
) -> None:
    tls = _SENT_AWAY[who](authority, stranger)
    # A good token is no substitute.
    with stub_over(mtls_server.address, tls) as stub, pytest.raises(grpc.RpcError) as caught:
        stub.GetServerInfo(INFO, metadata=bearer(tokens.texts["chief"]), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# What a certificate is issued for, and what its holder is called.
_NAMED: dict[str, tuple[Callable[[Authority], KeyPair], str]] = {
    "DNS": (lambda ca: ca.issue("c", "shop.internal", "b.internal"), "cert:shop.internal"),
    "URI": (lambda ca: ca.issue_uri("c", "spiffe://a/b", "shop.internal"), "cert:spiffe://a/b"),
    "common name": (lambda ca: ca.issue("c", common_name="shop"), "cert:shop"),
    "DNS first": (lambda ca: ca.issue("c", "a.internal", common_name="x"), "cert:a.internal"),
}


@pytest.mark.parametrize("kind", _NAMED)
def test_a_certificate_says_who_calls(
    mtls_server: ServerProcess, authority: Authority, kind: str
) -> None:
    issue, expected = _NAMED[kind]
    tls = issue(authority).client(authority)
    request_id = f"named-by-{kind}".replace(" ", "-")
    with stub_over(mtls_server.address, tls) as stub:
        stub.GetServerInfo(INFO, metadata=(("x-request-id", request_id),))
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadVoice(iter(()))
    assert log_line(mtls_server, request_id)["identity"] == expected
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "'voices'" in str(caught.value.details())


def test_a_certificate_without_a_name_is_nobodys(
    mtls_server: ServerProcess, authority: Authority
) -> None:
    tls = authority.issue("nameless", "nobody@example.com").client(authority)
    with stub_over(mtls_server.address, tls) as stub, pytest.raises(grpc.RpcError) as caught:
        stub.GetServerInfo(INFO)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_both_clients_speak_by_their_certificate(
    face: Callable[..., Face], mtls_server: ServerProcess, authority: Authority
) -> None:
    tls = authority.issue("client", "shop.internal").client(authority)
    assert face(mtls_server.address, tls=tls).speak("By my certificate.").summary.audio_ms > 0


def test_grpcurl_speaks_by_its_certificate(
    mtls_server: ServerProcess, authority: Authority
) -> None:
    pair = authority.issue("client", "shop.internal")
    words = ("-cacert", str(authority.path), "-cert", str(pair.certificate), "-key", str(pair.key))
    method = "tts.v1.TextToSpeech/Synthesize"
    answer = grpcurl(mtls_server, *words, "-d", '{"text": "Hi"}', verb=method)
    assert '"summary"' in answer.stdout, answer.stderr


def test_a_token_goes_before_the_certificate(
    mtls_server: ServerProcess, authority: Authority, tokens: Tokens
) -> None:
    tls = authority.issue("client", "shop.internal").client(authority)
    with stub_over(mtls_server.address, tls) as stub:
        known = (*bearer(tokens.texts["keeper"]), ("x-request-id", "token-first"))
        stub.GetServerInfo(INFO, metadata=known)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetServerInfo(INFO, metadata=bearer(tokens.texts["gone"]))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert details_of(caught.value)["ErrorInfo"].reason == "UNAUTHENTICATED"  # type: ignore[attr-defined]
    assert log_line(mtls_server, "token-first")["identity"] == "keeper"


def test_a_new_certificate_needs_no_restart(tmp_path: Path) -> None:
    """New connections see it, open ones go on, and one that can't be used changes nothing."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    client_old, client_new = (a.issue("client", "shop.internal") for a in (old, new))
    clients = tmp_path / "clients.pem"
    clients.write_bytes(old.path.read_bytes())
    pair = old.server()
    fresh, first = new.server(), KeyPair(tmp_path / "first.pem", tmp_path / "first.key")
    first.become(pair)
    settings = {"TTS_TLS__CLIENT_CA_FILE": str(clients), "TTS_TONE__REAL_TIME_FACTOR": "0.3"}

    def is_let_in(tls: Tls) -> bool:
        with stub_over(server.address, tls) as stub:
            try:
                stub.GetServerInfo(INFO, timeout=20)
            except grpc.RpcError as error:
                return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True

    with asking_server(tmp_path, pair.settings, settings) as server:
        assert _shown(server) == first.certificate.read_bytes().decode().strip()
        with Client(server.address, tls=client_old.client(old)) as open_client:
            text = "This goes on for a while, whatever becomes of the certificate."
            speech = open_client.synthesize(text, format="pcm")
            next(speech)

            pair.become(fresh)
            clients.write_bytes(new.path.read_bytes())
            assert _shown(server) == fresh.certificate.read_bytes().decode().strip()
            assert is_let_in(client_new.client(new))
            assert not is_let_in(client_old.client(new))  # of an authority that is gone
            assert not is_let_in(client_new.client(old))  # it doesn't know the server's

            speech.read()
            assert speech.summary.character_count == len(text)
            open_client.server_info()

        for damage in (
            lambda: pair.key.write_bytes(first.key.read_bytes()),  # of another certificate
            lambda: pair.key.write_text("no key at all"),
            pair.key.unlink,
            lambda: pair.certificate.write_bytes(b""),
            lambda: clients.write_text("no certificate at all"),
        ):
            pair.become(fresh)
            clients.write_bytes(new.path.read_bytes())
            assert is_let_in(client_new.client(new))
            damage()
            assert is_let_in(client_new.client(new))
            assert not is_let_in(client_old.client(new))
        errors = [line for line in log_lines(server) if line["level"] == "error"]
        assert [line["setting"] for line in errors] == [
            "tls.key_file",
            "tls.key_file",
            "tls.key_file",
            "tls.certificate_file",
            "tls.client_ca_file",
        ]
        assert "PRIVATE" not in server.log
        assert str(tmp_path) not in server.log


def test_many_connections_while_the_certificate_changes(
    authority: Authority, tone_server: ServerProcess, tmp_path: Path
) -> None:
    with tone_server.stub() as stub:
        expected = speak(stub, text="Always the same", encoding="PCM_S16LE").data
    pair, other = authority.issue("moving", "127.0.0.1"), authority.issue("other", "127.0.0.1")
    first = KeyPair(tmp_path / "first.pem", tmp_path / "first.key")
    first.become(pair)
    with asking_server(tmp_path, pair.settings) as server:

        def ask(_: int) -> bool:
            with stub_over(server.address, authority.tls) as stub:
                return speak(stub, text="Always the same", encoding="PCM_S16LE").data == expected

        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, n) for n in range(40)]
            turn = 0
            while not all(answer.done() for answer in answers):
                pair.become((other, first)[turn % 2])
                turn += 1
                time.sleep(0.02)
            assert all(answer.result() for answer in answers)
        assert turn > 2


def test_a_certificate_that_cant_be_used_is_refused(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("other", "localhost")
    settings = {**authority.server().settings, "TTS_TLS__KEY_FILE": str(pair.key)}
    command = [sys.executable, "-m", "tts_service", "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.run(
        [*command, "--engine", "tone", "--data-dir", str(tmp_path)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2
    assert f"tls.key_file: {pair.key}: is not the key of the certificate" in process.stderr


def _shown(server: ServerProcess) -> str:
    """The certificate that a new connection is shown, in PEM."""
    host, _, port = server.address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return ssl.DER_cert_to_PEM_cert(certificate).strip()
