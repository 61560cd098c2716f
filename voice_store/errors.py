"""What can go wrong with kept voices.

    VoiceStoreError
    ├── VoiceIdError             the text is no id of a voice
    ├── StyleNameError           the text is no name of a style
    ├── RecordingRejectedError   the recordings can't become a voice; says why
    ├── VoiceExistsError         another voice has the id
    ├── UnknownVoiceError        no voice has the id, or the voice has no such style
    ├── StorageFullError         there is no room; nothing was kept
    ├── StoreNotFoundError       there is no store in the folder
    ├── InvalidEmbeddingError    the bytes are no whole safetensors file
    ├── DamagedVoiceError        a kept recording is missing or can't be read back
    ├── UnreadableRecordingError the bytes are no FLAC file as the store writes them
    └── InvalidRecordError       the document is not the record that it should be
        └── NewerSchemaError     it was written by a later version

The texts of the first six are written for callers: they hold no path and no other library's
message. The others are for operators.
"""

from enum import StrEnum

__all__ = [
    "DamagedVoiceError",
    "InvalidEmbeddingError",
    "InvalidRecordError",
    "NewerSchemaError",
    "RecordingRejectedError",
    "RejectionReason",
    "StorageFullError",
    "StoreNotFoundError",
    "StyleNameError",
    "UnknownVoiceError",
    "UnreadableRecordingError",
    "VoiceExistsError",
    "VoiceIdError",
    "VoiceStoreError",
]


class VoiceStoreError(Exception):
    """Base of all errors of this package."""


class VoiceIdError(VoiceStoreError):
    """The text is no id of a voice."""


class StyleNameError(VoiceStoreError):
    """The text is no name of a style."""


class RejectionReason(StrEnum):
    """Why recordings can't become a voice."""

    NOT_AUDIO = "NOT_AUDIO"
    TOO_LARGE = "TOO_LARGE"
    TOO_LONG = "TOO_LONG"
    TOO_SHORT = "TOO_SHORT"
    SILENT = "SILENT"
    NO_SPEECH = "NO_SPEECH"
    CLIPPED = "CLIPPED"
    NOT_FINITE = "NOT_FINITE"
    TOO_MANY_RECORDINGS = "TOO_MANY_RECORDINGS"


class RecordingRejectedError(VoiceStoreError):
    """The recordings can't become a voice.

    Attributes:
        reason: for programs.
        message: one sentence for a person, without paths or another library's words.
    """

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class VoiceExistsError(VoiceStoreError):
    """Another voice has the id."""

    def __init__(self, voice_id: str) -> None:
        super().__init__(f"there is a voice {voice_id!r} already")
        self.voice_id = voice_id


class UnknownVoiceError(VoiceStoreError):
    """No voice has the id, or the voice was not recorded in the style.

    Attributes:
        style: the style that is missing; empty if the voice is.
    """

    def __init__(self, voice_id: str, style: str = "") -> None:
        super().__init__(
            f"the voice {voice_id!r} has no style {style!r}"
            if style
            else f"there is no voice {voice_id!r}"
        )
        self.voice_id = voice_id
        self.style = style


class StorageFullError(VoiceStoreError):
    """There is no room left for what was to be kept."""

    def __init__(self) -> None:
        super().__init__("the server has no room left to keep voices")


class StoreNotFoundError(VoiceStoreError):
    """There is no store in the folder."""


class InvalidEmbeddingError(VoiceStoreError):
    """The bytes are no whole safetensors file."""


class DamagedVoiceError(VoiceStoreError):
    """A kept recording is missing or can't be read back."""

    def __init__(self, voice_id: str, problem: str) -> None:
        super().__init__(f"the voice {voice_id!r} is damaged: {problem}")
        self.voice_id = voice_id
        self.problem = problem


class UnreadableRecordingError(VoiceStoreError):
    """The bytes are no FLAC file as the store writes them, or a damaged one."""


class InvalidRecordError(VoiceStoreError):
    """The document is not the record that it should be: keys or types differ."""


class NewerSchemaError(InvalidRecordError):
    """The document was written by a later version of this software.

    Attributes:
        schema_version: the version that it states.
    """

    def __init__(self, schema_version: int) -> None:
        super().__init__(f"schema version {schema_version} is newer than this software")
        self.schema_version = schema_version
