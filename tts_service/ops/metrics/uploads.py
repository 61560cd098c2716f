"""Uploads: how they went, and how long they took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Histogram

__all__ = ["UploadMeter", "UploadMetrics"]

# Callers send 30 s of speech through lines of any kind, and it is decoded and looked at.
_DURATIONS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class UploadMeter:
    """One upload.

    Attributes:
        result: how it went; "refused" until something else is known.
    """

    def __init__(self) -> None:
        self.result: Literal["stored", "already_stored", "refused", "abandoned"] = "refused"


class UploadMetrics:
    """Measures uploads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Histogram(
            "tts_upload_duration_seconds",
            "How long uploads took, by how they went",
            ["result"],
            buckets=_DURATIONS_S,
            registry=registry,
        )

    @contextmanager
    def measured(self) -> Iterator[UploadMeter]:
        """Measures what is done within the context, which has to set the result."""
        began_s = time.monotonic()
        upload = UploadMeter()
        try:
            yield upload
        except Exception:
            upload.result = "refused"
            raise
        except BaseException:
            upload.result = "abandoned"
            raise
        finally:
            self._duration.labels(upload.result).observe(time.monotonic() - began_s)
