"""Tokens, their file, and the gate that they open, without a wire."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc_health.v1.health_pb2
import grpc_reflection.v1alpha.reflection_pb2
import pytest
from structlog.testing import capture_logs

from protos.tts.v1 import tts_pb2
from tests.identity import Tokens
from tts_service.errors import PermissionDenied, Unauthenticated
from tts_service.identity import (
    ANONYMOUS,
    RULES,
    Access,
    Caller,
    Gate,
    Presented,
    Scope,
    Token,
    TokenFile,
    TokenRecord,
    TokenTable,
    UnusableFileError,
    rule_for,
    token_file,
)

_NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
_SPEAK = "/tts.v1.TextToSpeech/Synthesize"


def _record(token: Token, name: str = "shop", **fields: object) -> TokenRecord:
    values = {"id": token.id, "sha256": token.sha256, "name": name, "scopes": ("speak",)}
    return TokenRecord(**{**values, "created": _NOW, **fields})  # type: ignore[arg-type]


def test_a_token_has_256_random_bits_and_shows_them_to_nobody() -> None:
    tokens = [Token.make() for _ in range(200)]
    assert len({token.id for token in tokens}) == len({token.text for token in tokens}) == 200
    for token in tokens:
        assert re.fullmatch(r"tts_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token.text)
        assert Token.parse(token.text) == token
        assert token.text[17:] not in repr(token)
    # 43 characters of 6 bits hold 32 bytes; each is drawn.
    assert len({character for token in tokens for character in token.text[17:]}) == 64


@pytest.mark.parametrize(
    "text", ["", "tts_", "x", "tts_0123456789ab_", "tts_0123456789AB_" + "a" * 43, "é" * 60]
)
def test_what_is_no_token_is_none(text: str) -> None:
    good = Token.make().text
    for wrong in (text, good + "\n", good + "a", good[:-1], f" {good}"):
        assert Token.parse(wrong) is None


def test_a_table_finds_a_token_by_all_of_it() -> None:
    token, other = Token.make(), Token.make()
    table = TokenTable([_record(token), _record(other, revoked=True)])
    assert table.find(token) == _record(token)
    assert table.find(other) is not None
    assert table.find(Token.make()) is None
    assert table.find(Token(token.id, other.text)) is None
    assert _record(token).sha256 not in repr(_record(token))


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.jsonl")
    records = (_record(Token.make(), expires=_NOW), _record(Token.make(), revoked=True))
    assert file.change(lambda before: (*before, *records)) == records
    assert file.read() == records
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


_DAMAGE: dict[str, Callable[[Path, str], object]] = {
    "gone": lambda path, text: path.unlink(),
    "empty": lambda path, text: path.write_text(""),
    "blank": lambda path, text: path.write_text("\n\n"),
    "half a line": lambda path, text: path.write_text(text[: len(text) * 3 // 4]),
    "a line of something else": lambda path, text: path.write_text(text + "[1, 2]\n"),
    "an unknown key": lambda path, text: path.write_text(text.replace('"name"', '"nom"')),
    "an unknown scope": lambda path, text: path.write_text(text.replace("speak", "sing")),
    "no time zone": lambda path, text: path.write_text(text.replace("Z", "")),
    "a name that isn't one": lambda path, text: path.write_text(text.replace("shop", "a b")),
    "an id twice": lambda path, text: path.write_text(text + text),
    "bytes that are no text": lambda path, text: path.write_bytes(b"\xff\xfe\n"),
    "far too long": lambda path, text: path.write_text(text + "\n" * token_file.MAX_BYTES),
    "a folder": lambda path, text: (path.unlink(), path.mkdir()),
    "a pipe": lambda path, text: (path.unlink(), os.mkfifo(path)),
    "open to all": lambda path, text: path.chmod(0o666),
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_file_that_cant_be_used_leaves_the_last_good_one(tmp_path: Path, damage: str) -> None:
    token = Token.make()
    file = TokenFile(tmp_path / "tokens.jsonl")
    file.change(lambda _: [_record(token)])
    watched = file.watched()
    _DAMAGE[damage](file.path, file.path.read_text())
    with capture_logs() as logs:
        for _ in range(5):
            assert watched.current().find(token) is not None
    (line,) = logs
    assert (line["log_level"], line["setting"]) == ("error", "auth.tokens_file")
    for secret in (str(tmp_path), token.text, token.sha256):
        assert secret not in str(line)
    with pytest.raises(UnusableFileError) as caught:
        file.read()
    assert str(file.path) in str(caught.value)
    assert ("is longer than" in str(caught.value)) == (damage == "far too long")


def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    first, second = Token.make(), Token.make()
    file = TokenFile(tmp_path / "tokens.jsonl")
    file.change(lambda _: [_record(first)])
    watched = file.watched()
    assert watched.current() is watched.current()
    for _ in range(20):
        first, second = second, first
        records = [_record(first)]
        file.change(lambda _, records=records: records)  # type: ignore[misc]
        assert watched.current().find(first) is not None
        assert watched.current().find(second) is None


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.jsonl")
    (tmp_path / "real").mkdir()
    file.path.symlink_to("real/tokens.jsonl")
    file.change(lambda _: [_record(Token.make())])
    file.change(lambda before: [*before, _record(Token.make())])
    assert file.path.is_symlink()
    assert len(TokenFile(tmp_path / "real" / "tokens.jsonl").read()) == 2


def test_owner_and_mode_stay(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.jsonl")
    file.change(lambda _: [_record(Token.make())])
    file.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file.path, 12_345, 12_346)
    before = file.path.stat()
    file.change(lambda before: [*before, _record(Token.make())])
    after = file.path.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_a_change_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TokenFile(tmp_path / "tokens.jsonl")
    file.change(lambda _: [_record(Token.make())])
    before = file.path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        file.change(lambda _: [_record(Token.make()) for _ in range(1 // 0)])
    with monkeypatch.context() as patch:
        patch.setattr(token_file, "MAX_BYTES", 5_000)
        with pytest.raises(UnusableFileError, match="would be longer"):
            file.change(lambda _: (_record(Token.make()) for _ in range(50)))
    # The disk is full before the new file is whole.
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.identity import Tokens; from tts_service.identity import UnusableFileError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))\n"
        "try: Tokens(Path(sys.argv[1])).add('second', 'speak')\n"
        "except UnusableFileError as error: print(error.problem)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, file.path], capture_output=True, text=True, check=True
    )
    assert process.stdout == "File too large\n"
    assert file.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tokens.jsonl"]


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tokens.add(f"holder-{n}", "speak"), range(40)))
    assert {record.name for record in tokens.file.read()} == set(tokens.texts)


# What the gate says


def _gate(tmp_path: Path, *records: TokenRecord, scopes: tuple[Scope, ...] = ()) -> Gate:
    file = TokenFile(tmp_path / "tokens.jsonl")
    file.change(lambda _: records)
    return Gate(file.watched(), scopes, clock=lambda: _NOW)


def _shown(token: Token, **others: tuple[str, ...]) -> Presented:
    return Presented((f"Bearer {token.text}",), **others)


def test_a_token_is_good_until_the_second_it_ends(tmp_path: Path) -> None:
    ends, ended = Token.make(), Token.make()
    gate = _gate(
        tmp_path,
        _record(ends, "a", expires=_NOW + timedelta(microseconds=1)),
        _record(ended, "b", expires=_NOW),
    )
    assert gate.identify(_shown(ends)) == Caller("a", frozenset({Scope.SPEAK}))
    with pytest.raises(Unauthenticated) as caught:
        gate.identify(_shown(ended))
    assert (caught.value.cause, caught.value.holder) == ("expired token", "b")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_is_written_as_one_likes(tmp_path: Path, scheme: str) -> None:
    token = Token.make()
    gate = _gate(tmp_path, _record(token))
    assert gate.identify(Presented((f"{scheme}{token.text}",))).name == "shop"


def test_certificates_count_where_no_token_is_shown(tmp_path: Path) -> None:
    token = Token.make()
    gate = _gate(tmp_path, _record(token), scopes=(Scope.VOICES,))
    caller = gate.identify(Presented(uris=("spiffe://a/b",), dns_names=("a.example",)))
    assert caller == Caller("cert:spiffe://a/b", frozenset({Scope.VOICES}))
    assert gate.identify(_shown(token, dns_names=("a.example",))).name == "shop"
    for certificate in ((), ("",), ("a\nb",), ("a" * 257,), ("\udcff",)):
        with pytest.raises(Unauthenticated):
            gate.identify(Presented(dns_names=certificate))
    without_tokens = Gate(None, (Scope.SPEAK,))
    assert without_tokens.identify(_shown(token, common_names=("x",))).name == "cert:x"
    with pytest.raises(Unauthenticated):
        without_tokens.identify(_shown(token))


def test_an_open_gate_knows_nobody_and_lets_everybody_in() -> None:
    gate = Gate()
    assert gate.identify(_shown(Token.make())) is ANONYMOUS
    for method in RULES:
        gate.check(ANONYMOUS, method)


@pytest.mark.parametrize(
    "service",
    [
        *tts_pb2.DESCRIPTOR.services_by_name.values(),
        *grpc_health.v1.health_pb2.DESCRIPTOR.services_by_name.values(),
        *grpc_reflection.v1alpha.reflection_pb2.DESCRIPTOR.services_by_name.values(),
    ],
    ids=lambda service: service.full_name,
)
def test_every_method_has_a_rule(service: object) -> None:
    methods = [method.name for method in service.methods]  # type: ignore[attr-defined]
    assert methods
    for name in methods:
        assert f"/{service.full_name}/{name}" in RULES, f"{name}: say what it needs"  # type: ignore[attr-defined]


def test_only_health_is_open_to_anybody() -> None:
    for method, rule in RULES.items():
        assert (rule is Access.ANYBODY) == method.startswith("/grpc.health.v1.Health/"), method


@pytest.mark.parametrize(
    "method",
    [
        "/tts.v1.TextToSpeech/ReadMinds",
        "/tts.v1.TextToSpeech/synthesize",
        "/tts.v1.TextToSpeech/Synthesize/",
        "/tts.v2.TextToSpeech/Synthesize",
        "",
    ],
)
def test_a_method_without_a_rule_is_nobodys(method: str) -> None:
    assert rule_for(method) is None
    for caller in (ANONYMOUS, Caller("chief", frozenset({Scope.ADMIN}))):
        with pytest.raises(PermissionDenied) as caught:
            Gate().check(caller, method)
        assert caught.value.reason == "METHOD_CLOSED"


def test_scopes_are_what_opens_a_method() -> None:
    gate = Gate()
    needed = {method: rule for method, rule in RULES.items() if isinstance(rule, Scope)}
    assert needed[_SPEAK] is Scope.SPEAK
    for method, rule in needed.items():
        for scope in Scope:
            caller = Caller("x", frozenset({scope}))
            if scope in (rule, Scope.ADMIN):
                gate.check(caller, method)
            else:
                with pytest.raises(PermissionDenied, match=f"'{rule}'"):
                    gate.check(caller, method)
    with pytest.raises(PermissionDenied):
        gate.check(Caller("x", frozenset()), _SPEAK)
