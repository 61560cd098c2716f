"""What an operator deploys with says what it has to."""

import configparser
import re
import shlex
from pathlib import Path

import pytest

from tts_service.config import Settings

_ROOT = Path(__file__).parents[2]
_CONTAINERFILE = (_ROOT / "Containerfile").read_text()
_DEPLOYING = (_ROOT / "docs" / "deploying.md").read_text()
_UNIT = (_ROOT / "deploy" / "systemd" / "tts-service.service").read_text()


def _instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", _CONTAINERFILE, flags=re.M))
    lines = (line.strip() for line in joined.splitlines())
    return [(name, " ".join(rest)) for name, *rest in (line.split() for line in lines if line)]


def _last_stage() -> dict[str, str]:
    instructions = _instructions()
    start = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return dict(instructions[start:])


def _locked(name: str) -> dict[str, list[str]]:
    """The hashes of each requirement of a lock."""
    text = (_ROOT / "requirements" / name).read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    return {
        line.split()[0].lower(): re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)
        for line in lines
        if line.strip()
    }


def test_the_container_runs_as_nobody_in_particular() -> None:
    stage = _last_stage()
    uid, _, gid = stage["USER"].partition(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"] == '["tts-service"]'
    assert '"tts-service", "health"' in stage["HEALTHCHECK"]
    # Podman's own format has no HEALTHCHECK, and drops it with a warning.
    built = re.findall("^.*podman build.*$", _CONTAINERFILE + _DEPLOYING, re.M)
    assert len(built) == 2
    assert all("--format docker" in line for line in built)
    assert f"EXPOSE {stage['EXPOSE']}" in _CONTAINERFILE


def test_the_container_sets_what_are_settings() -> None:
    environment = dict(pair.split("=", 1) for pair in shlex.split(_last_stage()["ENV"]))
    given = {name: value for name, value in environment.items() if name.startswith("TTS_")}
    names = set(Settings.model_fields)
    assert given
    assert {name.removeprefix("TTS_").lower() for name in given} <= names
    assert environment["TMPDIR"] == environment["TTS_DATA_DIR"] == _last_stage()["WORKDIR"]
    assert given["TTS_LISTEN"].endswith(f":{_last_stage()['EXPOSE']}")


def test_the_container_installs_by_hash_and_builds_nothing_but_us() -> None:
    installs = [
        command
        for name, rest in _instructions()
        if name == "RUN"
        for command in rest.split("&&")
        if re.search(r"\bpip\b.*\binstall\b", command)
    ]
    assert len(installs) == 3
    for command in installs:
        own = "--no-deps --no-index" in command
        assert own or "--require-hashes --only-binary :all:" in command, command


def test_what_the_container_copies_is_there_and_not_ignored() -> None:
    copied = [
        source
        for name, rest in _instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    kept = re.findall(r"^!(\S+)$", (_ROOT / ".containerignore").read_text(), re.M)
    assert {"tts_service", "requirements", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (_ROOT / source).exists(), source
        assert any(line == source or line.startswith(f"{source}/") for line in kept), source


@pytest.mark.parametrize("name", ["server.txt", "build.txt"])
def test_every_locked_package_has_hashes(name: str) -> None:
    locked = _locked(name)
    assert locked
    for requirement, hashes in locked.items():
        assert re.fullmatch(r"[a-z0-9._-]+==[a-z0-9._+!-]+", requirement), requirement
        assert hashes, requirement
    text = (_ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert "index-url" not in text


def test_the_locked_versions_are_those_that_the_tests_ran_with() -> None:
    tested = {
        _canonical(line.split("==")[0]): line.split("==")[1].strip().lower()
        for line in (_ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    locked = dict(requirement.split("==") for requirement in _locked("server.txt"))
    assert {"grpcio", "numpy", "piper-tts", "av"} <= set(locked)
    assert {name: tested.get(_canonical(name)) for name in locked} == locked
    assert not {"torch", "coqui-tts"} & set(locked)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_unit_gives_the_server_time_to_drain() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(_UNIT)
    service = unit["Service"]
    settings = Settings()
    patience_s = float(service["TimeoutStopSec"])
    assert patience_s > settings.shutdown_grace_s + settings.connections.drain_delay_s + 5
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert service["ExecStart"].endswith("/tts-service serve")
    assert service["User"] not in ("", "root")


def test_the_security_page_names_what_exists() -> None:
    page = (_ROOT / "SECURITY.md").read_text()
    named = re.findall(
        r"`((?:tests|tts_service|audio_codec|voice_store|scripts|deploy|requirements)/[^`]+)`", page
    )
    assert len(named) > 20
    for path in named:
        assert (_ROOT / path).exists(), path
