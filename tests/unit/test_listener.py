"""What counts as a network, that a listener on one has to be meant, and what it is given."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.identity import Authority, Tokens
from tts_service.config import ConfigError, Settings, load_settings
from tts_service.errors import Unauthenticated
from tts_service.identity import Presented, Scope, TlsFiles, UnusableFileError
from tts_service.listener import check_exposure, is_on_network, make_gate


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:50051", False),
        ("127.8.9.1:0", False),
        ("[::1]:50051", False),
        ("[::ffff:127.0.0.1]:50051", False),
        ("localhost:50051", False),
        ("LOCALHOST:50051", False),
        ("unix:/run/tts.sock", False),
        ("0.0.0.0:50051", True),
        ("[::]:50051", True),
        ("[::ffff:10.0.0.1]:50051", True),
        ("10.0.0.1:50051", True),
        ("127.1:50051", True),
        ("localhost.example:50051", True),
        ("tts:50051", True),
    ],
)
def test_what_counts_as_a_network(address: str, expected: bool) -> None:
    assert is_on_network(address) is expected


_TLS = {"certificate_file": "c", "key_file": "k"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"listen": "unix:/run/tts.sock"},
        {"tls": _TLS, "auth": {"tokens_file": "t"}},
        {"tls": {**_TLS, "client_ca_file": "a"}},
        {"tls": _TLS, "auth": {"anonymous_on_network": True}},
        {"tls": {"plaintext_on_network": True}, "auth": {"tokens_file": "t"}},
        {"tls": {"plaintext_on_network": True}, "auth": {"anonymous_on_network": True}},
    ],
)
def test_what_may_be_exposed(settings: dict[str, object]) -> None:
    listen = {} if not settings else {"listen": "0.0.0.0:50051"}
    check_exposure(Settings(**{**listen, **settings}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["tls.certificate_file", "tls.plaintext_on_network"]),
        ({"auth": {"tokens_file": "t"}}, ["tls.certificate_file", "tls.plaintext_on_network"]),
        ({"tls": _TLS}, ["auth.tokens_file", "auth.anonymous_on_network"]),
        ({"tls": {"plaintext_on_network": True}}, ["auth.tokens_file", "tls.client_ca_file"]),
        (
            {"tls": {**_TLS, "client_ca_file": "a", "client_scopes": ()}},
            ["tls.client_scopes", "auth.tokens_file"],
        ),
    ],
)
def test_what_may_not(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_exposure(Settings(listen="0.0.0.0:50051", **settings))  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


def test_certificates_may_open_the_connection_and_no_more(tmp_path: Path) -> None:
    """With scopes for certificates who has one is known by it; without, a token is needed."""
    tokens = Tokens(tmp_path / "tokens.jsonl")
    text = tokens.add("shop", "speak")
    tls = {**_TLS, "client_ca_file": "a"}
    named = Presented(dns_names=("a.internal",))
    settings = Settings(tls=tls, auth={"tokens_file": tokens.file.path})  # type: ignore[arg-type]
    assert make_gate(settings).identify(named).scopes == {Scope.SPEAK}
    settings = Settings(
        tls={**tls, "client_scopes": ""},  # type: ignore[arg-type]
        auth={"tokens_file": tokens.file.path},  # type: ignore[arg-type]
    )
    gate = make_gate(settings)
    with pytest.raises(Unauthenticated):
        gate.identify(named)
    assert gate.identify(Presented((f"Bearer {text}",), dns_names=("a.internal",))).name == "shop"
    assert make_gate(Settings()).is_open


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CERTIFICATE_FILE", "c", ["tls", "certificate_file and key_file go together"]),
        ("CLIENT_CA_FILE", "a", ["tls", "client_ca_file needs certificate_file and key_file"]),
        ("CLIENT_SCOPES", "speak,sing", ["tls.client_scopes", "sing"]),
    ],
)
def test_settings_that_dont_go_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(f"TTS_TLS__{name}", value)
    with pytest.raises(ConfigError) as caught:
        load_settings({})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "setting", "problem"),
    [
        ("server.pem", "none", "ca.pem", "tls.key_file", "there is no such file"),
        ("server.pem", "other.key", "ca.pem", "tls.key_file", "is not the key of"),
        ("server.pem", "locked.key", "ca.pem", "tls.key_file", "without a password"),
        ("server.pem", "ca.pem", "ca.pem", "tls.key_file", "holds no private key"),
        ("server.key", "server.key", "ca.pem", "tls.certificate_file", "holds no certificate"),
        ("half.pem", "server.key", "ca.pem", "tls.certificate_file", "holds no certificate"),
        ("folder", "server.key", "ca.pem", "tls.certificate_file", "directory"),
        ("server.pem", "server.key", "server.key", "tls.client_ca_file", "holds no certificate"),
        ("server.pem", "server.key", "none", "tls.client_ca_file", "there is no such file"),
    ],
)
def test_files_of_tls_that_cant_be_used_are_told_by_their_settings(
    tmp_path: Path, certificate: str, key: str, client_ca: str, setting: str, problem: str
) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    authority.issue("other", "localhost")
    (tmp_path / "half.pem").write_bytes(pair.certificate.read_bytes()[:200])
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked.key").write_bytes(_locked(pair.key.read_bytes()))
    good = TlsFiles(pair.certificate, pair.key, authority.path).load()
    assert good.client_authorities == authority.path.read_bytes()
    assert "PRIVATE" not in repr(good)
    with pytest.raises(UnusableFileError) as caught:
        TlsFiles(tmp_path / certificate, tmp_path / key, tmp_path / client_ca).load()
    assert caught.value.setting == setting
    assert problem in caught.value.problem
    assert str(tmp_path) not in caught.value.problem


def _locked(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
