"""The Hugging Face hub, or whatever speaks like it at `HF_ENDPOINT`.

`hf_hub_download` of huggingface_hub 2 writes to a temporary name of its own and removes it when
the transfer fails, so it never continues what an earlier run began. Addresses, logins, redirects,
proxies and errors are the library's here; the bytes are asked for with a range, over plain HTTPS
and not over Xet, and written as they come.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented

from .errors import HubError, InterruptedDownloadError, WrongContentError
from .source import ModelFile, ModelSource

__all__ = ["Hub"]

# Pauses before each further try; as many in a row may bring nothing before it is given up.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
# Of silence, in connecting as in reading.
_TIMEOUT_S = 30.0
_PASSING_STATUSES = frozenset([408, 429, 500, 502, 503, 504])


class _BrokenOffError(Exception):
    """A transfer ended early in a way that may pass."""


class Hub:
    """One repository at one revision.

    Args:
        source: what is fetched.
        endpoint: the hub's address; None for what `HF_ENDPOINT` says.
        pauses_s: before each further try of a transfer that broke off.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        endpoint: str | None = None,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._source = source
        self._pauses_s = pauses_s
        self._endpoint = endpoint or constants.ENDPOINT

    def check(self, file: ModelFile) -> None:
        """Asks what the hub knows of a file, which costs next to nothing.

        Raises:
            HubError: it can't be reached, or doesn't have the file.
            WrongContentError: it has another one.
        """
        with self._errors_as_lines(file):
            known = get_hf_file_metadata(self._url(file), timeout=_TIMEOUT_S)
        if known.commit_hash is None:
            raise HubError(f"{self._endpoint} does not answer like a Hugging Face hub")
        if known.size not in (None, file.size_bytes):
            raise WrongContentError(
                f"{self._endpoint} has a {file.name} of {known.size} bytes; "
                f"{file.size_bytes} are expected"
            )
        # Of a file in Git LFS the tag is the SHA-256, of another one Git's own SHA-1.
        if known.etag is not None and len(known.etag) == 64 and known.etag != file.sha256:
            raise WrongContentError(
                f"{self._endpoint} has a {file.name} with the SHA-256 {known.etag}; "
                f"{file.sha256} is expected"
            )

    def fetch(
        self,
        file: ModelFile,
        part: Path,
        *,
        moved: Callable[[int], None],
        interrupted: Callable[[str, float], None],
    ) -> None:
        """Appends to `part` what it lacks of a file.

        Args:
            file: what is fetched.
            part: what came of it so far; need not exist.
            moved: is told how many bytes are there, first of all those that were there before.
            interrupted: is told why the transfer broke off and how long the pause is, in seconds.

        Raises:
            HubError: the hub refuses.
            InterruptedDownloadError: it broke off too often in a row without a byte.
            WrongContentError: more came than the file has; `part` is empty then.
        """
        pauses = iter(self._pauses_s)
        with part.open("ab") as output:
            while True:
                begun_bytes = output.tell()
                moved(begun_bytes)
                try:
                    if begun_bytes < file.size_bytes:
                        self._transfer(file, output, moved)
                    return
                except _BrokenOffError as error:
                    reason = str(error)
                if output.tell() > begun_bytes:
                    pauses = iter(self._pauses_s)
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise InterruptedDownloadError(
                        f"{reason}; what came is kept, run the command again to continue"
                    )
                interrupted(reason, pause_s)
                time.sleep(pause_s)

    def _transfer(self, file: ModelFile, output: BinaryIO, moved: Callable[[int], None]) -> None:
        """Makes one request for the rest of a file."""
        # Compressed, the offsets would count other bytes than ours.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if begun_bytes := output.tell():
            headers["Range"] = f"bytes={begun_bytes}-"
        with (
            self._interruptions(file),
            self._errors_as_lines(file),
            get_session().stream(
                "GET", self._url(file), headers=headers, timeout=_TIMEOUT_S
            ) as response,
        ):
            hf_raise_for_status(response)
            if response.status_code != 206:  # the range was passed over: all comes again
                _empty(output)
            for block in response.iter_bytes():
                output.write(block)
                if output.tell() > file.size_bytes:
                    _empty(output)
                    raise WrongContentError(
                        f"{self._endpoint} sends more of {file.name} than {file.size_bytes} bytes"
                    )
                moved(output.tell())
            if output.tell() < file.size_bytes:
                raise _BrokenOffError(f"{file.name} ended early")

    def _url(self, file: ModelFile) -> str:
        return hf_hub_url(
            self._source.repository,
            file.name,
            revision=self._source.revision,
            endpoint=self._endpoint,
        )

    @contextmanager
    def _interruptions(self, file: ModelFile) -> Iterator[None]:
        """Raises _BrokenOffError for what may pass."""
        try:
            yield
        except HubError as error:
            cause = error.__cause__
            passing = isinstance(cause, httpx2.TransportError) or (
                isinstance(cause, HfHubHTTPError)
                and cause.response.status_code in _PASSING_STATUSES
            )
            if not passing:
                raise
            raise _BrokenOffError(f"{file.name} broke off: {error}") from error

    @contextmanager
    def _errors_as_lines(self, file: ModelFile) -> Iterator[None]:
        """Raises HubError with a line of ours for the library's errors."""
        try:
            yield
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            HFValidationError,
            OfflineModeIsEnabled,
        ) as error:
            raise HubError(self._describe(error, file)) from error

    def _describe(self, error: Exception, file: ModelFile) -> str:
        repository = self._source.repository
        match error:
            case OfflineModeIsEnabled():
                return "the environment forbids to ask the hub: HF_HUB_OFFLINE is set"
            case HFValidationError():
                return f"{repository} is no name of a repository"
            case RevisionNotFoundError():
                return f"{self._endpoint} has no revision {self._source.revision} of {repository}"
            case RemoteEntryNotFoundError():
                return f"{self._endpoint} has no {file.name} in {repository}"
            case GatedRepoError():
                return f"{self._endpoint} shows {repository} to accepted users only; set HF_TOKEN"
            case RepositoryNotFoundError():
                return (
                    f"{self._endpoint} has no repository {repository}, or shows it only to those "
                    "who log in: HF_TOKEN"
                )
            case HfHubHTTPError():
                status = error.response.status_code
                hint = "; HF_TOKEN, if set, may be out of date" if status in (401, 403) else ""
                return (
                    f"{self._endpoint} answers {status} {error.response.reason_phrase} "
                    f"for {file.name} of {repository}{hint}"
                )
            case httpx2.TimeoutException():
                return f"{self._endpoint} is silent for {_TIMEOUT_S:g} s"
            case httpx2.ConnectError():
                return f"{self._endpoint} can't be reached: {error}"
            case _:
                return f"{self._endpoint}: {error or type(error).__name__}"


def _empty(output: BinaryIO) -> None:
    output.seek(0)
    output.truncate()
