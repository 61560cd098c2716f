"""A voice that is being put together and that nobody sees yet."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

from .embeddings import embedding_file, require_whole_embedding
from .errors import UnknownVoiceError
from .files import Folder, storage_full_as_error
from .layout import EMBEDDINGS, write_voice
from .records import StoredVoice

__all__ = ["VoiceDraft"]


class VoiceDraft:
    """A voice on its way into the store. `VoiceStore.begin` makes it.

    Args:
        voice: all but the time of its creation.
        folder: holds the recordings and an empty folder for embeddings.
        publish: puts the folder in its place.
    """

    def __init__(
        self,
        voice: StoredVoice,
        folder: Folder,
        publish: Callable[[StoredVoice], tuple[StoredVoice, bool]],
    ) -> None:
        self._voice = voice
        self._folder = folder
        self._publish = publish

    @property
    def voice_id(self) -> str:
        """The id that the voice will have."""
        return self._voice.id

    def put_embedding(self, style: str, engine: str, fingerprint: str, data: bytes) -> None:
        """Adds what an engine made of the recording of a style, a safetensors file.

        Args:
            fingerprint: of the engine's model.

        Raises:
            UnknownVoiceError: there is no recording of the style.
            InvalidEmbeddingError: `data` is not a whole safetensors file.
            StorageFullError: there is no room.
        """
        if style not in self._voice.styles:
            raise UnknownVoiceError(self._voice.id, style)
        require_whole_embedding(data)
        name = embedding_file(engine, fingerprint, style)
        with storage_full_as_error(), self._folder.open_folder(EMBEDDINGS) as embeddings:
            embeddings.write_new(name, data)

    def commit(self) -> tuple[StoredVoice, bool]:
        """Makes the voice visible, wholly and for good.

        Returns:
            The voice, and False; or the one that an upload with the same request id stored
            meanwhile, and True.

        Raises:
            VoiceExistsError: the id was taken meanwhile.
            InvalidRecordError: what was said of the voice is of wrong types.
            StorageFullError: there is no room.
        """
        voice = dataclasses.replace(self._voice, create_time=datetime.now(UTC))
        with storage_full_as_error():
            write_voice(self._folder, voice)
            with self._folder.open_folder(EMBEDDINGS) as embeddings:
                embeddings.sync()
            self._folder.sync()
            return self._publish(voice)
