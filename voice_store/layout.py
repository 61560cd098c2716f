"""Where things lie in a store, and how a voice's description is written.

audit.jsonl                 what was created and deleted; holds no personal content
voices/ID/voice.json        the description
voices/ID/STYLE.flac        the recording of a style
voices/ID/embeddings/       what engines made of the recordings
    ENGINE+FINGERPRINT+STYLE.safetensors
staging/                    folders on their way into or out of voices/
quarantine/                 what the check found broken and put aside
"""

import json

from .errors import InvalidRecordError, NewerSchemaError, VoiceIdError
from .files import Folder, IrregularFileError
from .ids import parse_voice_id
from .records import StoredVoice

__all__ = [
    "AUDIT_FILE",
    "EMBEDDINGS",
    "MAX_RECORDING_BYTES",
    "QUARANTINE",
    "STAGING",
    "VOICES",
    "VOICE_FILE",
    "load_voice",
    "read_voice",
    "recording_file",
    "write_voice",
]

AUDIT_FILE = "audit.jsonl"
VOICES = "voices"
STAGING = "staging"
QUARANTINE = "quarantine"
VOICE_FILE = "voice.json"
EMBEDDINGS = "embeddings"

MAX_RECORDING_BYTES = 16 << 20
_MAX_VOICE_BYTES = 1 << 20
_SCHEMA_VERSION = 1


def recording_file(style: str) -> str:
    """Returns the name of the file that holds the recording of a style."""
    return f"{style}.flac"


def write_voice(folder: Folder, voice: StoredVoice) -> None:
    """Writes the description of a voice into its folder.

    Raises:
        InvalidRecordError: a value is not of its field's type, or all are too long.
    """
    document = {"schema_version": _SCHEMA_VERSION, **voice.to_json()}
    data = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False).encode()
    if len(data) > _MAX_VOICE_BYTES:
        raise InvalidRecordError(f"the description would have {len(data)} bytes")
    folder.write_new(VOICE_FILE, data)


def read_voice(folder: Folder) -> StoredVoice:
    """Reads the description from the folder of a voice.

    Raises:
        NewerSchemaError: a later version wrote it.
        InvalidRecordError: there is none, or it can't be understood.
    """
    try:
        document = json.loads(folder.read(VOICE_FILE, _MAX_VOICE_BYTES))
    except FileNotFoundError as error:
        raise InvalidRecordError(f"there is no {VOICE_FILE}") from error
    except IrregularFileError as error:
        raise InvalidRecordError(f"{VOICE_FILE} is {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRecordError(f"{VOICE_FILE} is not JSON") from error
    version = document.pop("schema_version", None) if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise InvalidRecordError("schema_version: missing or not a version")
    if version > _SCHEMA_VERSION:
        raise NewerSchemaError(version)
    return StoredVoice.from_json(document)


def load_voice(voices: Folder, name: str) -> StoredVoice:
    """Reads the description of the voice whose folder has this name.

    Raises:
        NewerSchemaError: a later version wrote it.
        InvalidRecordError: it is no folder of a voice, or can't be understood.
    """
    try:
        voice_id = parse_voice_id(name)
        with voices.open_folder(voice_id) as folder:
            voice = read_voice(folder)
    except VoiceIdError as error:
        raise InvalidRecordError("its name is no id of a voice") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidRecordError("it is not a folder") from error
    if voice.id != name:
        raise InvalidRecordError("the id in its description is another one")
    return voice
