"""One upload, from its first part to the stored voice.

The bytes are spooled under a cap into files without a name, so that nothing is left of them
however this process ends. They are decoded and prepared in a child process that can do nothing
else; what comes back is checked as a stranger's.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import structlog

from audio_codec import (
    DecodeLimits,
    Sandbox,
    SandboxDiedError,
    SandboxLimits,
    SandboxRefusedError,
    SandboxStartError,
)
from voice_store import (
    DEFAULT_STYLE,
    Consent,
    InvalidRecordError,
    PreparedRecording,
    RecordingRejectedError,
    RejectionReason,
    StorageFullError,
    StoredVoice,
    StyleNameError,
    VoiceExistsError,
    VoiceStore,
    parse_style,
)
from voice_store.files import storage_full_as_error
from voice_store.prepared import parse_prepared

from ..config import UploadSettings
from ..errors import (
    DeadlinePassed,
    InvalidRequest,
    NotPossible,
    Overloaded,
    UploadStalled,
    Violation,
)
from ..text import parse_language
from .catalog import Voice
from .directory import VoiceDirectory
from .embeddings import Embeddings
from .metadata import VoiceMetadata, check_metadata

__all__ = ["RecordingStart", "UploadPart", "VoiceUploads"]

_PREPARE = "voice_store.preparation:prepare_upload"
_WARM_UP = "voice_store.preparation:warm_up"
_LEAST_DECODED_BYTES = DecodeLimits().max_decoded_bytes
_RETRY_MS = 5_000
# What comes back: 31 s of 16-bit samples at 24 kHz for each of at most so many styles.
_MAX_STYLES = 8
_MAX_KEPT_BYTES = _MAX_STYLES * 31 * 24_000 * 2


@dataclass(frozen=True, slots=True)
class RecordingStart:
    """Begins a recording of a style; empty for the default one."""

    style: str


UploadPart = VoiceMetadata | RecordingStart | bytes


class VoiceUploads:
    """Takes uploads in, so many at the same time.

    Args:
        spool_dir: folder for the bytes that arrive; made if it is missing.
        forget_speech: drops what a voice has spoken, by its content fingerprint.
    """

    def __init__(
        self,
        store: VoiceStore,
        directory: VoiceDirectory,
        embeddings: Embeddings,
        limits: UploadSettings,
        spool_dir: Path,
        forget_speech: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._directory = directory
        self._embeddings = embeddings
        self._limits = limits
        self._spool_dir = spool_dir
        self._forget_speech = forget_speech
        self._running = 0

    async def upload(self, parts: AsyncIterator[UploadPart]) -> tuple[Voice, bool]:
        """Stores a voice; returns it, and whether an earlier upload had stored it.

        Raises:
            InvalidRequest: a part is out of place or a field can't be used.
            RecordingRejectedError: the recordings can't become a voice.
            VoiceExistsError: the id is taken.
            StorageFullError: there is no room.
            Overloaded: too many uploads are going on, or the machine is too busy for one.
            UploadStalled: no part came for a while.
            EngineUnavailable, RenderFailed: the cloning engine failed; nothing was stored.
        """
        if self._running >= self._limits.max_concurrent:
            raise Overloaded(
                f"{self._running} uploads are going on, which is the limit",
                reason="TOO_MANY_UPLOADS",
                retry_after_ms=_RETRY_MS,
            )
        self._running += 1
        try:
            return await self._upload(_in_time(parts, self._limits.stall_limit_s))
        finally:
            self._running -= 1

    async def delete(self, voice: Voice) -> None:
        """Erases an uploaded voice and all that was made of it.

        Raises:
            NotPossible: it came with an engine.
            UnknownVoiceError: somebody else deleted it meanwhile.
        """
        if voice.stored is None:
            raise NotPossible(
                f"voice {voice.id!r} came with engine {voice.engine!r} and can't be deleted",
                reason="ENGINE_VOICE",
            )
        # A caller who leaves meanwhile doesn't stop it halfway.
        await asyncio.shield(self._erase(voice.stored))

    async def _erase(self, stored: StoredVoice) -> None:
        try:
            await asyncio.to_thread(self._store.delete, stored.id)
        finally:
            # It may be gone although that failed.
            self._directory.refresh()
            await self._forget_speech(stored.content_fingerprint)

    async def _upload(self, parts: AsyncIterator[UploadPart]) -> tuple[Voice, bool]:
        metadata = await anext(parts, None)
        if not isinstance(metadata, VoiceMetadata):
            raise InvalidRequest(Violation("metadata", "must be the first part of an upload"))
        consent = check_metadata(metadata, consent_required=self._limits.consent_required)
        earlier = self._store.find_request(metadata.request_id) if metadata.request_id else None
        if earlier is not None:
            return self._voice(earlier), True
        if metadata.voice_id in self._directory.catalog:
            raise VoiceExistsError(metadata.voice_id)
        recordings = await self._receive(parts)
        return await self._keep(metadata, consent, recordings)

    async def _receive(self, parts: AsyncIterator[UploadPart]) -> tuple[PreparedRecording, ...]:
        """Spools the recordings and has them prepared."""
        limits = self._limits
        with storage_full_as_error():
            self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        sandbox_limits = SandboxLimits(
            wall_s=limits.prepare_timeout_s,
            cpu_s=math.ceil(limits.prepare_timeout_s),
            memory_bytes=limits.prepare_memory_bytes,
            max_blobs=limits.max_recordings,
            max_blob_bytes=_MAX_KEPT_BYTES,
        )
        # Started first, so that it loads its libraries while the bytes are on their way.
        async with await Sandbox.start(_PREPARE, sandbox_limits, warm_up=_WARM_UP) as sandbox:
            with ExitStack() as files:
                try:
                    with _timed("receive_ms"):
                        async with asyncio.timeout(limits.timeout_s):
                            styles, spools = await self._spool(parts, files)
                except TimeoutError:
                    raise DeadlinePassed from None
                with _timed("prepare_ms"):
                    return await self._prepare(sandbox, styles, spools)

    async def _spool(
        self, parts: AsyncIterator[UploadPart], files: ExitStack
    ) -> tuple[list[str], list[BinaryIO]]:
        """Writes each recording into a file; returns the styles and the files, rewound."""
        limits = self._limits
        styles: list[str] = []
        spools: list[BinaryIO] = []
        received_bytes = 0
        async for part in parts:
            match part:
                case RecordingStart():
                    if len(spools) == limits.max_recordings:
                        raise RecordingRejectedError(
                            RejectionReason.TOO_MANY_RECORDINGS,
                            f"an upload holds at most {limits.max_recordings} recordings",
                        )
                    styles.append(_check_style(part.style))
                    if len(set(styles)) > _MAX_STYLES:
                        raise InvalidRequest(
                            Violation(
                                "recording.style", f"a voice has at most {_MAX_STYLES} styles"
                            )
                        )
                    with storage_full_as_error():
                        file = TemporaryFile(dir=self._spool_dir)  # noqa: SIM115 - see `files`
                    spools.append(files.enter_context(file))
                case bytes() if spools:
                    received_bytes += len(part)
                    if received_bytes > limits.max_upload_bytes:
                        raise RecordingRejectedError(
                            RejectionReason.TOO_LARGE,
                            f"an upload holds at most {limits.max_upload_bytes} bytes",
                        )
                    await asyncio.to_thread(_write, spools[-1], part)
                case bytes():
                    raise InvalidRequest(Violation("data", "must come behind a `recording`"))
                case VoiceMetadata():
                    raise InvalidRequest(Violation("metadata", "must come once"))
        if not spools:
            raise InvalidRequest(Violation("recording", "is required at least once"))
        for spool in spools:
            spool.seek(0)
        return styles, spools

    async def _prepare(
        self, sandbox: Sandbox, styles: list[str], spools: list[BinaryIO]
    ) -> tuple[PreparedRecording, ...]:
        job = {
            "styles": styles,
            "max_duration_s": self._limits.max_duration_s,
            # Of it twice as much is held at once, and the rest of the work takes its part.
            "max_decoded_bytes": max(_LEAST_DECODED_BYTES, self._limits.prepare_memory_bytes // 4),
        }
        try:
            result = await sandbox.run(job, spools)
            return parse_prepared(result.report, result.blobs, styles)
        except SandboxRefusedError as error:
            reason = RejectionReason.__members__.get(error.reason, RejectionReason.NOT_AUDIO)
            raise RecordingRejectedError(reason, error.message) from None
        except SandboxStartError as error:
            structlog.get_logger().error("preparation did not start", error=str(error))
            raise Overloaded(
                "this server can't prepare recordings now",
                reason="TOO_MANY_UPLOADS",
                retry_after_ms=_RETRY_MS,
            ) from None
        except (SandboxDiedError, InvalidRecordError, ValueError) as error:
            structlog.get_logger().warning("preparation died", error=str(error))
            raise RecordingRejectedError(
                RejectionReason.NOT_AUDIO, "the recordings could not be decoded"
            ) from None

    async def _keep(
        self,
        metadata: VoiceMetadata,
        consent: Consent | None,
        recordings: tuple[PreparedRecording, ...],
    ) -> tuple[Voice, bool]:
        language = parse_language(metadata.language)
        engine = self._directory.cloning_engine()
        embeddings: dict[str, bytes] = {}
        fingerprint = ""
        if engine is not None and engine.description is not None:
            fingerprint = engine.description.model_fingerprint
            with _timed("embed_ms"):
                embeddings = await self._embeddings.make_for(
                    engine.engine, fingerprint, recordings, language
                )

        def store() -> tuple[StoredVoice, bool]:
            with self._store.begin(
                voice_id=metadata.voice_id or None,
                display_name=metadata.display_name.strip(),
                language=language,
                recordings=recordings,
                consent=consent,
                request_id=metadata.request_id,
            ) as draft:
                if engine is not None:
                    for style, embedding in embeddings.items():
                        draft.put_embedding(style, engine.engine, fingerprint, embedding)
                return draft.commit()

        async def store_and_show() -> tuple[StoredVoice, bool]:
            try:
                return await asyncio.to_thread(store)
            finally:
                self._directory.refresh()

        with _timed("keep_ms"):
            # As above: what is stored is in the catalog, whoever has left.
            stored, already = await asyncio.shield(store_and_show())
        return self._voice(stored), already

    def _voice(self, stored: StoredVoice) -> Voice:
        if stored.id not in self._directory.catalog:  # it has been stored only just now
            self._directory.refresh()
        return self._directory.catalog.get(stored.id)


async def _in_time(
    parts: AsyncIterator[UploadPart], stall_limit_s: float
) -> AsyncIterator[UploadPart]:
    """Yields the parts, each of which has to come within `stall_limit_s`."""
    while True:
        try:
            async with asyncio.timeout(stall_limit_s):
                part = await anext(parts, None)
        except TimeoutError:
            raise UploadStalled(stall_limit_s) from None
        if part is None:
            return
        yield part


@contextmanager
def _timed(name: str) -> Iterator[None]:
    """Puts the time that the block took into the call's log line."""
    began_s = time.monotonic()
    yield
    elapsed_ms = round((time.monotonic() - began_s) * 1000, 1)
    structlog.contextvars.bind_contextvars(**{name: elapsed_ms})


def _check_style(style: str) -> str:
    try:
        return parse_style(style or DEFAULT_STYLE)
    except StyleNameError as error:
        raise InvalidRequest(Violation("recording.style", str(error))) from None


def _write(spool: BinaryIO, data: bytes) -> None:
    try:
        spool.write(data)
        spool.flush()
    except OSError as error:
        raise StorageFullError from error
