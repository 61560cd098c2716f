"""Who may call, and over which wire: exposure, certificates, tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ..config import ConfigError, Settings
from ..identity import TokenFile, UnusableFileError
from ..listener import check_exposure
from .certificates import look_at_certificates, look_at_secret_file
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_trust"]


def look_at_trust(settings: Settings) -> Iterator[Finding]:
    """Looks whether the server would listen so, and at the files that it takes for it."""
    try:
        check_exposure(settings)
    except ConfigError as error:
        yield fail("exposure", "the server refuses to listen so", str(error))
    files = settings.tls.files
    if files is None:
        yield ok("certificate", "none: calls are not encrypted")
    else:
        yield from look_at_certificates(files.certificate, files.key, files.client_ca)
    if settings.auth.tokens_file is not None:
        yield from _tokens(settings.auth.tokens_file)


def _tokens(path: Path) -> Iterator[Finding]:
    yield from look_at_secret_file(path)
    try:
        table = TokenFile(path).table()
    except UnusableFileError as error:
        yield fail("tokens", str(error), "make one with: tts-service tokens add")
        return
    usable = table.usable_count(datetime.now(UTC))
    found = f"{usable} of {len(table)} in {path} can be used"
    if usable:
        yield ok("tokens", found)
    else:
        yield warn("tokens", found, "make one with: tts-service tokens add")
