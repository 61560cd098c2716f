"""Python, and the packages that this configuration takes."""

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..config import Settings
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_packages"]

_DISTRIBUTION = "tts-service"
# Those that decide most; the others are named when something is wrong with them.
_NAMED = ("grpcio", "protobuf", "numpy", "av", "soxr", "piper-tts", "onnxruntime", "torch")


def look_at_packages(settings: Settings) -> Iterator[Finding]:
    """Compares what is installed with what the package asks for."""
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield warn(
            "packages", f"{_DISTRIBUTION} is not installed, only run", "install it with: make run"
        )
        return
    python = platform.python_version()
    if python not in SpecifierSet(distribution.metadata["Requires-Python"] or ""):
        yield fail("packages", f"Python {python} is too old", "use Python 3.11 or newer")
    extras = {"server", *settings.engines, *(["tracing"] if settings.tracing.endpoint else [])}
    wrong = list(_unmet(distribution, extras))
    for found in wrong:
        yield fail(
            "packages", found, f"pip install 'PATH_OF_THE_CLONE[{','.join(sorted(extras))}]'"
        )
    if not wrong:
        named = (f"{name} {version}" for name in _NAMED if (version := _version(name)))
        yield ok("packages", ", ".join((f"{_DISTRIBUTION} {distribution.version}", *named)))


def _unmet(distribution: metadata.Distribution, extras: set[str]) -> Iterator[str]:
    for line in distribution.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if requirement.name == _DISTRIBUTION or (
            marker is not None and not any(marker.evaluate({"extra": e}) for e in ("", *extras))
        ):
            continue
        version = _version(requirement.name)
        if version is None:
            yield f"{requirement.name} is missing"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} is {version}, and has to be {requirement.specifier}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
