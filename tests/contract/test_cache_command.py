"""`tts-service cache`, beside real servers and on real folders."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protos.tts.v1 import tts_pb2
from tests.contract.client_command import read_until, wait_for
from tests.server_process import ServerProcess, running_server
from tests.speech import speak
from tts_service.cache import DiskTier

_SERVICE = [sys.executable, "-m", "tts_service"]
_MIB = 1 << 20
_HIT, _MISS = tts_pb2.CACHE_STATUS_HIT, tts_pb2.CACHE_STATUS_MISS


def _command(*words: str) -> list[str]:
    return [*_SERVICE, "cache", *words]


def _run(
    *words: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*words),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
        env={**os.environ, **environment},
    )


def _fill(data_dir: Path) -> DiskTier:
    """A cache as a server leaves it, with entries of known ages: the second number, in seconds."""
    disk = DiskTier.open(data_dir / "cache", size_limit_bytes=0)
    disk.put("rendition-1", b"x" * 1000, marks=["voice:anna", "content:c"])
    disk.put("rendition-2", b"x" * 2000, marks=["voice:ben"])
    disk.put("segment-1", b"x" * 3000, marks=["voice:anna", "content:c"])
    disk.put("segment-2", b"x" * 4000, marks=["voice:anna", "content:c", "voice:ben"])
    with sqlite3.connect(data_dir / "cache" / "cache.db") as connection:
        for key, age_s in {
            "rendition-1": 10,
            "rendition-2": 7200,
            "segment-1": 90_000,
            "segment-2": 3e6,
        }.items():
            connection.execute(
                "UPDATE Cache SET store_time = store_time - ?, access_time = access_time - ?"
                " WHERE key = ?",
                (age_s, age_s / 2, key),
            )
    connection.close()
    return disk


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[DiskTier]:
    disk = _fill(tmp_path)
    yield disk
    disk.close()


def _keys(disk: DiskTier) -> set[str]:
    return {entry.key for entry in disk.entries()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path, "--engine", "tone", keeps_speech=True) as running:
        yield running


def _ask(server: ServerProcess, text: str) -> int:
    """Where the server's answer comes from."""
    with server.stub() as stub:
        return speak(stub, text=text).header.cache_status


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tts-service', 'cache', 'warm', '--help']\n"
        "from tts_service.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'diskcache', 'grpc', 'numpy', 'pydantic', 'rich', 'structlog', 'tts_client'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert process.stderr.strip() == "[]"


@pytest.mark.parametrize("words", [["stats"], ["list"], ["check"], ["purge", "--all"]])
def test_where_never_a_cache_was_none_is_made(tmp_path: Path, words: list[str]) -> None:
    process = _run(*words, "--data-dir", str(tmp_path / "data"))
    assert process.returncode == 2
    assert process.stdout == ""
    folder = tmp_path / "data" / "cache"
    assert process.stderr == f"tts-service: no speech was ever kept in {folder}\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("words", [["stats"], ["list"], ["check", "--repair"], ["purge", "--all"]])
def test_a_broken_database_is_left_to_the_server(
    tmp_path: Path, kept: DiskTier, words: list[str]
) -> None:
    kept.close()
    database = tmp_path / "cache" / "cache.db"
    for rest in tmp_path.glob("cache/cache.db-*"):
        rest.unlink()
    database.write_bytes(b"no database at all\n" * 1000)
    before = sorted(tmp_path.rglob("*"))
    process = _run(*words, "--data-dir", str(tmp_path))
    assert process.returncode == 1
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    assert str(tmp_path / "cache") in process.stderr
    assert "A server that starts there sets it aside" in process.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert database.read_bytes().startswith(b"no database")

    with running_server(
        tmp_path, "--engine", "tone", "--data-dir", str(tmp_path), keeps_speech=True
    ):
        pass
    assert (tmp_path / "cache" / "set-aside" / "cache.db").exists()
    assert _run(*words, "--data-dir", str(tmp_path)).returncode == 0


