"""What is kept of a voice, as values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from .errors import InvalidRecordError

__all__ = [
    "RECORDING_RATE_HZ",
    "Consent",
    "Finding",
    "PreparedRecording",
    "QualityWarning",
    "StoredVoice",
    "StyleQuality",
]

RECORDING_RATE_HZ = 24_000
"""Sample rate of the recordings that are kept."""


def _read_time(text: Any) -> datetime:
    if not isinstance(text, str):
        raise ValueError("must be text")
    time = datetime.fromisoformat(text)
    if time.utcoffset() != timedelta(0):
        raise ValueError("must be in UTC")
    return time.astimezone(UTC)


def _write_time(time: datetime) -> str:
    if time.utcoffset() is None:
        raise ValueError("a time without a zone")
    return time.astimezone(UTC).isoformat()


# pydantic's own reading of times takes numbers in text for seconds.
_UtcTime = Annotated[datetime, PlainValidator(_read_time), PlainSerializer(_write_time)]


class _Record:
    """A value that can be written as a JSON document and read back."""

    __slots__ = ()
    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a document for `json.dumps`. Times are ISO 8601 in UTC.

        Raises:
            InvalidRecordError: a value is not of its field's type, or not finite.
        """
        try:
            document: dict[str, Any] = _ADAPTERS[type(self)].dump_python(
                self, mode="json", warnings=False
            )
        except PydanticSerializationError as error:
            raise InvalidRecordError("record: holds what JSON can't") from error
        self.from_json(document)
        return document

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Reads a document that `to_json` made.

        Raises:
            InvalidRecordError: a key is unknown or missing, or a value is of another type.
        """
        # Through text, since pydantic's strictness lets only JSON text become a dataclass.
        try:
            record: Self = _ADAPTERS[cls].validate_json(json.dumps(document))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "document"
            raise InvalidRecordError(f"{place}: {first['msg']}") from None
        except (TypeError, ValueError) as error:
            raise InvalidRecordError("document: holds what JSON can't") from error
        return record


@dataclass(frozen=True, slots=True)
class Consent(_Record):
    """Who agreed to what.

    Attributes:
        person: who is heard and consented.
        statement: what was agreed to, in the words that the person saw or heard.
        consent_time: when, in UTC.
        attested_by: who vouches for it.
    """

    person: str
    statement: str
    consent_time: _UtcTime
    attested_by: str


@dataclass(frozen=True, slots=True)
class QualityWarning(_Record):
    """Something about a recording that could be better.

    Attributes:
        code: for programs, in UPPER_SNAKE_CASE.
        message: for people: what was measured and what to do.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class StyleQuality(_Record):
    """How good the recordings of one style are.

    Attributes:
        recording_count: recordings of this style.
        duration_ms: their length together.
        speech_ms: speech in them.
        kept_ms: length of what was kept.
        loudness_before_lufs: integrated loudness of the recordings (ITU-R BS.1770-4).
        loudness_after_lufs: integrated loudness of what was kept.
        true_peak_dbtp: highest true peak of the recordings.
        clipped_share: share of their samples that are clipped, 0 to 1.
        signal_to_noise_db: level of the speech above that of the pauses; None if there are no
            pauses to measure.
        bandwidth_hz: frequency below which nearly all of the sound lies.
        warnings: the most serious first.
    """

    style: str
    recording_count: int
    duration_ms: int
    speech_ms: int
    kept_ms: int
    loudness_before_lufs: float
    loudness_after_lufs: float
    true_peak_dbtp: float
    clipped_share: float
    signal_to_noise_db: float | None
    bandwidth_hz: int
    warnings: tuple[QualityWarning, ...]


@dataclass(frozen=True, slots=True)
class StoredVoice(_Record):
    """A voice that is kept.

    Attributes:
        language: BCP-47 tag of the language that is spoken in the recordings.
        styles: what it was recorded in, in alphabetical order.
        create_time: when it was stored, in UTC.
        request_id: of the upload that stored it; empty if it gave none.
        consent: None where none was given.
        quality: one report a style, in the order of `styles`.
        content_fingerprint: SHA-256 in hexadecimal, see `content_fingerprint` in `flac.py`.
    """

    id: str
    display_name: str
    language: str
    styles: tuple[str, ...]
    create_time: _UtcTime
    request_id: str
    consent: Consent | None
    quality: tuple[StyleQuality, ...]
    content_fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRecording:
    """The recording of one style, ready to be kept.

    Attributes:
        samples: mono at `RECORDING_RATE_HZ`, shape (n,), int16.
        quality: how good what was recorded is.
    """

    style: str
    samples: NDArray[np.int16]
    quality: StyleQuality


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a store that should not be as it is.

    Attributes:
        voice_id: the voice or, where that is none, the entry's place in the store.
        problem: what is wrong, in words for the operator.
        repaired: whether it has been put right.
    """

    voice_id: str
    problem: str
    repaired: bool


_ADAPTERS: Mapping[type[object], TypeAdapter[Any]] = MappingProxyType(
    {record: TypeAdapter(record) for record in (Consent, QualityWarning, StyleQuality, StoredVoice)}
)
