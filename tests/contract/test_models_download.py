"""`tts-service models`, against a hub on loopback."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.client_command import read_until, wait_for
from tests.hub import REPOSITORY, REVISION, Hub, running_hub

_MODEL_BYTES = 3_000_000
_SERVICE = [sys.executable, "-m", "tts_service"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    rng = random.Random(1)
    files = {
        "LICENSE.txt": b"Use it kindly.\n",
        "config.json": b"{}\n",
        "vocab.json": rng.randbytes(5_000),
        "speakers_xtts.pth": rng.randbytes(20_000),
        "model.pth": rng.randbytes(_MODEL_BYTES),
    }
    with running_hub(files) as running:
        yield running


@dataclass
class Place:
    """Where the command is run, and what it finds."""

    folder: Path
    hub: Hub

    @property
    def model(self) -> Path:
        return self.folder / "data" / "models" / "xtts-v2"

    @property
    def staging(self) -> Path:
        return self.folder / "data" / "models" / ".xtts-v2.partial"

    def command(self, *flags: str) -> list[str]:
        manifest = self.folder / "manifest.toml"
        if not manifest.exists():
            manifest.write_text(self.hub.manifest())
        data_dir = str(self.folder / "data")
        arguments = ["--data-dir", data_dir, "--manifest", str(manifest), *flags]
        return [*_SERVICE, "models", "download", "xtts-v2", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The test's own, without what would lead the hub's library elsewhere."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "TTS_")) and "proxy" not in name.lower()
        }
        home = str(self.folder / "hub-home")
        return {**kept, "HF_ENDPOINT": self.hub.url, "HF_HOME": home, **more}

    def run(self, *flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*flags),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self.environment(**environment),
        )

    def list(self) -> str:
        command = [*_SERVICE, "models", "list", "--data-dir", str(self.folder / "data")]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True, env=self.environment()
        ).stdout

    def assert_whole(self) -> None:
        content = {file.name: file.read_bytes() for file in self.model.iterdir()}
        record = json.loads(content.pop("LICENCE_ACCEPTED"))
        assert content == self.hub.files
        assert record["revision"] == REVISION
        assert "CPML" in record["licence"]
        assert record["accepted_at"].startswith("20")
        assert os.listdir(self.model.parent) == ["xtts-v2"]


@pytest.fixture
def place(tmp_path: Path, hub: Hub) -> Place:
    return Place(tmp_path, hub)


def _assert_refused(process: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """One line says what happened, last."""
    assert process.returncode == 1
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("tts-service: ")
    for word in words:
        assert word in last


def test_the_model_comes_whole_and_the_second_run_asks_nobody(place: Place, hub: Hub) -> None:
    assert place.list().split() == ["xtts-v2", "absent", "0", "B", str(place.model)]
    first = place.run("--accept-licence")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"xtts-v2 is ready: {place.model}\n"
    assert "fetching model.pth, 3.0 MB\n" in first.stderr
    assert "checking model.pth, 3.0 MB\n" in first.stderr
    place.assert_whole()
    assert place.list().split() == ["xtts-v2", "present", "3.0", "MB", str(place.model)]
    assert {request.place for request in hub.requests} == {
        f"/{REPOSITORY}/resolve/{REVISION}",
        "/cdn",
    }

    hub.requests.clear()
    second = place.run()  # nor does it ask for the licence
    assert second.returncode == 0, second.stderr
    assert second.stdout == f"xtts-v2 was there already, and is whole: {place.model}\n"
    assert hub.requests == []


def test_a_cut_connection_is_continued_where_it_stopped(place: Place, hub: Hub) -> None:
    hub.cuts["model.pth"] = [1_000_000, 500_000]
    process = place.run("--accept-licence")
    assert process.returncode == 0, process.stderr
    place.assert_whole()
    answers = hub.bodies("model.pth")
    assert [answer.range for answer in answers] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert [answer.sent_bytes for answer in answers] == [1_000_000, 500_000, 1_500_000]
    assert "model.pth broke off" in process.stderr
    assert "fetching model.pth, 3.0 MB from 1.5 MB on" in process.stderr


def test_a_killed_run_is_continued_by_the_next(place: Place, hub: Hub) -> None:
    hub.holds["model.pth"] = 2_000_000
    with subprocess.Popen(
        place.command("--accept-licence"), stderr=subprocess.PIPE, env=place.environment()
    ) as process:
        assert hub.holding.wait(30)
        wait_for(lambda: sum(file.stat().st_size for file in _parts(place)) > 1_000_000)
        process.send_signal(signal.SIGKILL)
    assert not place.model.exists()
    assert "partial" in place.list()
    came_bytes = sum(file.stat().st_size for file in _parts(place))

    accepted = (place.staging / "LICENCE_ACCEPTED").read_bytes()

    hub.holds.clear()
    hub.requests.clear()
    second = place.run()  # the licence was accepted before the first byte came
    assert second.returncode == 0, second.stderr
    place.assert_whole()
    assert (place.model / "LICENCE_ACCEPTED").read_bytes() == accepted
    assert [answer.range for answer in hub.bodies("model.pth")] == [f"bytes={came_bytes}-"]
    assert hub.bodies("speakers_xtts.pth") == []


def test_another_version_takes_nothing_over(place: Place, hub: Hub) -> None:
    whole = hub.files["model.pth"]
    hub.files["model.pth"] = whole[::-1]
    hub.cuts["model.pth"] = [1_000_000, 0, 0, 0, 0]
    with subprocess.Popen(
        place.command("--accept-licence"), stderr=subprocess.PIPE, env=place.environment()
    ) as process:
        wait_for(lambda: sum(file.stat().st_size for file in _parts(place)) == 1_000_000)
        process.send_signal(signal.SIGKILL)
    hub.cuts.clear()
    hub.files["model.pth"] = whole
    other = "f" * 40
    (place.folder / "manifest.toml").write_text(hub.manifest().replace(REVISION, other))
    hub.requests.clear()
    _assert_refused(place.run(), "--accept-licence")  # it was accepted for the other
    assert hub.requests == []
    other_run = place.run("--accept-licence")
    assert other_run.returncode == 0, other_run.stderr
    assert [answer.range for answer in hub.bodies("model.pth")] == [None]
    assert {file.name for file in place.model.iterdir()} == {*hub.files, "LICENCE_ACCEPTED"}
    assert (place.model / "model.pth").read_bytes() == whole


def _parts(place: Place) -> list[Path]:
    return list(place.staging.glob("model.pth.*"))


def test_a_hub_without_ranges_sends_all_again(place: Place, hub: Hub) -> None:
    hub.ranges = False
    hub.cuts["model.pth"] = [1_000_000]
    process = place.run("--accept-licence")
    assert process.returncode == 0, process.stderr
    place.assert_whole()
    assert [answer.sent_bytes for answer in hub.bodies("model.pth")] == [1_000_000, _MODEL_BYTES]


def test_a_wrong_checksum_is_refused_and_removed(place: Place, hub: Hub) -> None:
    good = hub.files["model.pth"]
    hub.stated["model.pth"] = good
    hub.files["model.pth"] = bytes([good[0] ^ 1]) + good[1:]  # one bit of three megabytes
    _assert_refused(place.run("--accept-licence"), "model.pth", "removed", "SHA-256")
    assert not place.model.exists()
    assert _parts(place) == []

    hub.files["model.pth"] = good
    hub.requests.clear()
    assert place.run().returncode == 0
    place.assert_whole()
    assert {request.file_name for request in hub.requests} == {"model.pth"}


def test_another_file_than_the_pinned_one_is_not_even_fetched(place: Place, hub: Hub) -> None:
    place.command()  # the manifest is written, then the hub's file changes
    hub.files["model.pth"] = hub.files["model.pth"][::-1]
    _assert_refused(place.run("--accept-licence"), "model.pth", "SHA-256", "expected")
    assert all(request.method == "HEAD" for request in hub.requests)


def test_more_bytes_than_the_file_has_are_not_kept(place: Place, hub: Hub) -> None:
    hub.stated["model.pth"] = hub.files["model.pth"]
    place.command()
    hub.files["model.pth"] *= 2
    _assert_refused(place.run("--accept-licence"), "model.pth", "more")
    assert [file.stat().st_size for file in _parts(place)] == [0]


def test_without_the_licence_nothing_is_asked_of_the_hub(place: Place, hub: Hub) -> None:
    process = place.run()
    _assert_refused(process, "--accept-licence")
    assert "non-commercial" in process.stderr
    assert "huggingface.co/coqui/XTTS-v2/blob/" in process.stderr
    assert hub.requests == []
    assert not (place.folder / "data").exists()


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_the_licence_is_asked_for_at_a_terminal(
    place: Place, hub: Hub, answer: str, status: int
) -> None:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            place.command(), stdin=theirs, stdout=theirs, stderr=theirs, env=place.environment()
        ) as process:
            shown = read_until(ours, b"[y/N]:")
            assert hub.requests == []
            os.write(ours, f"{answer}\n".encode())
            end = b"is ready" if status == 0 else b"nothing was fetched"
            shown += read_until(ours, end)
            assert process.wait(30) == status
    finally:
        os.close(theirs)
        os.close(ours)
    assert b"non-commercial" in shown
    if status == 0:
        assert b"3.0/3.0 MB" in shown
        place.assert_whole()
    else:
        assert hub.requests == []
        assert not (place.folder / "data").exists()


def test_two_processes_do_not_disturb_each_other(place: Place, hub: Hub) -> None:
    hub.holds["model.pth"] = 100_000
    with subprocess.Popen(
        place.command("--accept-licence"), stderr=subprocess.PIPE, env=place.environment()
    ) as process:
        assert hub.holding.wait(30)
        _assert_refused(place.run("--accept-licence"), "another process", "models")
        hub.holds.clear()
        hub.released.set()
        assert process.wait(30) == 0
    place.assert_whole()


def test_what_is_somebody_elses_is_left_alone(place: Place, hub: Hub) -> None:
    assert place.run("--accept-licence").returncode == 0
    own = b"fine-tuned" + (place.model / "model.pth").read_bytes()[10:]
    (place.model / "model.pth").write_bytes(own)
    hub.requests.clear()
    _assert_refused(place.run("--accept-licence"), str(place.model), "model.pth", "SHA-256")
    assert (place.model / "model.pth").read_bytes() == own
    assert hub.requests == []


def test_a_copy_by_hand_will_do(place: Place, hub: Hub) -> None:
    place.model.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "speakers_xtts.pth"):
        (place.model / name).write_bytes(hub.files[name])
    assert "unusable" in place.list()
    _assert_refused(place.run(), "model.pth: missing")
    (place.model / "model.pth").write_bytes(hub.files["model.pth"])
    assert "whole" in place.run().stdout
    assert hub.requests == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_asked(place: Place, hub: Hub) -> None:
    place.command()
    manifest = place.folder / "manifest.toml"
    huge = manifest.read_text().replace(str(_MODEL_BYTES), str(10**18))
    manifest.write_text(huge)
    _assert_refused(place.run("--accept-licence"), "the disk has", "1000000000.00 GB")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "error_code", "words"),
    [
        (404, "RevisionNotFound", ["no revision", REVISION]),
        (404, "EntryNotFound", ["no LICENSE.txt", REPOSITORY]),
        (404, "", ["404", "LICENSE.txt"]),
        (401, "RepoNotFound", ["no repository", "HF_TOKEN"]),
        (401, "", ["401", "HF_TOKEN"]),
        (403, "GatedRepo", [REPOSITORY, "HF_TOKEN"]),
        (403, "", ["403", "HF_TOKEN"]),
        (500, "", ["500"]),
        (503, "", ["503"]),
    ],
)
def test_a_hub_that_refuses_gives_one_line(
    place: Place, hub: Hub, status: int, error_code: str, words: list[str]
) -> None:
    hub.status, hub.error_code = status, error_code
    process = place.run("--accept-licence")
    _assert_refused(process, hub.url, *words)
    assert len(process.stderr.splitlines()) == 1
    assert not place.model.exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:1"}, ["http://127.0.0.1:1", "can't be reached"]),
        ({"HF_ENDPOINT": "nowhere"}, ["nowhere"]),
        ({"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE"]),
    ],
)
def test_no_hub_gives_one_line_at_once(
    place: Place, environment: dict[str, str], words: list[str]
) -> None:
    begun_s = time.monotonic()
    process = place.run("--accept-licence", **environment)
    assert time.monotonic() - begun_s < 20
    _assert_refused(process, *words)
    assert len(process.stderr.splitlines()) == 1


def test_a_folder_that_cant_be_made_gives_one_line(place: Place, hub: Hub) -> None:
    process = place.run("--accept-licence", "--data-dir", "/proc/no")
    _assert_refused(process, "/proc/no")
    assert hub.requests == []


def test_a_login_goes_to_the_hub_and_no_further(place: Place, hub: Hub) -> None:
    assert place.run("--accept-licence", HF_TOKEN="hf_secret").returncode == 0
    assert all(request.logged_in == (request.place != "/cdn") for request in hub.requests)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "vocab.json"', 'name = "other.json"', ["vocab.json"]),
        ('name = "vocab.json"', 'name = "model.pth"', ["twice"]),
        ('name = "vocab.json"', 'name = "../vocab.json"', ["files.2.name"]),
        ('name = "vocab.json"', 'name = "LICENCE_ACCEPTED"', ["files.2.name"]),
        (REVISION, "main", ["revision"]),
        ("size_bytes = 5000", "size_bytes = -1", ["files.2.size_bytes"]),
        ("size_bytes = 5000", "length = 5000", ["files.2.length", "files.2.size_bytes"]),
        ("repository =", "repository", ["line 1"]),
    ],
)
def test_a_manifest_that_cant_be_used_is_refused(
    place: Place, hub: Hub, old: str, new: str, words: list[str]
) -> None:
    place.command()
    manifest = place.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(old, new))
    process = place.run("--accept-licence")
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    for word in words:
        assert word in process.stderr
    assert hub.requests == []


def test_a_manifest_that_is_not_there_is_refused(place: Place) -> None:
    process = place.run("--manifest", "/nonexistent.toml")
    assert process.returncode == 2
    assert (
        process.stderr == "tts-service: --manifest: No such file or directory: /nonexistent.toml\n"
    )


def test_without_the_hub_library_it_says_what_to_install(place: Place, hub: Hub) -> None:
    arguments = place.command("--accept-licence")[len(_SERVICE) :]
    code = (
        f"import sys; sys.modules['huggingface_hub'] = None; sys.argv[1:] = {arguments!r}\n"
        "from tts_service.__main__ import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    _assert_refused(process, "huggingface-hub", "pip install")


def test_a_model_that_nobody_knows_is_refused(place: Place) -> None:
    command = [*_SERVICE, "models", "download", "bark"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert process.returncode == 2
    assert "xtts-v2" in process.stderr


def test_a_server_settings_name_the_folder(place: Place) -> None:
    settings = place.folder / "settings.toml"
    settings.write_text(f'data_dir = "{place.folder}/elsewhere"\n')
    command = [*_SERVICE, "models", "list", "--config", str(settings)]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert f"{place.folder}/elsewhere/models/xtts-v2" in listing.stdout


def test_help_loads_no_hub_library() -> None:
    code = (
        "import sys; sys.argv = ['tts-service', 'models', 'download', '--help']\n"
        "from tts_service.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'huggingface_hub', 'httpx2', 'torch', 'pydantic'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert "--accept-licence" in process.stdout
    assert process.stderr.strip() == "[]"
