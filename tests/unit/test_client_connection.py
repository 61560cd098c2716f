"""Where a client's token may go, and what a client may be told of TLS."""

from pathlib import Path

import pytest

from tests.identity import Authority
from tts_client import AsyncClient, Client, Tls
from tts_client.channel import RetryPolicy
from tts_client.connection import Connection, is_local

_TOKEN = "tts_0123456789ab_secret"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:50051", True),
        ("127.0.0.1", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:50051", True),
        ("unix:/run/tts.sock", True),
        ("unix-abstract:tts", True),
        ("10.0.0.1:50051", False),
        ("tts.example:50051", False),
        ("localhost.example:50051", False),
        ("dns:///tts.example:50051", False),
        ("dns://127.0.0.1/tts.example:50051", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("0.0.0.0:50051", False),
        ("xds:///tts", False),
        ("", False),
    ],
)
def test_which_targets_are_this_machine(target: str, expected: bool) -> None:
    assert is_local(target) is expected


def _connect(address: str, **arguments: object) -> Connection:
    values = {"tls": False, "token": None, "credentials": None, "retry": RetryPolicy()}
    return Connection.make(address, **{**values, **arguments})  # type: ignore[arg-type]


def test_a_token_crosses_no_network_in_the_clear() -> None:
    for make in (Client, _connect):
        with pytest.raises(ValueError, match="in the clear") as caught:
            make("tts.example:50051", token=_TOKEN)
        assert _TOKEN not in str(caught.value)
    plain = _connect("127.0.0.1:50051", token=_TOKEN)
    assert plain.metadata == (("authorization", f"Bearer {_TOKEN}"),)
    assert ("grpc.enable_http_proxy", 0) in plain.options
    assert ("grpc.enable_http_proxy", 0) in _connect("[::1]:50051").options
    assert ("grpc.enable_http_proxy", 0) not in _connect("tts.example:50051").options
    secure = _connect("tts.example:50051", token=_TOKEN, tls=True)
    assert secure.metadata == ()
    assert secure.credentials is not None
    assert _TOKEN not in repr(plain)


async def test_the_asynchronous_client_neither() -> None:
    with pytest.raises(ValueError, match="in the clear"):
        AsyncClient("tts.example:50051", token=_TOKEN)


@pytest.mark.parametrize("token", ["", " ", "two words", "line\n", "é", "x" * 5_000])
def test_what_can_be_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="the token is not one"):
        _connect("127.0.0.1:50051", token=token)


def test_tls_is_whole_or_not_at_all(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("client", "shop.internal")
    with pytest.raises(ValueError, match="go together"):
        Tls(certificate_file=pair.certificate)
    with pytest.raises(FileNotFoundError):
        Client("tts.example:50051", tls=Tls(ca_file=tmp_path / "none"))
    for wrong in ({"ca_file": pair.key}, {"certificate_file": pair.key, "key_file": pair.key}):
        with pytest.raises(ValueError, match="holds no certificate"):
            Tls(**wrong).credentials()
    with pytest.raises(ValueError, match="holds no private key"):
        Tls(certificate_file=pair.certificate, key_file=pair.certificate).credentials()
    with pytest.raises(ValueError, match="not both"):
        _connect("tts.example:1", tls=True, credentials=Tls().credentials())
    named = _connect("10.0.0.1:50051", tls=Tls(authority.path, server_name="tts.example"))
    assert ("grpc.ssl_target_name_override", "tts.example") in named.options
