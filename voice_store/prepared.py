"""What `prepare_upload` answered, read on the trusted side, where no codec is needed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InvalidRecordError
from .records import RECORDING_RATE_HZ, PreparedRecording, StyleQuality

__all__ = ["parse_prepared"]

_MOST_WARNINGS = 16
_MOST_WARNING_CHARACTERS = 500
# Room for another implementation's rounding of what is longest.
_LONGEST_PARSED_MS = 30_500
# What whoever passes a number on has room for.
_MOST = 2**31 - 1


def parse_prepared(
    report: Mapping[str, Any], blobs: Sequence[bytes], styles: Sequence[str]
) -> tuple[PreparedRecording, ...]:
    """Reads what `prepare_upload` returned, believing nothing of it.

    Args:
        styles: the job's styles, one a file.

    Raises:
        InvalidRecordError: it is not what was asked for.
    """
    documents = report.get("styles") if set(report) == {"styles"} else None
    asked = list(dict.fromkeys(styles))
    if not isinstance(documents, list) or not len(documents) == len(blobs) == len(asked):
        raise InvalidRecordError("styles: not one report and one recording for each style")
    qualities = [StyleQuality.from_json(document) for document in documents]
    for quality, blob, style in zip(qualities, blobs, asked, strict=True):
        _require_plausible(quality, len(blob), style, styles.count(style))
    return tuple(
        PreparedRecording(
            quality.style, np.frombuffer(blob, "<i2").astype(np.int16, copy=False), quality
        )
        for quality, blob in zip(qualities, blobs, strict=True)
    )


def _require_plausible(quality: StyleQuality, byte_count: int, style: str, count: int) -> None:
    sample_count, odd = divmod(byte_count, 2)
    checks = {
        "style": quality.style == style,
        "recording_count": quality.recording_count == count,
        "samples": not odd and 0 < sample_count * 1000 <= _LONGEST_PARSED_MS * RECORDING_RATE_HZ,
        "kept_ms": quality.kept_ms == sample_count * 1000 // RECORDING_RATE_HZ,
        "duration_ms": 0 <= quality.duration_ms <= _MOST,
        "speech_ms": 0 <= quality.speech_ms <= _MOST,
        "clipped_share": 0.0 <= quality.clipped_share <= 1.0,
        "bandwidth_hz": 0 <= quality.bandwidth_hz <= _MOST,
        "warnings": len(quality.warnings) <= _MOST_WARNINGS
        and all(
            len(text) <= _MOST_WARNING_CHARACTERS and text.isprintable()
            for warning in quality.warnings
            for text in (warning.code, warning.message)
        ),
    }
    wrong = [field for field, holds in checks.items() if not holds]
    if wrong:
        raise InvalidRecordError(f"{', '.join(wrong)}: not what was asked for")
