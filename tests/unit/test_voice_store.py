"""Voices are kept wholly, found again, and gone when they are deleted."""

import dataclasses
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from tests.failing_disk import failing_disk
from tests.voice_data import (
    CONSENT,
    add_voice,
    audited,
    embedding,
    files_in,
    quality,
    recording,
    sound,
)
from voice_store import (
    DamagedVoiceError,
    InvalidEmbeddingError,
    InvalidRecordError,
    StyleNameError,
    UnknownVoiceError,
    VoiceExistsError,
    VoiceIdError,
    VoiceStore,
    check_store,
    failpoints,
)
from voice_store.files import Folder

_Result = TypeVar("_Result")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[VoiceStore]:
    with VoiceStore.open(root) as opened:
        yield opened


def test_a_voice_is_found_again_by_the_next_process(store: VoiceStore, root: Path) -> None:
    recordings = (recording("neutral", 1), recording("cheerful", 2, ms=3000))
    made, already = add_voice(
        store, "zoe", *recordings, request_id="r", embeddings={"cheerful": embedding(3)}
    )
    assert not already
    with VoiceStore.open(root) as again:
        voice = again.get("zoe")
        assert voice == made == again.find_request("r")
        assert voice.display_name == "Zoë"
        assert voice.consent == CONSENT
        assert voice.styles == ("cheerful", "neutral")
        assert voice.quality == (quality("cheerful"), quality("neutral"))
        assert np.array_equal(again.samples("zoe", "neutral"), sound(1))
        assert np.array_equal(again.samples("zoe", "cheerful"), sound(2, ms=3000))
        assert again.embedding("zoe", "cheerful", "tone", "1") == embedding(3)
        assert again.embedding("zoe", "neutral", "tone", "1") is None
        assert again.embedding("zoe", "cheerful", "tone", "2") is None
    assert check_store(root, repair=False) == []
    assert audited(root) == [("created", "zoe")]


def test_voices_are_listed_by_id(store: VoiceStore) -> None:
    for voice_id in ("zoe", "anna", "mia-2", "mia"):
        add_voice(store, voice_id)
    assert [voice.id for voice in store.list()] == ["anna", "mia", "mia-2", "zoe"]


def test_the_fingerprint_is_of_the_samples_alone(store: VoiceStore) -> None:
    styles = [recording("a", 1), recording("b", 2)]
    first, _ = add_voice(store, "first", *styles)
    second, _ = add_voice(store, "second", *reversed(styles), display_name="Another")
    swapped, _ = add_voice(store, "swapped", recording("b", 1), recording("a", 2))
    assert first.content_fingerprint == second.content_fingerprint
    assert first.content_fingerprint != swapped.content_fingerprint


def test_nothing_is_seen_before_the_commit(store: VoiceStore, root: Path) -> None:
    before = files_in(root)

    def create() -> None:
        with store.begin(
            voice_id="zoe",
            display_name="Zoë",
            language="en",
            recordings=[recording()],
            consent=None,
            request_id="r",
        ) as draft:
            draft.put_embedding("neutral", "tone", "1", embedding())
            assert store.list() == ()
            assert store.find_request("r") is None
            assert files_in(root / "voices") == []
            with VoiceStore.open(root) as other:  # its sweep leaves the draft alone
                assert other.list() == ()
            assert check_store(root, repair=True) == []
            assert len(files_in(root / "staging")) > 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create()
    assert files_in(root) == before


@pytest.mark.parametrize(
    "voice_id", ["", ".", "..", "../x", "..%2f", "CON", "a/b", "/tmp", "Zoë", "\0", "x" * 300]
)
def test_no_id_leads_out_of_the_store(store: VoiceStore, root: Path, voice_id: str) -> None:
    before = files_in(root.parent)
    with pytest.raises(VoiceIdError):
        add_voice(store, voice_id)
    for call in (store.get, store.delete, lambda id: store.samples(id, "neutral")):
        with pytest.raises((VoiceIdError, UnknownVoiceError)):
            call(voice_id)
    with pytest.raises(StyleNameError):
        add_voice(store, "zoe", recording(f"{voice_id}/"))
    assert files_in(root.parent) == before


def test_an_id_is_given_once(store: VoiceStore) -> None:
    first, _ = add_voice(store, "zoe", recording(seed=1))
    with pytest.raises(VoiceExistsError):
        add_voice(store, "zoe", recording(seed=2))
    assert store.get("zoe") == first
    assert np.array_equal(store.samples("zoe", "neutral"), sound(1))