def test_a_setting_that_cant_be_used_is_refused(tmp_path: Path) -> None:
    process = _run("stats", "--config", str(tmp_path / "none.toml"))
    assert process.returncode == 2
    assert "--config" in process.stderr


def test_the_folder_is_found_as_the_server_finds_it(tmp_path: Path, kept: DiskTier) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'[cache]\ndir = "{tmp_path / "cache"}"\nsize_limit_bytes = {2 * _MIB}\n')
    process = _run("stats", "--json", "--config", str(file))
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert answer["folder"] == str(tmp_path / "cache")
    assert answer["size_limit_bytes"] == 2 * _MIB
    by_environment = _run("stats", "--json", TTS_DATA_DIR=str(tmp_path))
    assert json.loads(by_environment.stdout)["responses"] == answer["responses"]


def test_stats_sum_up(tmp_path: Path, kept: DiskTier) -> None:
    sizes = {entry.key: entry.size_bytes for entry in kept.entries()}
    answer = json.loads(_run("stats", "--json", "--data-dir", str(tmp_path)).stdout)
    assert answer["responses"] == {
        "count": 2,
        "size_bytes": sizes["rendition-1"] + sizes["rendition-2"],
    }
    assert answer["segments"] == {"count": 2, "size_bytes": sizes["segment-1"] + sizes["segment-2"]}
    assert answer["size_bytes"] == kept.size_bytes
    assert answer["voice_count"] == 2
    assert [(top["voice"], top["count"]) for top in answer["top_voices"]] == [
        ("anna", 3),
        ("ben", 2),
    ]
    assert answer["top_voices"][1]["size_bytes"] == sizes["rendition-2"] + sizes["segment-2"]
    assert answer["oldest_stored_at"] < answer["newest_stored_at"] < answer["last_used_at"]

    text = _run("stats", "--data-dir", str(tmp_path)).stdout
    assert f"folder     {tmp_path / 'cache'}\n" in text
    assert "of 1.07 GB" in text
    assert "the oldest 34 d ago" in text
    assert text.index("anna") < text.index("ben")


def test_an_empty_cache_is_no_matter(tmp_path: Path) -> None:
    DiskTier.open(tmp_path / "cache", size_limit_bytes=0).close()
    answer = json.loads(_run("stats", "--json", "--data-dir", str(tmp_path)).stdout)
    assert answer["responses"] == answer["segments"] == {"count": 0, "size_bytes": 0}
    assert answer["last_used_at"] is None
    assert _run("stats", "--data-dir", str(tmp_path)).returncode == 0
    listing = _run("list", "--data-dir", str(tmp_path))
    assert (listing.returncode, listing.stdout) == (0, "")
    assert listing.stderr == "nothing is kept\n"


