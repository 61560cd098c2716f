"""What can go wrong with fetching a model.

    ModelError
    ├── UnknownModelError           no model has the name
    ├── ManifestError               the manifest can't be used
    ├── LicenceNotAcceptedError     nobody said yes; nothing was asked of the hub
    ├── MissingPackageError         a Python package is not installed
    ├── FolderTakenError            the model's folder holds something else
    ├── BusyError                   another process is at it
    ├── NoRoomError                 the disk is too full
    ├── HubError                    the hub can't be reached, or doesn't have what is wanted
    │   └── InterruptedDownloadError  it broke off too often; what came is kept
    └── WrongContentError           a file is not the one that is pinned

Their texts are lines for the person at the shell: what happened, and what to do if anything.
"""

__all__ = [
    "BusyError",
    "FolderTakenError",
    "HubError",
    "InterruptedDownloadError",
    "LicenceNotAcceptedError",
    "ManifestError",
    "MissingPackageError",
    "ModelError",
    "NoRoomError",
    "UnknownModelError",
    "WrongContentError",
]


class ModelError(Exception):
    """Base of all errors of this package."""


class UnknownModelError(ModelError):
    """No model has the name; says which there are."""


class ManifestError(ModelError):
    """The manifest can't be used; says which line of it and why."""


class LicenceNotAcceptedError(ModelError):
    """The licence was not accepted. Nothing was asked of the hub."""


class MissingPackageError(ModelError):
    """A Python package that fetches is not installed."""


class FolderTakenError(ModelError):
    """The model's folder holds something else. It is left as it is."""


class BusyError(ModelError):
    """Another process is fetching into the same folder."""


class NoRoomError(ModelError):
    """There is no room on the disk."""


class HubError(ModelError):
    """The hub can't be reached, refuses, or doesn't have what is wanted."""


class InterruptedDownloadError(HubError):
    """The transfer broke off too often. What came is kept for the next run."""


class WrongContentError(ModelError):
    """A file is not the one that is pinned. What came of it was removed."""