def test_a_repeated_request_gives_the_same_voice(store: VoiceStore, root: Path) -> None:
    first, _ = add_voice(store, None, recording(seed=1), request_id="r")
    assert add_voice(store, None, recording(seed=2), request_id="r") == (first, True)
    assert add_voice(store, first.id, recording(seed=2), request_id="r") == (first, True)
    with VoiceStore.open(root) as again:
        assert add_voice(again, None, request_id="r") == (first, True)
    assert store.list() == (first,)
    assert files_in(root / "staging") == []
    store.delete(first.id)
    assert add_voice(store, None, request_id="r")[1] is False


def test_of_many_creators_of_one_id_one_wins(store: VoiceStore, root: Path) -> None:
    stored, refused = _race(16, lambda n: add_voice(store, "zoe", recording(seed=n)))
    assert len(stored) == 1
    assert [type(error) for error in refused] == [VoiceExistsError] * 15
    assert store.get("zoe") == stored[0][0]
    assert check_store(root, repair=False) == []
    assert audited(root) == [("created", "zoe")]


def test_many_uploads_of_one_request_make_one_voice(store: VoiceStore, root: Path) -> None:
    for voice_id in (None, "zoe"):
        request_id = f"r-{voice_id}"
        stored, refused = _race(
            8, lambda n, id=voice_id, r=request_id: add_voice(store, id, request_id=r)
        )
        assert not refused
        assert len({voice.id for voice, _ in stored}) == 1
        assert sum(not already for _, already in stored) == 1
    assert len(store.list()) == 2
    assert files_in(root / "staging") == []


def test_readers_of_a_voice_that_is_deleted_see_it_whole_or_gone(store: VoiceStore) -> None:
    is_over = threading.Event()
    done = [0] * 5

    def use(n: int) -> None:
        if n == 0:
            add_voice(store, "zoe", recording(seed=1))
        elif n == 1:
            time.sleep(0.01)  # about as long as its recording takes to read
            store.delete("zoe")
        elif n == 2:
            store.put_embedding(store.get("zoe"), "neutral", "tone", "1", embedding())
        else:
            assert np.array_equal(store.samples("zoe", "neutral"), sound(1))
            assert store.embedding("zoe", "neutral", "tone", "1") in (None, embedding())

    def use_again_and_again(n: int) -> None:
        try:
            while not is_over.is_set() and min(done) < 5 and done[0] < 200:
                with suppress(UnknownVoiceError, VoiceExistsError):
                    use(n)
                    done[n] += 1
        finally:
            is_over.set()

    _, failed = _race(5, use_again_and_again)
    assert not failed
    assert min(done) >= 5


