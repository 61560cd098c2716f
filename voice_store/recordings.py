"""The recordings of a voice, read back and compared with what was stored."""

import numpy as np
from numpy.typing import NDArray

from .errors import UnreadableRecordingError
from .files import Folder, IrregularFileError
from .flac import content_fingerprint, decode_flac
from .layout import MAX_RECORDING_BYTES, recording_file
from .records import StoredVoice

__all__ = ["read_recordings"]


def read_recordings(folder: Folder, voice: StoredVoice) -> dict[str, NDArray[np.int16]]:
    """Returns the recordings of all styles: mono at `RECORDING_RATE_HZ`, shape (n,), int16.

    Args:
        folder: the voice's.

    Raises:
        UnreadableRecordingError: one is missing, can't be decoded, or isn't what was stored.
        OSError: the disk failed.
    """
    recordings = {}
    for style in voice.styles:
        name = recording_file(style)
        try:
            recordings[style] = decode_flac(folder.read(name, MAX_RECORDING_BYTES))
        except FileNotFoundError as error:
            raise UnreadableRecordingError(f"{name} is missing") from error
        except (IrregularFileError, UnreadableRecordingError) as error:
            raise UnreadableRecordingError(f"{name} can't be read") from error
    # A decoder passes over frames that are damaged; the samples that it leaves out tell.
    if content_fingerprint(recordings) != voice.content_fingerprint:
        raise UnreadableRecordingError("its recordings are not those that were stored")
    return recordings
