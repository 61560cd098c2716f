"""What a voice is to be called, and who agreed: as the caller states it, and the checks."""

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from voice_store import Consent, VoiceIdError, parse_voice_id

from ..errors import InvalidRequest, Violation
from ..text import is_language

__all__ = ["ConsentClaim", "VoiceMetadata", "check_metadata"]

_MAX_NAME_CHARACTERS = 100
_MAX_CONSENT_CHARACTERS = 2000
_MAX_REQUEST_ID_CHARACTERS = 128
# Clocks differ; a consent that was given a moment ago may seem to lie ahead.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ConsentClaim:
    """A consent as the caller states it; see `voice_store.Consent`."""

    person: str
    statement: str
    consent_time: datetime | None
    attested_by: str


@dataclass(frozen=True, slots=True)
class VoiceMetadata:
    """What a voice is to be called, and who agreed. Empty where the caller left it so."""

    display_name: str
    language: str
    voice_id: str
    request_id: str
    consent: ConsentClaim | None


def check_metadata(metadata: VoiceMetadata, *, consent_required: bool) -> Consent | None:
    """Checks the metadata and returns the consent that is going to be kept.

    Raises:
        InvalidRequest: names every field at fault.
    """
    problems: list[Violation] = []
    if not 1 <= len(metadata.display_name.strip()) <= _MAX_NAME_CHARACTERS or _has_controls(
        metadata.display_name
    ):
        problems.append(
            Violation(
                "metadata.display_name",
                f"must be 1 to {_MAX_NAME_CHARACTERS} printable characters",
            )
        )
    if not is_language(metadata.language):
        problems.append(
            Violation("metadata.language", "must be a BCP-47 tag such as 'en' or 'en-US'")
        )
    if metadata.voice_id:
        try:
            parse_voice_id(metadata.voice_id)
        except VoiceIdError as error:
            problems.append(Violation("metadata.voice_id", str(error)))
    if metadata.request_id and not (
        len(metadata.request_id) <= _MAX_REQUEST_ID_CHARACTERS
        and metadata.request_id.isascii()
        and metadata.request_id.isprintable()
    ):
        problems.append(
            Violation("metadata.request_id", "must be at most 128 printable ASCII characters")
        )
    consent = _check_consent(metadata.consent, consent_required, problems)
    if problems:
        raise InvalidRequest(*problems)
    return consent


def _check_consent(
    claim: ConsentClaim | None, required: bool, problems: list[Violation]
) -> Consent | None:
    if claim is None:
        if required:
            problems.append(Violation("metadata.consent", "is required by this server"))
        return None
    for name, text in (
        ("person", claim.person),
        ("statement", claim.statement),
        ("attested_by", claim.attested_by),
    ):
        if not 1 <= len(text.strip()) <= _MAX_CONSENT_CHARACTERS:
            problems.append(
                Violation(
                    f"metadata.consent.{name}",
                    f"is required, at most {_MAX_CONSENT_CHARACTERS} characters",
                )
            )
    time = claim.consent_time
    if time is None or time > datetime.now(UTC) + _CLOCK_TOLERANCE:
        problems.append(
            Violation("metadata.consent.consent_time", "is required and not in the future")
        )
        return None
    return Consent(claim.person, claim.statement, time, claim.attested_by)


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)