def test_a_voice_is_not_erased_while_an_embedding_is_being_added(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, _ = add_voice(store, "zoe")
    before_the_move, deleted = threading.Event(), threading.Event()
    early: list[bool] = []

    def wait_for_the_deletion(step: str) -> None:
        if step.startswith("draft: ") and step.endswith("synced"):
            before_the_move.set()
            early.append(deleted.wait(0.3))

    monkeypatch.setattr(failpoints, "reach", wait_for_the_deletion)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(store.put_embedding, voice, "neutral", "tone", "1", embedding())
        assert before_the_move.wait(10)
        store.delete("zoe")
        deleted.set()
        adding.result()
    assert early[0] is False
    assert files_in(root / "voices") == files_in(root / "staging") == []


def test_a_draft_that_is_swept_before_it_is_locked_is_made_again(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def sweep_the_first(step: str) -> None:
        steps.append(step)
        if len(steps) == 1:
            VoiceStore.open(root).close()

    monkeypatch.setattr(failpoints, "reach", sweep_the_first)
    add_voice(store, "zoe")
    assert sum(re.fullmatch(r"staging: draft-\w+ made", step) is not None for step in steps) == 2
    assert check_store(root, repair=False) == []


def test_who_waited_to_delete_a_voice_does_not_delete_its_successor(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_voice(store, "zoe", recording(seed=1))
    waits, wait = threading.Event(), Folder.lock

    def lock(folder: Folder) -> None:
        waits.set()
        wait(folder)

    with VoiceStore.open(root) as other, ThreadPoolExecutor(1) as pool:
        with Folder.at(root / "voices" / "zoe") as old:
            old.lock()
            with monkeypatch.context() as patch:
                patch.setattr(Folder, "lock", lock)
                deleting = pool.submit(store.delete, "zoe")
                assert waits.wait(10)
            (root / "voices" / "zoe").rename(root / "gone")
            with VoiceStore.open(root) as third:
                add_voice(third, "zoe", recording(seed=2))
        assert isinstance(deleting.exception(), UnknownVoiceError)
        assert np.array_equal(other.samples("zoe", "neutral"), sound(2))


def test_a_deleted_voice_leaves_an_audit_line_alone(store: VoiceStore, root: Path) -> None:
    before = files_in(root)
    voice, _ = add_voice(store, "zoe", request_id="r", embeddings={"neutral": embedding()})
    store.delete("zoe")
    assert files_in(root) == before
    assert store.list() == ()
    assert store.find_request("r") is None
    with pytest.raises(UnknownVoiceError):
        store.delete("zoe")
    created, deleted = map(json.loads, (root / "audit.jsonl").read_text().splitlines())
    assert created == {
        "action": "created",
        "voice_id": "zoe",
        "time": voice.create_time.isoformat(),
        "content_fingerprint": voice.content_fingerprint,
    }
    assert deleted.pop("time") > created.pop("time")
    assert deleted == {**created, "action": "deleted"}


def test_embeddings_can_be_added_and_replaced(store: VoiceStore, root: Path) -> None:
    voice, _ = add_voice(store, "zoe", recording("a"), recording("b"))
    assert store.missing_embeddings("x/../y", "1+2") == ((voice, "a"), (voice, "b"))
    store.put_embedding(voice, "b", "x/../y", "1+2", embedding(1))
    store.put_embedding(voice, "b", "x/../y", "1+2", embedding(2))
    assert store.embedding("zoe", "b", "x/../y", "1+2") == embedding(2)
    assert store.missing_embeddings("x/../y", "1+2") == ((voice, "a"),)
    assert store.missing_embeddings("x/../y", "1") == ((voice, "a"), (voice, "b"))
    assert len(files_in(root / "voices" / "zoe" / "embeddings")) == 1
    assert check_store(root, repair=False) == []
    with pytest.raises(UnknownVoiceError):
        store.put_embedding(voice, "c", "tone", "1", embedding())


def test_an_embedding_of_a_deleted_voice_does_not_become_its_successors(store: VoiceStore) -> None:
    old, _ = add_voice(store, "zoe", recording(seed=1))
    store.delete("zoe")
    with pytest.raises(UnknownVoiceError):
        store.put_embedding(old, "neutral", "tone", "1", embedding())
    new, _ = add_voice(store, "zoe", recording(seed=2))
    with pytest.raises(UnknownVoiceError):
        store.put_embedding(old, "neutral", "tone", "1", embedding())
    assert store.missing_embeddings("tone", "1") == ((new, "neutral"),)


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", embedding()[:-1], embedding() + b"\0"])
def test_what_is_no_whole_embedding_is_neither_kept_nor_returned(
    store: VoiceStore, root: Path, data: bytes
) -> None:
    voice, _ = add_voice(store, "zoe", embeddings={"neutral": embedding()})
    with pytest.raises(InvalidEmbeddingError):
        store.put_embedding(voice, "neutral", "tone", "1", data)
    assert store.embedding("zoe", "neutral", "tone", "1") == embedding()
    (file,) = (root / "voices" / "zoe" / "embeddings").iterdir()
    file.write_bytes(data)
    assert store.embedding("zoe", "neutral", "tone", "1") is None
    assert store.missing_embeddings("tone", "1") == ((voice, "neutral"),)


def test_all_is_on_the_disk_before_it_is_seen_and_after(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would show: nothing is moved before it is synced, with its folders."""
    steps: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def path_of(descriptor: int, name: str = "") -> str:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"), name).relative_to(root)
        return re.sub(r"[0-9a-f]{16}", "*", str(path))

    def traced_fsync(descriptor: int) -> None:
        steps.append(("synced", path_of(descriptor)))
        fsync(descriptor)

    def traced_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(("moved to", path_of(dst_dir_fd, target)))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    name = "tone+1+neutral.safetensors"

    voice, _ = add_voice(store, "zoe", embeddings={"neutral": embedding()})
    draft = "staging/draft-*"
    moved = steps.index(("moved to", "voices/zoe"))
    files = ("neutral.flac", "voice.json", "embeddings", f"embeddings/{name}")
    assert set(steps[:moved]) == {("synced", draft), *(("synced", f"{draft}/{f}") for f in files)}
    assert steps[moved - 1] == ("synced", draft)
    assert steps[moved + 1 :] == [("synced", p) for p in ("voices", "staging", "audit.jsonl")]

    steps.clear()
    store.put_embedding(voice, "neutral", "tone", "1", embedding())
    assert steps == [
        ("synced", f"{draft}/{name}"),
        ("moved to", f"voices/zoe/embeddings/{name}"),
        ("synced", "voices/zoe/embeddings"),
        ("synced", draft),
    ]

    steps.clear()
    store.delete("zoe")
    assert steps == [
        ("moved to", "staging/deletion-*-zoe"),
        ("synced", "staging"),
        ("synced", "voices"),
        ("synced", "audit.jsonl"),
        ("synced", "staging"),
    ]


def test_only_the_owner_may_look_into_it(store: VoiceStore, root: Path) -> None:
    old = os.umask(0)
    try:
        voice, _ = add_voice(store, "zoe", embeddings={"neutral": embedding()})
        store.put_embedding(voice, "neutral", "tone", "2", embedding())
        add_voice(store, "anna")
        store.delete("anna")
    finally:
        os.umask(old)
    for path in (root, *root.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_links_are_not_followed(store: VoiceStore, root: Path) -> None:
    outside = root.parent / "outside"
    with VoiceStore.open(outside) as other:
        add_voice(other, "zoe", embeddings={"neutral": embedding()})
    add_voice(store, "anna")
    (root / "voices" / "zoe").symlink_to(outside / "voices" / "zoe")
    recording_file = root / "voices" / "anna" / "neutral.flac"
    recording_file.unlink()
    recording_file.symlink_to(outside / "voices" / "zoe" / "neutral.flac")
    kept = files_in(outside)
    with VoiceStore.open(root) as again:
        assert [finding.voice_id for finding in again.broken] == ["zoe"]
        with pytest.raises(DamagedVoiceError):
            again.samples("anna", "neutral")
        again.delete("anna")
    assert files_in(outside) == kept


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"schema_version": 1}', b'{"schema_version": 2}'],
)
def test_a_broken_voice_is_told_of_and_left_out(
    store: VoiceStore, root: Path, content: bytes
) -> None:
    add_voice(store, "anna")
    add_voice(store, "zoe")
    (root / "voices" / "zoe" / "voice.json").write_bytes(content)
    (root / "voices" / "empty").mkdir(mode=0o700)
    (root / "voices" / "file").touch(mode=0o600)
    (root / "voices" / "Not An Id").mkdir(mode=0o700)
    with VoiceStore.open(root) as again:
        assert [voice.id for voice in again.list()] == ["anna"]
        assert [finding.voice_id for finding in again.broken] == [
            *("Not An Id", "empty", "file", "zoe")
        ]
        with pytest.raises(VoiceExistsError):
            add_voice(again, "zoe")
        again.delete("zoe")
        add_voice(again, "zoe")


def test_a_voice_of_another_id_is_broken(store: VoiceStore, root: Path) -> None:
    add_voice(store, "zoe")
    (root / "voices" / "zoe").rename(root / "voices" / "anna")
    with VoiceStore.open(root) as again:
        assert [finding.voice_id for finding in again.broken] == ["anna"]


def test_the_audit_log_is_made_whole_again(store: VoiceStore, root: Path) -> None:
    for voice_id in ("anna", "mia", "zoe"):
        add_voice(store, voice_id)
    log = root / "audit.jsonl"
    first, second, third = log.read_text().splitlines(keepends=True)
    log.write_text(first + third + second[:40])  # what a power cut may leave
    with VoiceStore.open(root):
        pass
    assert log.read_text() == first + third + second[:40] + "\n" + second
    with VoiceStore.open(root):
        pass
    assert len(log.read_text().splitlines()) == 4


def test_a_long_audit_log_is_not_read_whole(store: VoiceStore, root: Path) -> None:
    add_voice(store, "zoe")
    log = root / "audit.jsonl"
    line = {
        "action": "deleted",
        "voice_id": "anna",
        "time": "2100-01-01T00:00:00+00:00",
        "content_fingerprint": "",
    }
    log.write_text((json.dumps(line) + "\n") * 20_000)
    size = log.stat().st_size
    with VoiceStore.open(root) as again:
        assert len(again.list()) == 1
    assert log.stat().st_size == size


def test_what_can_not_be_kept_leaves_nothing(store: VoiceStore, root: Path) -> None:
    before = files_in(root)
    bad = dataclasses.replace(recording(), quality=dataclasses.replace(quality("a"), kept_ms="x"))
    with pytest.raises(InvalidRecordError):
        add_voice(store, "zoe", bad)
    with pytest.raises(ValueError, match="one for each style"):
        add_voice(store, "zoe", recording(), recording(""))
    assert files_in(root) == before


def _race(count: int, call: Callable[[int], _Result]) -> tuple[list[_Result], list[BaseException]]:
    """Calls from so many threads at once; returns the results, and what was raised."""
    barrier = threading.Barrier(count)

    def wait_and_call(n: int) -> _Result:
        barrier.wait()
        return call(n)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(wait_and_call, n) for n in range(count)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    return [future.result() for future in futures if future.exception() is None], errors


@pytest.mark.parametrize("style", ["neutral", "sad"])
def test_a_recording_that_is_not_what_was_stored_is_damage(
    store: VoiceStore, root: Path, style: str
) -> None:
    add_voice(store, "zoe", recording("neutral"), recording("sad", 2))
    file = root / "voices" / "zoe" / f"{style}.flac"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # one frame of several, which a decoder leaves out
    file.write_bytes(data)
    with pytest.raises(DamagedVoiceError, match="not those that were stored"):
        store.samples("zoe", style)


def test_a_style_that_the_next_voice_of_an_id_lacks_is_unknown(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_voice(store, "zoe", recording("neutral"), recording("sad", 2))
    open_folder = Folder.open_folder

    def hand_on_before_opening(folder: Folder, *arguments: str) -> Folder:
        monkeypatch.undo()
        store.delete("zoe")
        add_voice(store, "zoe")
        return open_folder(folder, *arguments)

    monkeypatch.setattr(Folder, "open_folder", hand_on_before_opening)
    with pytest.raises(UnknownVoiceError, match="sad"):
        store.samples("zoe", "sad")


def test_an_embedding_that_cannot_be_read_is_missing(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, _ = add_voice(store, "zoe", embeddings={"neutral": embedding()})
    failing_disk(
        monkeypatch, "read", lambda _, name, *more: name.endswith(".safetensors"), once=True
    )
    assert store.missing_embeddings("tone", "1") == ((voice, "neutral"),)
    assert store.missing_embeddings("tone", "1") == ()


def test_what_a_failing_disk_keeps_of_a_deleted_voice_the_next_deletion_erases(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(root)
    add_voice(store, "anna")
    add_voice(store, "zoe")
    failing_disk(monkeypatch, "remove", lambda _, name: name.endswith(".flac"), once=True)
    with pytest.raises(OSError, match="Input/output"):
        store.delete("zoe")
    assert [voice.id for voice in store.list()] == ["anna"]
    assert any(name.endswith(".flac") and "zoe" in name for name in files_in(root))
    store.delete("anna")
    assert files_in(root) == before
    assert sorted(audited(root)) == sorted(
        [("created", "anna"), ("created", "zoe"), ("deleted", "anna"), ("deleted", "zoe")]
    )


def test_a_deletion_ends_though_a_description_cannot_be_read(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(root)
    add_voice(store, "zoe")
    failing_disk(monkeypatch, "read", lambda _, name, *more: name == "voice.json", once=True)
    store.delete("zoe")
    assert files_in(root) == before


def test_what_cannot_be_cleared_away_keeps_no_store_from_opening(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(root)
    for name in ("draft-1", "draft-2", "deletion-3-zoe"):
        (root / "staging" / name).mkdir(mode=0o700)
        (root / "staging" / name / "neutral.flac").touch(mode=0o600)
    failing_disk(monkeypatch, "remove", lambda _, name: name == "draft-1", once=True)
    with VoiceStore.open(root) as again:
        (finding,) = again.broken
    assert finding.voice_id == "staging/draft-1"
    assert "Input/output error" in finding.problem
    left = set(files_in(root)) - set(before)
    assert left == {"staging/draft-1", "staging/draft-1/neutral.flac"}


def test_a_voice_is_gone_once_it_was_moved_though_that_could_not_be_made_sure_of(
    store: VoiceStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_voice(store, "zoe")
    failing_disk(monkeypatch, "sync", lambda _: True, once=True)
    with pytest.raises(OSError, match="Input/output"):
        store.delete("zoe")
    assert not (root / "voices" / "zoe").exists()
    with pytest.raises(UnknownVoiceError):
        store.get("zoe")
    add_voice(store, "zoe")
