"""What is stored and what is erased shows in the catalog, however the call for it ends."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_codec import SandboxRefusedError, SandboxStartError
from tests.voice_data import recording
from tests.waiting import wait_until
from tts_service.config import UploadSettings
from tts_service.errors import Overloaded
from tts_service.voices import RecordingStart, VoiceDirectory, VoiceMetadata, VoiceUploads
from tts_service.voices import upload as uploads_module
from voice_store import (
    RecordingRejectedError,
    RejectionReason,
    StorageFullError,
    VoiceStore,
)
from voice_store import store as voice_store_module
from voice_store.draft import VoiceDraft

_ANNA = VoiceMetadata("Anna", "en", "anna", "request-1", None)


class _Fleet:
    """Has no engine."""

    engines = ()


class _Case:
    """Uploads into a store, and what their voices were told to forget."""

    def __init__(self, store: VoiceStore, spool_dir: Path) -> None:
        fleet: Any = _Fleet()
        embeddings: Any = None
        self.store = store
        self.forgotten: list[str] = []
        self.directory = VoiceDirectory(fleet, store)
        self.uploads = VoiceUploads(
            store, self.directory, embeddings, UploadSettings(), spool_dir, self._forget
        )

    async def _forget(self, content: str) -> None:
        self.forgotten.append(content)

    async def keep(self) -> None:
        """Stores Anna's recordings, once they are prepared."""
        await self.uploads._keep(_ANNA, None, (recording(),))

    async def again(self) -> tuple[str, bool]:
        """Sends the same upload another time."""

        async def parts() -> AsyncIterator[VoiceMetadata]:
            yield _ANNA

        voice, already = await self.uploads.upload(parts())
        return voice.id, already


@pytest.fixture
def case(tmp_path: Path) -> Iterator[_Case]:
    with VoiceStore.open(tmp_path / "voices") as store:
        yield _Case(store, tmp_path / "spool")


async def test_a_voice_that_was_stored_when_its_caller_left_is_there(
    case: _Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    commit = VoiceDraft.commit

    def slow_commit(draft: VoiceDraft) -> Any:
        begun.set()
        assert goes_on.wait(10)
        return commit(draft)

    monkeypatch.setattr(VoiceDraft, "commit", slow_commit)
    call = asyncio.create_task(case.keep())
    assert await asyncio.to_thread(begun.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    goes_on.set()
    assert await asyncio.to_thread(wait_until, lambda: "anna" in case.directory.catalog, 5)
    assert await case.again() == ("anna", True)


async def test_who_comes_again_before_the_catalog_has_it_gets_it(
    case: _Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(case.directory, "refresh", lambda: None)
        with pytest.raises(Exception, match="anna"):
            await case.keep()
    assert await case.again() == ("anna", True)


async def test_a_voice_that_is_gone_is_forgotten_though_that_could_not_be_logged(
    case: _Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.keep()
    anna, (stored,) = case.directory.catalog.get("anna"), case.store.list()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(voice_store_module, "finish_deletion", fail)
    with pytest.raises(StorageFullError):
        await case.uploads.delete(anna)
    assert "anna" not in case.directory.catalog
    assert case.forgotten == [stored.content_fingerprint]


@pytest.mark.parametrize("what", ["mkdir", "TemporaryFile"])
async def test_a_disk_without_room_for_another_file_is_full(
    case: _Case, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EDQUOT, "quota")

    async def parts() -> AsyncIterator[Any]:
        yield RecordingStart("")

    where: Any = uploads_module if what == "TemporaryFile" else Path
    monkeypatch.setattr(where, what, fail)
    with pytest.raises(StorageFullError):
        await case.uploads._receive(parts())


async def test_a_reason_that_nobody_knows_is_no_error(case: _Case) -> None:
    class Sandbox:
        async def run(self, *_: Any) -> None:
            raise SandboxRefusedError("BECAUSE", "no")

    sandbox: Any = Sandbox()
    with pytest.raises(RecordingRejectedError) as caught:
        await case.uploads._prepare(sandbox, [], [])
    assert caught.value.reason is RejectionReason.NOT_AUDIO


async def test_a_sandbox_that_cannot_start_in_time_is_not_the_recordings_fault(
    case: _Case,
) -> None:
    class Sandbox:
        async def run(self, *_: Any) -> None:
            raise SandboxStartError("not ready within 30 s")

    sandbox: Any = Sandbox()
    with pytest.raises(Overloaded) as caught:
        await case.uploads._prepare(sandbox, [], [])
    assert (caught.value.reason, caught.value.retry_after_ms) == ("TOO_MANY_UPLOADS", 5_000)
