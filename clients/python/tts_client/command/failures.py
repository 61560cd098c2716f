"""What a person is told when a call fails, and the exit code that a script sees."""

import re

import click

from tts_client.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotCached,
    NotFound,
    Overloaded,
    PermissionDenied,
    StreamError,
    TtsError,
    Unauthenticated,
    Unavailable,
)

INTERRUPTED = 130

_OPTIONS = {
    "text": "TEXT",
    "voice": "--voice",
    "language": "--language",
    "engine": "--engine",
    "format": "--format",
    "format.encoding": "--format",
    "format.sample_rate_hz": "--rate",
    "format.bitrate_bps": "--bitrate",
    "prosody.speed": "--speed",
    "style": "--style",
    "cache": "--cache",
    "sampling": "--seed and --temperature",
    "sampling.seed": "--seed",
    "sampling.temperature": "--temperature",
    "voice_mix": "--mix",
    "recording": "FILE",
    "recording.style": "--style",
    "metadata.display_name": "--name",
    "metadata.language": "--language",
    "metadata.voice_id": "--id",
    "metadata.consent": "--consent-person, --consent-statement and --attested-by",
    "metadata.consent.person": "--consent-person",
    "metadata.consent.statement": "--consent-statement",
    "metadata.consent.attested_by": "--attested-by",
}

_MIX_FIELD = re.compile(r"voice_mix\[(\d+)\]\.(\w+)")

# Limits that do not pass by waiting.
_LASTING = {"STORAGE_FULL", "TOO_LARGE"}


class Failure(click.ClickException):
    """Ends the command with a message on stderr."""

    exit_code = 1


class Refused(Failure):
    """What was asked for cannot be had, and asking again changes nothing."""

    exit_code = 2


class Unreachable(Failure):
    """There is no server, or the connection to it was lost."""

    exit_code = 3


def explain(error: TtsError, server: str) -> Failure:
    """The failure that `error` of a call to `server` means to a person."""
    if isinstance(error, Unavailable) and not error.reason:
        return Unreachable(_connection_message(error, server))
    if isinstance(error, InvalidArgument) and error.violations:
        return Refused(
            "\n".join(
                f"{_option(violation.field)}: {violation.description}"
                for violation in error.violations
            )
        )
    if isinstance(error, InvalidArgument):
        return Refused(error.message)
    if isinstance(error, Unauthenticated):
        return Refused(
            f"{error.message}.\nGive it here with --token-file FILE or the variable"
            " TTS_CLIENT_TOKEN."
        )
    if isinstance(error, PermissionDenied):
        return Refused(f"{error.message}.\nThe server's operator can make a token that allows it.")
    if isinstance(error, AlreadyExists):
        return Refused(f"{error.message}\nChoose another id with --id.")
    message = error.message
    if isinstance(error, NotCached):
        return Refused(f"{message}\nWithout --cache only it would be spoken.")
    if isinstance(error, NotFound):
        return Refused(f"{message}\n`tts voices` lists the voices of this server.")
    if isinstance(error, Unavailable | Overloaded) and error.reason not in _LASTING:
        when = f"in {error.retry_after_s:g} s" if error.retry_after_s else "later"
        message = f"{message}\nTry again {when}."
    elif isinstance(error, DeadlineExceeded):
        message = f"The server at {server} did not finish in the time allowed."
    elif isinstance(error, StreamError):
        message = f"What came is not whole, so it was not kept: {message}."
    return Failure(message)


def _option(field: str) -> str:
    """The option that sets a field; for `voice_mix[1].voice` the second --mix."""
    if match := _MIX_FIELD.fullmatch(field):
        return f"--mix {int(match[1]) + 1} ({match[2]})"
    return _OPTIONS.get(field, field)


def _connection_message(error: Unavailable, server: str) -> str:
    # gRPC has no code that tells a connection that never was from one that broke.
    message = error.message.lower()
    if "handshake failed" in message or "verification check failed" in message:
        return (
            f"TLS with {server} failed: {error.message}\n"
            "Either it speaks no TLS, or --ca FILE has to name the authority of its certificate."
        )
    if "failed to connect" in message and "socket closed" in message:
        return (
            f"The server at {server} hung up at once. If it speaks TLS, give --tls or --ca FILE;"
            " if it asks for a certificate, --cert and --key."
        )
    if "failed to connect" in message or "resolution" in message:
        return f"No server at {server}. Start one with `make run`, or name another with --server."
    return f"The connection to {server} failed: {error.message}"
