"""The voices that were uploaded: on disk, with their descriptions at hand."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .audit import AuditedAction, AuditEvent, AuditLog, audit_log
from .draft import VoiceDraft
from .embeddings import embedding_file, read_embedding, require_whole_embedding
from .errors import (
    DamagedVoiceError,
    InvalidRecordError,
    StorageFullError,
    UnknownVoiceError,
    UnreadableRecordingError,
    VoiceExistsError,
)
from .files import Folder, move, storage_full_as_error
from .flac import content_fingerprint, encode_flac
from .ids import new_voice_id, parse_style, parse_voice_id
from .layout import (
    EMBEDDINGS,
    STAGING,
    VOICES,
    load_voice,
    read_voice,
    recording_file,
)
from .recordings import read_recordings
from .records import Consent, Finding, PreparedRecording, StoredVoice
from .staging import finish_deletion, move_out, staged, sweep

__all__ = ["VoiceStore"]


class VoiceStore:
    """Keeps voices in a folder. `open` makes it; it may be used from several threads at once.

    Processes may share a folder: of two that create one id, one wins. But each of them knows
    only the voices that were there when it opened the store, and its own.

    All methods block on the disk, except `get`, `list` and `find_request`. Errors of the disk
    that are not named are OSError.

    Attributes:
        broken: what could not be loaded, or cleared away, and was left out.
    """

    def __init__(self, root: Folder, voices: Folder, staging: Folder) -> None:
        self.broken: tuple[Finding, ...] = ()
        self._root = root
        self._voices = voices
        self._staging = staging
        # Replaced as a whole, by whoever holds the audit log, so that readers need no lock.
        self._index = _Index.of(())

    @classmethod
    def open(cls, root: Path) -> Self:
        """Opens the store in a folder, which is made if it is not there.

        What dead processes left behind is cleared away, and all descriptions are read.

        Raises:
            StorageFullError: there is no room to make the store.
        """
        with ExitStack() as opened, storage_full_as_error():
            folder = opened.enter_context(Folder.ensure_at(root))
            voices = opened.enter_context(folder.ensure_folder(VOICES))
            staging = opened.enter_context(folder.ensure_folder(STAGING))
            store = cls(folder, voices, staging)
            with audit_log(folder) as log:
                left = sweep(staging, log)
                store._load(log)
                store.broken += tuple(
                    Finding(f"{STAGING}/{name}", f"it can't be removed: {error}", repaired=False)
                    for name, error in left.items()
                    if error is not None
                )
            opened.pop_all()
        return store

    def close(self) -> None:
        """Closes the store's folders. It can't be used any more."""
        for folder in (self._staging, self._voices, self._root):
            folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, voice_id: str) -> StoredVoice:
        """Returns a voice.

        Raises:
            UnknownVoiceError: there is none of this id.
        """
        try:
            return self._index.by_id[voice_id]
        except KeyError:
            raise UnknownVoiceError(voice_id) from None

    def list(self) -> tuple[StoredVoice, ...]:
        """Returns all voices, ordered by id."""
        return self._index.ordered

    def find_request(self, request_id: str) -> StoredVoice | None:
        """Returns the voice that the upload with this request id stored, if there was one."""
        return self._index.by_request.get(request_id)

    @contextmanager
    def begin(
        self,
        *,
        voice_id: str | None,
        display_name: str,
        language: str,
        recordings: Sequence[PreparedRecording],
        consent: Consent | None,
        request_id: str,
    ) -> Iterator[VoiceDraft]:
        """Writes a voice's recordings where nobody sees them, and yields the draft.

        Nothing stays of it if the context is left without a `commit`.

        Args:
            voice_id: None for a new one.
            recordings: at least one, each of another style.
            request_id: makes the creation safe to repeat, see `VoiceDraft.commit`. Empty: no
                protection.

        Raises:
            VoiceIdError: `voice_id` is no id.
            StyleNameError: a style is none.
            VoiceExistsError: the id is taken.
            StorageFullError: there is no room.
        """
        voice_id = new_voice_id(display_name) if voice_id is None else parse_voice_id(voice_id)
        if voice_id in self._index.by_id and self.find_request(request_id) is None:
            raise VoiceExistsError(voice_id)
        by_style = {parse_style(recording.style): recording for recording in recordings}
        if not by_style or len(by_style) < len(recordings):
            raise ValueError("there must be recordings, and one for each style")
        styles = tuple(sorted(by_style))
        voice = StoredVoice(
            id=voice_id,
            display_name=display_name,
            language=language,
            styles=styles,
            create_time=datetime.now(UTC),
            request_id=request_id,
            consent=consent,
            quality=tuple(by_style[style].quality for style in styles),
            content_fingerprint=content_fingerprint(
                {style: by_style[style].samples for style in styles}
            ),
        )
        with ExitStack() as drafting:
            with storage_full_as_error():
                name, folder = drafting.enter_context(staged(self._staging))
                for style in styles:
                    folder.write_new(recording_file(style), encode_flac(by_style[style].samples))
                folder.make_folder(EMBEDDINGS)
            yield VoiceDraft(voice, folder, lambda voice: self._publish(voice, name, folder))

    def delete(self, voice_id: str) -> None:
        """Makes a voice disappear at once and for good, then erases it.

        Raises:
            UnknownVoiceError: there is none of this id.
            StorageFullError: the voice is gone, but there was no room to log that. The next
                deletion or `open` does.
        """
        with storage_full_as_error(), self._voice_folder(voice_id) as folder:
            folder.lock()
            with audit_log(self._root) as log:
                if not self._voices.holds(voice_id, folder):
                    raise UnknownVoiceError(voice_id)
                with suppress(OSError, StorageFullError):
                    sweep(self._staging, log)  # what an earlier one, whose disk failed, has left
                try:
                    name = move_out(self._voices, voice_id, self._staging)
                finally:
                    # It may have moved although that failed.
                    if not self._voices.holds(voice_id, folder):
                        self._index = _Index.of([v for v in self.list() if v.id != voice_id])
                finish_deletion(self._staging, name, folder, log)

    def samples(self, voice_id: str, style: str) -> NDArray[np.int16]:
        """Returns the recording of a style: mono at `RECORDING_RATE_HZ`, shape (n,), int16.

        Raises:
            UnknownVoiceError: there is no such voice, or no such style of it.
            DamagedVoiceError: a recording of the voice is lost, can't be read, or isn't what was
                stored.
        """
        self._require_style(voice_id, style)
        with self._voice_folder(voice_id) as folder:
            try:
                recordings = read_recordings(folder, read_voice(folder))
            except (UnreadableRecordingError, InvalidRecordError, OSError) as error:
                if not self._voices.holds(voice_id, folder):  # deleted while it was being read
                    raise UnknownVoiceError(voice_id) from error
                raise DamagedVoiceError(voice_id, str(error)) from error
        if style not in recordings:  # its id was given to another one meanwhile
            raise UnknownVoiceError(voice_id, style)
        return recordings[style]

    def embedding(self, voice_id: str, style: str, engine: str, fingerprint: str) -> bytes | None:
        """Returns what an engine made of the recording of a style, if that is whole and readable.

        Raises:
            UnknownVoiceError: there is no such voice, or no such style of it.
        """
        self._require_style(voice_id, style)
        try:
            with (
                self._voice_folder(voice_id) as folder,
                folder.open_folder(EMBEDDINGS) as embeddings,
            ):
                return read_embedding(embeddings, embedding_file(engine, fingerprint, style))
        except OSError:  # it is made again
            return None

    def put_embedding(
        self, voice: StoredVoice, style: str, engine: str, fingerprint: str, data: bytes
    ) -> None:
        """Keeps what an engine made of the recording of a style, instead of what it made before.

        Args:
            voice: whose recording it was.
            fingerprint: of the engine's model.
            data: a safetensors file.

        Raises:
            UnknownVoiceError: the voice is gone, even if its id was given to another one.
            InvalidEmbeddingError: `data` is not a whole safetensors file.
            StorageFullError: there is no room.
        """
        if style not in voice.styles:
            raise UnknownVoiceError(voice.id, style)
        require_whole_embedding(data)
        name = embedding_file(engine, fingerprint, style)
        with storage_full_as_error(), self._voice_folder(voice.id) as folder:
            folder.lock(shared=True)  # so that nobody erases the folder meanwhile
            if not self._voices.holds(voice.id, folder) or not _is_of(folder, voice):
                raise UnknownVoiceError(voice.id)
            with (
                folder.ensure_folder(EMBEDDINGS) as embeddings,
                staged(self._staging) as (_, draft),
            ):
                draft.write_new(name, data)
                move(draft, name, embeddings, name)

    def missing_embeddings(
        self, engine: str, fingerprint: str
    ) -> tuple[tuple[StoredVoice, str], ...]:
        """Returns the voices and styles that have no whole embedding of a model, by id."""
        missing = []
        for voice in self.list():
            for style in voice.styles:
                try:
                    found = self.embedding(voice.id, style, engine, fingerprint)
                except UnknownVoiceError:  # deleted meanwhile
                    continue
                if found is None:
                    missing.append((voice, style))
        return tuple(missing)

    def _load(self, log: AuditLog) -> None:
        voices, broken = [], []
        for name in self._voices.names():
            try:
                voices.append(load_voice(self._voices, name))
            except (InvalidRecordError, OSError) as error:
                broken.append(Finding(name, _in_words(error), repaired=False))
        self.broken = tuple(broken)
        self._index = _Index.of(voices)
        # Who died between publishing a voice and logging it left that to us.
        log.append_missing([_created(voice) for voice in self.list()])

    def _publish(self, voice: StoredVoice, name: str, folder: Folder) -> tuple[StoredVoice, bool]:
        """Moves a finished draft from staging to its place."""
        with audit_log(self._root) as log:
            stored = self.find_request(voice.request_id)
            if stored is not None:
                return stored, True
            try:
                move(self._staging, name, self._voices, voice.id)
                log.append([_created(voice)])
            except FileExistsError as error:
                raise VoiceExistsError(voice.id) from error
            except BaseException:
                if self._voices.holds(voice.id, folder):
                    move(self._voices, voice.id, self._staging, name)
                raise
            self._index = _Index.of([*self.list(), voice])
        return voice, False

    def _require_style(self, voice_id: str, style: str) -> None:
        if style not in self.get(voice_id).styles:
            raise UnknownVoiceError(voice_id, style)

    def _voice_folder(self, voice_id: str) -> Folder:
        try:
            return self._voices.open_folder(parse_voice_id(voice_id), "voice")
        except FileNotFoundError as error:
            raise UnknownVoiceError(voice_id) from error


@dataclass(frozen=True, slots=True)
class _Index:
    """All voices: ordered by id, by id, and by the request that stored them."""

    ordered: tuple[StoredVoice, ...]
    by_id: Mapping[str, StoredVoice]
    by_request: Mapping[str, StoredVoice]

    @classmethod
    def of(cls, voices: Sequence[StoredVoice]) -> Self:
        ordered = tuple(sorted(voices, key=lambda voice: voice.id))
        return cls(
            ordered,
            MappingProxyType({voice.id: voice for voice in ordered}),
            MappingProxyType({voice.request_id: voice for voice in ordered if voice.request_id}),
        )


def _created(voice: StoredVoice) -> AuditEvent:
    return AuditEvent(AuditedAction.CREATED, voice.id, voice.create_time, voice.content_fingerprint)


def _is_of(folder: Folder, voice: StoredVoice) -> bool:
    """Whether the folder is this voice's, and not a later one's of the same id."""
    return read_voice(folder).content_fingerprint == voice.content_fingerprint


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, InvalidRecordError) else f"it can't be read: {error}"