def test_the_list_begins_with_what_was_used_last(tmp_path: Path, kept: DiskTier) -> None:
    process = _run("list", "--data-dir", str(tmp_path))
    assert process.stderr == ""
    lines = [line.split() for line in process.stdout.splitlines()]
    assert [line[-1] for line in lines] == ["rendition-1", "rendition-2", "segment-1", "segment-2"]
    assert [line[0] for line in lines] == ["response", "response", "segment", "segment"]
    assert lines[3][1] == "anna,ben"
    assert "stored   25 h ago" in process.stdout.splitlines()[2]

    limited = _run("list", "--limit", "1", "--data-dir", str(tmp_path))
    assert limited.stdout.split()[-1] == "rendition-1"
    assert limited.stderr == "and 3 more; see --limit\n"

    of_voice = _run("list", "--voice", "ben", "--json", "--data-dir", str(tmp_path))
    found = [json.loads(line) for line in of_voice.stdout.splitlines()]
    assert [entry["key"] for entry in found] == ["rendition-2", "segment-2"]
    assert found[1]["voices"] == ["anna", "ben"]
    assert found[1]["kind"] == "segment"
    assert found[1]["size_bytes"] > 4000


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, kept: DiskTier) -> None:
    for number in range(2000):
        kept.put(f"segment-{number:060}", b"", marks=["voice:anna"])
    with subprocess.Popen(
        _command("list", "--limit", "2000", "--data-dir", str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--voice", "anna"], {"rendition-2"}),
        (["--voice", "ben"], {"rendition-1", "segment-1"}),
        (["--voice", "nobody"], {"rendition-1", "rendition-2", "segment-1", "segment-2"}),
        (["--older-than", "90s"], {"rendition-1"}),
        (["--older-than", "1d"], {"rendition-1", "rendition-2"}),
        (["--older-than", "1.5h", "--voice", "anna"], {"rendition-1", "rendition-2"}),
        (["--older-than", "30d", "--yes"], {"rendition-1", "rendition-2", "segment-1"}),
        (["--all"], set()),
    ],
)
def test_what_is_meant_is_purged(
    tmp_path: Path, kept: DiskTier, words: list[str], left: set[str]
) -> None:
    sizes = {entry.key: entry.size_bytes for entry in kept.entries()}
    process = _run("purge", *words, "--data-dir", str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert _keys(kept) == left
    count = len(sizes) - len(left)
    assert process.stdout.startswith(f"removed {count} entr{'y' if count == 1 else 'ies'}, ")
    if not left:
        assert f", {sum(sizes.values()) / 1000:.1f} kB\n" in process.stdout
    assert len(list(tmp_path.glob("cache/*/*/*.val"))) == len(left)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "--older-than"),
        (["--all", "--voice", "anna"], "--all"),
        (["--older-than", "3"], "30d"),
        (["--older-than", "-3d"], "30d"),
        (["--older-than", "2 fortnights"], "30d"),
    ],
)
def test_a_purge_of_nothing_in_particular_is_refused(
    tmp_path: Path, kept: DiskTier, words: list[str], hint: str
) -> None:
    process = _run("purge", "--yes", *words, "--data-dir", str(tmp_path))
    assert process.returncode == 2
    assert "Usage:" in process.stderr
    assert hint in process.stderr
    assert len(_keys(kept)) == 4


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_a_purge_asks_at_a_terminal(
    tmp_path: Path, kept: DiskTier, answer: str, status: int
) -> None:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            _command(
                "purge", "--voice", "anna", "--older-than", "12h", "--data-dir", str(tmp_path)
            ),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            shown = read_until(ours, b"[y/N]:", 30)
            assert b"Remove 2 entries, " in shown
            assert b" of anna stored more than 12 h ago?" in shown
            assert len(_keys(kept)) == 4
            os.write(ours, f"{answer}\n".encode())
            read_until(ours, b"removed 2 entries" if status == 0 else b"nothing was removed", 30)
            assert process.wait(30) == status
    finally:
        os.close(ours)
        os.close(theirs)
    assert len(_keys(kept)) == (2 if status == 0 else 4)


def test_a_check_finds_what_is_wrong_and_a_repair_removes_it(
    tmp_path: Path, kept: DiskTier
) -> None:
    well = _run("check", "--data-dir", str(tmp_path))
    assert (well.returncode, well.stdout) == (0, "0 finding(s), 0 still wrong\n")

    values = sorted(tmp_path.glob("cache/*/*/*.val"), key=lambda file: file.stat().st_size)
    body = bytearray(values[0].read_bytes())
    body[-1] ^= 1
    values[0].write_bytes(body)
    values[1].unlink()
    stray = tmp_path / "cache" / "ab" / "cd" / f"{'0' * 28}.val"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"left behind")
    os.utime(stray, (0, 0))

    found = _run("check", "--data-dir", str(tmp_path))
    assert found.returncode == 1
    assert found.stdout.splitlines()[-1] == "3 finding(s), 3 still wrong"
    assert "wrong     rendition-1: has another checksum\n" in found.stdout
    assert "wrong     rendition-2: has lost its file\n" in found.stdout
    assert f"wrong     ab/cd/{'0' * 28}.val: belongs to no entry\n" in found.stdout
    assert len(_keys(kept)) == 4

    repaired = _run("check", "--repair", "--data-dir", str(tmp_path))
    assert repaired.returncode == 0
    assert repaired.stdout.splitlines()[-1] == "3 finding(s), 0 still wrong"
    assert repaired.stdout.count("repaired  ") == 3
    assert _keys(kept) == {"segment-1", "segment-2"}
    assert not stray.exists()
    assert _run("check", "--data-dir", str(tmp_path)).stdout == well.stdout


