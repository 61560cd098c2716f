"""What the server kept: spoken phrases and uploaded voices."""

from collections.abc import Iterator

from voice_store import StoreNotFoundError, check_store

from ..cache import CacheUnusableError, DiskTier
from ..config import Settings
from ..models.progress import size
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_cache", "look_at_voices"]

_SHOWN = 5


def look_at_cache(settings: Settings) -> Iterator[Finding]:
    """Reads all that is kept of what was spoken. Repairs nothing."""
    if not settings.cache.enabled:
        yield ok("cache", "is off")
        return
    folder = settings.cache.folder(settings.data_dir)
    try:
        disk = DiskTier.open_existing(folder, size_limit_bytes=settings.cache.size_limit_bytes)
    except CacheUnusableError as error:
        if error.is_broken:
            yield warn(
                "cache",
                f"the database in {folder} is broken: {error}",
                "a server that starts sets it aside and begins a new one",
            )
        else:
            yield fail("cache", f"{folder} can't be used: {error}", "see cache.dir, or chown it")
        return
    if disk is None:
        yield ok("cache", f"nothing was kept yet in {folder}")
        return
    try:
        wrong = list(disk.check(repair=False))
        found = f"{disk.count} entries, {size(disk.size_bytes)}, in {folder}"
    finally:
        disk.close()
    if wrong:
        yield warn(
            "cache",
            f"{len(wrong)} of {found} are broken, {wrong[0].what}: {wrong[0].problem}",
            "tts-service cache check --repair",
        )
    else:
        yield ok("cache", f"{found}: all whole")


def look_at_voices(settings: Settings) -> Iterator[Finding]:
    """Reads all uploaded voices. Repairs nothing."""
    root = settings.data_dir / "voices"
    try:
        findings = check_store(root, repair=False)
    except StoreNotFoundError:
        yield ok("voices", f"none were uploaded yet to {root}")
        return
    except OSError as error:
        yield fail("voices", f"{root}: {error.strerror}", "see data_dir, or chown it")
        return
    if findings:
        first = "; ".join(f"{one.voice_id}: {one.problem}" for one in findings[:_SHOWN])
        more = ", …" if len(findings) > _SHOWN else ""
        yield fail(
            "voices",
            f"wrong in {root}: {first}{more}",
            "tts-service voices check --repair",
        )
    else:
        yield ok("voices", f"all whole in {root}")
