"""Models that engines need and that don't come with the packages: what they are, fetching them.

`download` brings a model into `DATA_DIR/models/NAME`, where its engine looks for it. The folder
is there whole and checked, or not at all.
"""

from .catalog import MODELS, XTTS_V2, find_model
from .consent import ask_at_terminal
from .download import download
from .errors import (
    BusyError,
    FolderTakenError,
    HubError,
    InterruptedDownloadError,
    LicenceNotAcceptedError,
    ManifestError,
    MissingPackageError,
    ModelError,
    NoRoomError,
    UnknownModelError,
    WrongContentError,
)
from .folder import FolderState, ModelFolder
from .manifest import read_manifest
from .progress import Activity, Reporter, progress_reporter, size
from .source import Licence, Model, ModelFile, ModelSource

__all__ = [
    "MODELS",
    "XTTS_V2",
    "Activity",
    "BusyError",
    "FolderState",
    "FolderTakenError",
    "HubError",
    "InterruptedDownloadError",
    "Licence",
    "LicenceNotAcceptedError",
    "ManifestError",
    "MissingPackageError",
    "Model",
    "ModelError",
    "ModelFile",
    "ModelFolder",
    "ModelSource",
    "NoRoomError",
    "Reporter",
    "UnknownModelError",
    "WrongContentError",
    "ask_at_terminal",
    "download",
    "find_model",
    "progress_reporter",
    "read_manifest",
    "size",
]