def test_what_is_purged_beside_a_server_is_spoken_anew(server: ServerProcess) -> None:
    assert _ask(server, "Purge me.") == _MISS
    data = ("--data-dir", str(server.data_dir))
    wait_for(lambda: len(_run("list", *data).stdout.splitlines()) == 2)
    assert _ask(server, "Purge me.") == _HIT

    info = json.loads(_run("stats", "--json", *data).stdout)
    assert info["responses"]["count"] == info["segments"]["count"] == 1
    (top,) = info["top_voices"]
    purged = _run("purge", "--voice", top["voice"], *data)
    assert purged.stdout.startswith("removed 2 entries, ")
    wait_for(lambda: _ask(server, "Purge me.") == _MISS, 30)
    assert _ask(server, "Purge me.") == _HIT
    assert _run("check", *data).returncode == 0


def _phrases(folder: Path, count: int, *others: str) -> str:
    file = folder / "phrases.txt"
    lines = [f"This is phrase number {number}." for number in range(count)]
    file.write_text("\n".join([*lines, *others]) + "\n", encoding="utf-8")
    return str(file)


def _warm(
    server: ServerProcess, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return _run("warm", "--server", server.address, *words, stdin=stdin)


def test_the_server_is_looked_for_where_the_client_looks() -> None:
    from tts_client.command.app import DEFAULT_SERVER, SERVER_VARIABLE
    from tts_service.commands.warm import warm

    (option,) = (option for option in warm.params if option.name == "server")
    assert option.default == DEFAULT_SERVER
    assert option.envvar == SERVER_VARIABLE


def test_the_server_is_reached_as_the_client_reaches_it() -> None:
    from tts_client.command.app import app
    from tts_service.commands.warm import warm

    ours = {option.name: (option.opts, option.envvar) for option in warm.params}
    for option in app.params:
        if option.name not in ("server", "version"):
            assert ours[option.name] == (option.opts, option.envvar)


def test_a_warm_server_has_it_all(server: ServerProcess, tmp_path: Path) -> None:
    file = _phrases(
        tmp_path, 18, "", "# a remark", "  Überall.\t", "\r", "Überall.", "This is phrase number 3."
    )
    first = _warm(server, file, "--parallel", "3")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "19 of 19: 0 there already, 19 spoken\n"
    assert 1 < len(first.stderr.splitlines()) < 10

    assert _warm(server, file).stdout == "19 of 19: 19 there already, 0 spoken\n"
    assert _ask(server, "Überall.") == _HIT
    assert _ask(server, "# a remark") == _MISS

    piped = _warm(server, "-", stdin="\ufeffThis is phrase number 3.\nThis is new.\n")
    assert piped.stdout == "2 of 2: 1 there already, 1 spoken\n"


def test_warming_takes_options(server: ServerProcess) -> None:
    options = ("--voice", "tone-high", "--language", "de", "--format", "opus", "--speed", "1.5")
    assert "1 spoken" in _warm(server, "-", *options, stdin="So.").stdout
    with server.stub() as stub:
        speech = speak(
            stub,
            text="So.",
            voice="tone-high",
            language="de",
            encoding="OGG_OPUS",
            prosody=tts_pb2.Prosody(speed=1.5),
        )
    assert speech.header.cache_status == _HIT
    assert _ask(server, "So.") == _MISS


def test_what_fails_is_told_and_the_rest_goes_on(server: ServerProcess) -> None:
    phrases = "Good.\n...\n" + "\n".join(f"{'long ' * 2500}{n}" for n in range(12)) + "\nLast.\n"
    process = _warm(server, "-", stdin=phrases)
    assert process.returncode == 1
    assert process.stdout == (
        "15 of 15: 0 there already, 2 spoken, 1 with nothing to speak, 12 failed\n"
    )
    told = [line for line in process.stderr.splitlines() if line.startswith("line ")]
    assert len(told) == 10
    assert told[0].startswith("line 3: ")
    assert "10000" in told[0]
    assert process.stderr.splitlines()[-1] == "and 2 more"


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (["--voice", "nobody"], 2, "nobody"),
        (["--language", "xx"], 2, "--language"),
        (["--speed", "9"], 2, "--speed"),
        (["--format", "midi"], 2, "midi"),
        (["--parallel", "0"], 2, "--parallel"),
        (["--server", "127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
def test_what_would_fail_for_all_stops_at_once(
    server: ServerProcess, tmp_path: Path, words: list[str], status: int, hint: str
) -> None:
    process = _warm(server, _phrases(tmp_path, 30), *words)
    assert process.returncode == status, process.stderr
    assert process.stdout == ""
    assert hint in process.stderr
    assert "Traceback" not in process.stderr
    assert "stopped at 0 of 30" in process.stderr or status == 2


@pytest.mark.parametrize("body", [None, b"fine\nnot \xff fine\n"])
def test_a_file_that_cant_be_read_is_refused(tmp_path: Path, body: bytes | None) -> None:
    file = tmp_path / "phrases.txt"
    if body is not None:
        file.write_bytes(body)
    process = _run("warm", str(file))
    assert process.returncode == 2
    assert str(file) in process.stderr
    assert "Traceback" not in process.stderr


def test_no_phrases_need_no_server() -> None:
    process = _run("warm", "-", "--server", "127.0.0.1:1", stdin="# nothing\n")
    assert (process.returncode, process.stdout) == (0, "0 of 0: 0 there already, 0 spoken\n")


def test_a_server_that_keeps_nothing_is_found_out(
    tone_server: ServerProcess, tmp_path: Path
) -> None:
    process = _warm(tone_server, _phrases(tmp_path, 30), "--parallel", "1")
    assert process.returncode == 1
    assert "stopped at 3 of 30" in process.stderr
    assert "keeps nothing" in process.stderr.splitlines()[-1]


def test_a_server_may_keep_on_disk_alone(tmp_path: Path) -> None:
    nothing = {"TTS_CACHE__MEMORY_LIMIT_BYTES": "0"}
    with running_server(
        tmp_path, "--engine", "tone", environment=nothing, keeps_speech=True
    ) as server:
        file = _phrases(tmp_path, 10)
        assert _warm(server, file).stdout == "10 of 10: 0 there already, 10 spoken\n"
        count = ("stats", "--json", "--data-dir", str(server.data_dir))
        wait_for(lambda: json.loads(_run(*count).stdout)["responses"]["count"] == 10)
        assert _warm(server, file).stdout == "10 of 10: 10 there already, 0 spoken\n"


def test_a_run_that_broke_off_is_continued(tmp_path: Path) -> None:
    slow = {"TTS_TONE__REAL_TIME_FACTOR": "0.3"}
    with running_server(
        tmp_path, "--engine", "tone", environment=slow, keeps_speech=True
    ) as server:
        file = _phrases(tmp_path, 16)
        # The shell that runs the tests may have had SIGINT ignored, which children inherit.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from tts_service.__main__ import main; main()"
        )
        words = ["cache", "warm", file, "--server", server.address]
        with subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert " of 16: " in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, rest = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in rest
        last = rest.splitlines()[-1]
        assert last.startswith("interrupted at ")
        done = int(last.split()[2])
        assert 0 < done < 16

        process_again = _warm(server, file)
        assert process_again.returncode == 0, process_again.stderr
        words = process_again.stdout.split()
        hits, spoken = int(words[3]), int(words[6])
        assert hits >= done
        assert hits + spoken == 16


def test_a_terminal_shows_a_bar(server: ServerProcess, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        words = ("warm", _phrases(tmp_path, 5), "--server", server.address)
        with subprocess.Popen(
            _command(*words), stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            shown = read_until(ours, b"5 of 5: 0 there already, 5 spoken\r\n", 30)
            assert process.wait(30) == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"0/5" in shown
