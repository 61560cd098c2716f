"""`tts-service tokens` and how the command `tts` shows what it makes; the pages' own lines."""

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.identity import Authority, Tokens
from tests.server_process import ServerProcess, running_server
from tts_client.command.app import app
from tts_service.__main__ import main
from tts_service.commands import tokens as command
from tts_service.identity import Scope, Token, TokenFile

_PAGE = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TTS_")]:
        monkeypatch.delenv(name)


def _tokens(file: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["tokens", *words, "--file", str(file)])


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    result = _tokens(file, "add", "shop", "--scope", "voices", "--scope", "speak")
    assert result.exit_code == 0, result.output
    token = Token.parse(result.stdout.strip())
    assert token is not None
    assert "shop" in result.stderr
    assert token.text not in result.stderr
    assert token.text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (record,) = TokenFile(file).read()
    assert (record.id, record.name, record.sha256) == (token.id, "shop", token.sha256)
    assert record.scopes == (Scope.SPEAK, Scope.VOICES)
    assert record.expires is None
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.jsonl"]


def test_the_scopes_of_the_command_are_all_that_there_are() -> None:
    assert list(command._SCOPES) == [scope.value for scope in Scope]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("90d", lambda now: now + timedelta(days=90)),
        ("36h", lambda now: now + timedelta(hours=36)),
        ("2099-01-31", lambda _: datetime(2099, 2, 1, tzinfo=UTC)),
    ],
)
def test_a_token_ends_when_it_is_said(tmp_path: Path, when: str, expected: object) -> None:
    file = tmp_path / "tokens.jsonl"
    assert _tokens(file, "add", "a", "--scope", "speak", "--expires", when).exit_code == 0
    (record,) = TokenFile(file).read()
    assert record.expires is not None
    assert abs(record.expires - expected(datetime.now(UTC))) < timedelta(minutes=2)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["a"], "--scope"),
        (["a", "--scope", "sing"], "sing"),
        (["", "--scope", "speak"], "no name"),
        (["a b", "--scope", "speak"], "no name"),
        (["../a", "--scope", "speak"], "no name"),
        (["x" * 64, "--scope", "speak"], "no name"),
        (["a", "--scope", "speak", "--expires", "2020-01-01"], "is over"),
        (["a", "--scope", "speak", "--expires", "0s"], "is over"),
        (["a", "--scope", "speak", "--expires", "2027-02-30"], "no day"),
        (["a", "--scope", "speak", "--expires", "soon"], "90s, 15m, 12h, 30d or 2w"),
        (["a", "--scope", "speak", "--expires", "999999999w"], "no day"),
    ],
)
def test_what_makes_no_token_is_refused(tmp_path: Path, words: list[str], word: str) -> None:
    result = _tokens(tmp_path / "tokens.jsonl", "add", *words)
    assert result.exit_code == 2, result.output
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_second_token_of_a_name_has_to_be_meant(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    assert _tokens(file, "add", "shop", "--scope", "speak").exit_code == 0
    before = file.read_bytes()
    refused = _tokens(file, "add", "shop", "--scope", "speak")
    assert refused.exit_code == 1
    assert "--another" in refused.stderr
    assert refused.stdout == ""
    assert file.read_bytes() == before
    assert _tokens(file, "add", "shop", "--scope", "speak", "--another").exit_code == 0
    first, second = TokenFile(file).read()

    assert _tokens(file, "revoke", first.id).exit_code == 0
    assert [r.revoked for r in TokenFile(file).read()] == [True, False]
    assert _tokens(file, "revoke", "shop").stdout == f"shop: token {second.id} is revoked\n"
    assert _tokens(file, "revoke", "shop").stdout == "shop: was revoked already\n"
    assert _tokens(file, "add", "shop", "--scope", "speak").exit_code == 0
    unknown = _tokens(file, "revoke", "nobody")
    assert unknown.exit_code == 1
    assert "'nobody'" in unknown.stderr


def test_the_list_tells_all_but_the_secrets(tmp_path: Path) -> None:
    tokens = Tokens.of_all_kinds(tmp_path / "tokens.jsonl")
    listing = _tokens(tokens.file.path, "list")
    assert listing.exit_code == 0
    states = {line.split()[1]: line.split()[2] for line in listing.stdout.splitlines()}
    assert states["late"] == "expired"
    assert states["gone"] == "revoked"
    assert {states[name] for name in ("speaker", "keeper", "chief", "coming")} == {"valid"}
    objects = [
        json.loads(line) for line in _tokens(tokens.file.path, "list", "--json").stdout.splitlines()
    ]
    assert [entry["name"] for entry in objects] == list(tokens.texts)
    assert "sha256" not in objects[0]


def test_where_no_file_is_named_or_it_cant_be_used(tmp_path: Path) -> None:
    nowhere = CliRunner().invoke(main, ["tokens", "list"])
    assert nowhere.exit_code == 2
    assert "auth.tokens_file" in nowhere.stderr
    missing = _tokens(tmp_path / "none" / "tokens.jsonl", "add", "a", "--scope", "speak")
    assert missing.exit_code == 1
    assert missing.stdout == ""
    broken = tmp_path / "broken"
    broken.write_text("nonsense\n")
    for words in (["list"], ["add", "a", "--scope", "speak"], ["revoke", "a"]):
        result = _tokens(broken, *words)
        assert result.exit_code == 1
        assert "line 1" in result.stderr
        assert result.stdout == ""
    assert broken.read_text() == "nonsense\n"


def test_the_file_is_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.toml").write_text('[auth]\ntokens_file = "here.jsonl"\n')
    words = ["tokens", "add", "a", "--scope", "admin", "--config", "settings.toml"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert (tmp_path / "here.jsonl").exists()
    monkeypatch.setenv("TTS_AUTH__TOKENS_FILE", "there.jsonl")
    assert CliRunner().invoke(main, ["tokens", "add", "a", "--scope", "speak"]).exit_code == 0
    assert (tmp_path / "there.jsonl").exists()


@pytest.fixture
def token_file(tokens: Tokens, tmp_path: Path) -> Path:
    file = tmp_path / "speaker.token"
    file.write_text(f"{tokens.texts['speaker']}\n")
    return file


def _tts(server: ServerProcess, *words: str) -> Result:
    return CliRunner().invoke(app, ["--server", server.address, *words])


def test_tts_shows_its_token_over_tls(
    tls_server: ServerProcess,
    authority: Authority,
    tokens: Tokens,
    token_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = ["--ca", str(authority.path), "--token-file", str(token_file)]
    file = str(tmp_path / "hello.wav")
    for words in ([*wire, "say", "Hi", "-o", file], ["say", "Hi", "-o", file, *wire]):
        result = _tts(tls_server, *words)
        assert result.exit_code == 0, result.output
    assert _tts(tls_server, "voices", "list", *wire).exit_code == 0
    assert _tts(tls_server, "voices", "show", "tone-low", *wire).exit_code == 0
    bench = _tts(tls_server, *wire, "bench", "--duration", "0.5", "--warm-up", "0")
    assert bench.exit_code == 0, bench.output

    monkeypatch.setenv("TTS_CLIENT_CA", str(authority.path))
    monkeypatch.setenv("TTS_CLIENT_TOKEN", tokens.texts["keeper"])
    assert _tts(tls_server, "info").exit_code == 0
    denied = _tts(tls_server, "say", "Hi", "-o", file)
    assert denied.exit_code == 2
    assert "scope 'speak', which 'keeper' doesn't have" in denied.stderr
    assert "operator" in denied.stderr
    monkeypatch.setenv("TTS_CLIENT_TOKEN_FILE", str(token_file))
    assert _tts(tls_server, "say", "Hi", "-o", file).exit_code == 0


def test_tts_says_what_to_do(
    tls_server: ServerProcess, authority: Authority, token_file: Path, tmp_path: Path
) -> None:
    ca = ["--ca", str(authority.path)]
    unknown = _tts(tls_server, *ca, "info")
    assert unknown.exit_code == 2
    assert "--token-file FILE" in unknown.stderr

    plain = _tts(tls_server, "info")
    assert plain.exit_code == 3
    assert "--tls" in plain.stderr
    public = _tts(tls_server, "--tls", "info")
    assert public.exit_code == 3
    assert "--ca" in public.stderr

    half = _tts(tls_server, *ca, "--cert", str(authority.path), "info")
    assert half.exit_code == 2
    assert "go together" in half.stderr
    missing = _tts(tls_server, "--ca", "/nonexistent", "info")
    assert missing.exit_code == 1
    assert "/nonexistent" in missing.stderr
    empty = tmp_path / "empty"
    empty.write_text("\n")
    none = _tts(tls_server, *ca, "--token-file", str(empty), "info")
    assert none.exit_code == 2
    assert "holds no token" in none.stderr

    away = ["--server", "192.0.2.1:50051", "--token-file", str(token_file)]
    clear = CliRunner().invoke(app, [*away, "info"])
    assert clear.exit_code == 2
    assert "--tls" in clear.stderr


def test_completion_asks_with_the_token(
    tls_server: ServerProcess, authority: Authority, token_file: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tts_client"],
        env={
            **os.environ,
            "_TTS_COMPLETE": "bash_complete",
            "COMP_WORDS": f"tts --ca {authority.path} say --voice tone-l",
            "COMP_CWORD": "5",
            "TTS_CLIENT_SERVER": tls_server.address,
            "TTS_CLIENT_TOKEN_FILE": str(token_file),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines() == ["plain,tone-low"], result.stderr


def test_warming_shows_the_token(
    tls_server: ServerProcess, authority: Authority, token_file: Path, tmp_path: Path
) -> None:
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("Hello.\n")
    words = [
        "cache",
        "warm",
        str(phrases),
        "--server",
        tls_server.address,
        "--ca",
        str(authority.path),
    ]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "send a valid token" in refused.stderr
    # It is let in, and finds that this server keeps nothing.
    known = CliRunner().invoke(main, [*words, "--token-file", str(token_file)])
    assert "send a valid token" not in known.stderr
    assert "1 of 1" in known.output, known.output


@pytest.mark.external
def test_the_pages_lines_do_what_it_says(tmp_path: Path) -> None:
    """Certificates, settings, token, `tts` and grpcurl, as docs/identity.md has them."""
    blocks = re.findall(r"^```(sh|toml)\n(.*?)^```$", _PAGE, re.M | re.S)
    assert [kind for kind, _ in blocks] == ["sh", "toml", "sh", "sh", "sh"]
    certificates, settings, token, say, grpcurl = (body for _, body in blocks)
    _shell(certificates, tmp_path)
    (tmp_path / "settings.toml").write_text(settings)
    _shell(token, tmp_path)
    # The server of the tests has loopback in the place of all addresses.
    assert 'listen = "0.0.0.0:50051"' in settings
    relative = {
        "TTS_TLS__CERTIFICATE_FILE": str(tmp_path / "server.pem"),
        "TTS_TLS__KEY_FILE": str(tmp_path / "server.key"),
        "TTS_AUTH__TOKENS_FILE": str(tmp_path / "tokens.jsonl"),
    }
    flags = ("--engine", "tone", "--config", str(tmp_path / "settings.toml"))
    with running_server(tmp_path, *flags, environment=relative) as server:
        port = server.address.rpartition(":")[2]
        _shell(say.replace("50051", port), tmp_path)
        assert (tmp_path / "hello.mp3").stat().st_size > 1000
        assert '"summary"' in _shell(grpcurl.replace("50051", port), tmp_path)


def _shell(script: str, folder: Path) -> str:
    process = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
