"""The check finds what is wrong in a store, and repairs what it can without losing anything."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.failing_disk import failing_disk
from tests.voice_data import add_voice, embedding, files_in, recording, sound
from voice_store import Finding, StoreNotFoundError, VoiceStore, check_store
from voice_store.files import Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two voices in good order."""
    with VoiceStore.open(tmp_path / "store") as store:
        add_voice(store, "anna")
        add_voice(
            store,
            "zoe",
            recording("neutral", 1),
            recording("sad", 2),
            embeddings={"sad": embedding()},
        )
    return tmp_path / "store"


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


_BREAK_THE_VOICE: dict[str, Callable[[Path], object]] = {
    "no voice.json": lambda zoe: (zoe / "voice.json").unlink(),
    "not JSON": lambda zoe: (zoe / "voice.json").write_text("{"),
    "unknown key": lambda zoe: _edit(zoe / "voice.json", more=1),
    "another id": lambda zoe: _edit(zoe / "voice.json", id="mia"),
    "no recording": lambda zoe: (zoe / "sad.flac").unlink(),
    "no audio": lambda zoe: (zoe / "sad.flac").write_bytes(b""),
    "short recording": lambda zoe: os.truncate(zoe / "sad.flac", 4000),
    "flipped bit": lambda zoe: _flip(zoe / "sad.flac"),
    "another recording": lambda zoe: shutil.copyfile(zoe / "neutral.flac", zoe / "sad.flac"),
}

_DIRTY: dict[str, Callable[[Path], object]] = {
    "draft": lambda zoe: shutil.copytree(zoe, zoe.parents[1] / "staging" / "draft-0"),
    "deletion": lambda zoe: shutil.copytree(
        zoe, zoe.parents[1] / "staging" / "deletion-0123456789abcdef-mia"
    ),
    "file in staging": lambda zoe: (zoe.parents[1] / "staging" / "x").touch(),
    "file among the voices": lambda zoe: (zoe.parent / "x").touch(0o600),
    "folder among the voices": lambda zoe: (zoe.parent / "X").mkdir(0o700),
    "link among the voices": lambda zoe: (zoe.parent / "mia").symlink_to(zoe),
    "file of a voice": lambda zoe: (zoe / "happy.flac").touch(0o600),
    "folder of a voice": lambda zoe: (zoe / "more").mkdir(0o700),
    "short embedding": lambda zoe: os.truncate(next((zoe / "embeddings").iterdir()), 100),
    "stray embedding": lambda zoe: (zoe / "embeddings" / "x").touch(0o600),
    "embedding of no style": lambda zoe: next((zoe / "embeddings").iterdir()).rename(
        zoe / "embeddings" / "tone+1+happy.safetensors"
    ),
    "file for embeddings": lambda zoe: (
        shutil.rmtree(zoe / "embeddings"),
        (zoe / "embeddings").touch(0o600),
    ),
    "open root": lambda zoe: zoe.parents[1].chmod(0o755),
    "open folder": lambda zoe: zoe.chmod(0o750),
    "open recording": lambda zoe: (zoe / "sad.flac").chmod(0o644),
    "open embedding": lambda zoe: next((zoe / "embeddings").iterdir()).chmod(0o640),
    "open log": lambda zoe: (zoe.parents[1] / "audit.jsonl").chmod(0o666),
}


def test_a_store_in_good_order_has_no_findings(root: Path) -> None:
    (root / "lost+found").mkdir()
    before = files_in(root)
    assert check_store(root, repair=False) == []
    assert check_store(root, repair=True) == []
    assert files_in(root) == before


@pytest.mark.parametrize("name", _BREAK_THE_VOICE)
def test_a_broken_voice_is_put_aside(root: Path, name: str) -> None:
    _BREAK_THE_VOICE[name](root / "voices" / "zoe")
    before = files_in(root)
    (finding,) = check_store(root, repair=False)
    assert (finding.voice_id, finding.repaired) == ("zoe", False)
    assert files_in(root) == before

    assert check_store(root, repair=True) == [Finding("zoe", finding.problem, repaired=True)]
    assert check_store(root, repair=False) == []
    (kept,) = (root / "quarantine").iterdir()
    assert len(files_in(kept)) == sum(path.startswith("voices/zoe/") for path in before)
    with VoiceStore.open(root) as store:
        assert [voice.id for voice in store.list()] == ["anna"]
        assert store.broken == ()
        add_voice(store, "zoe")


@pytest.mark.parametrize("name", _DIRTY)
def test_what_does_not_belong_there_is_cleared_away(root: Path, name: str) -> None:
    _DIRTY[name](root / "voices" / "zoe")
    before = files_in(root)
    (finding,) = check_store(root, repair=False)
    assert not finding.repaired
    assert files_in(root) == before

    (repaired,) = check_store(root, repair=True)
    assert repaired == Finding(finding.voice_id, finding.problem, repaired=True)
    assert check_store(root, repair=False) == []
    with VoiceStore.open(root) as store:
        assert [voice.id for voice in store.list()] == ["anna", "zoe"]
        assert np.array_equal(store.samples("zoe", "neutral"), sound(1))
        assert np.array_equal(store.samples("zoe", "sad"), sound(2))


def test_a_voice_of_a_later_version_is_left_alone(root: Path) -> None:
    _edit(root / "voices" / "zoe" / "voice.json", schema_version=2, more=1)
    before = files_in(root)
    for repair in (False, True):
        (finding,) = check_store(root, repair=repair)
        assert (finding.voice_id, finding.repaired) == ("zoe", False)
        assert "newer" in finding.problem
    assert files_in(root) == before


def test_files_of_others_are_told_of_and_left_alone(root: Path) -> None:
    (root / "notes.txt").touch()
    told = [Finding("notes.txt", "nothing of the store's", repaired=False)]
    assert check_store(root, repair=True) == told == check_store(root, repair=False)
    assert (root / "notes.txt").exists()


def test_what_is_no_store_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "draft-0").mkdir()
    for path in (tmp_path, tmp_path / "none", tmp_path / "draft-0"):
        with pytest.raises(StoreNotFoundError):
            check_store(path, repair=True)
    assert files_in(tmp_path) == ["draft-0"]


@pytest.mark.parametrize("name", ["neutral.flac", "voice.json"])
def test_a_file_that_the_disk_does_not_give_is_told_of_and_left_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    anna = (root / "voices" / "anna").stat().st_ino

    def is_annas(folder: Folder, entry: str, *_: int) -> bool:
        return entry == name and os.fstat(folder.descriptor).st_ino == anna

    failing_disk(monkeypatch, "read", is_annas)
    before = files_in(root)
    (root / "voices" / "zoe" / "happy.flac").touch(0o600)
    told, repaired = check_store(root, repair=True)
    assert told == Finding(
        "anna", "it can't be checked: [Errno 5] Input/output error", repaired=False
    )
    assert (repaired.voice_id, repaired.repaired) == ("zoe", True)
    assert set(before) < set(files_in(root))


def test_an_embedding_that_the_disk_does_not_give_is_left_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(root)
    failing_disk(monkeypatch, "read", lambda _, entry, *more: entry.endswith(".safetensors"))
    (finding,) = check_store(root, repair=True)
    assert (finding.voice_id, finding.repaired) == ("zoe", False)
    assert files_in(root) == before


def test_what_cannot_be_cleared_away_is_told_of(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("draft-1", "draft-2"):
        (root / "staging" / name).mkdir(mode=0o700)
    failing_disk(monkeypatch, "remove", lambda _, entry: entry == "draft-1")
    found = {finding.voice_id: finding for finding in check_store(root, repair=True)}
    assert [found[f"staging/draft-{n}"].repaired for n in (1, 2)] == [False, True]
    assert "Input/output error" in found["staging/draft-1"].problem
