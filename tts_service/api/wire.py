"""Requests whose bytes don't decode.

Left to gRPC, they end as INTERNAL with a library's text. Here they become a value, which the
call boundary answers with INVALID_ARGUMENT and the field at fault. In practice that is a
string that isn't UTF-8, such as one with lone surrogates.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import empty_pb2, unknown_fields  # type: ignore[attr-defined]
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from ..errors import Violation

__all__ = ["MalformedMessage", "decode_or_explain"]

_LENGTH_DELIMITED = 2
# Finding the field walks the message in Python. Honest requests with a bad string are smaller.
_MAX_EXPLAINED_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """Stands in for a request that could not be decoded."""

    violation: Violation


def decode_or_explain(message_type: type[Message], data: bytes) -> Message | MalformedMessage:
    """Decodes `data`, or says which field is at fault."""
    try:
        return message_type.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        path = None
        if len(data) <= _MAX_EXPLAINED_BYTES:
            path = _find_bad_string(message_type.DESCRIPTOR, data, "")
        if path is None:
            return MalformedMessage(Violation("", f"is not a {message_type.DESCRIPTOR.full_name}"))
        return MalformedMessage(Violation(path, "is not valid UTF-8"))


def _find_bad_string(descriptor: Any, data: bytes, prefix: str) -> str | None:
    """Returns the path of the first string that isn't UTF-8, None if there is none."""
    raw = empty_pb2.Empty()
    try:
        raw.ParseFromString(data)
    except DecodeError:
        return None
    seen: Counter[int] = Counter()
    for field in unknown_fields.UnknownFieldSet(raw):
        known: FieldDescriptor | None = descriptor.fields_by_number.get(field.field_number)
        if known is None or field.wire_type != _LENGTH_DELIMITED:
            continue
        path = f"{prefix}{known.name}"
        if known.is_repeated:
            path += f"[{seen[known.number]}]"
            seen[known.number] += 1
        if known.type == FieldDescriptor.TYPE_STRING and not _is_utf8(field.data):
            return path
        if known.message_type is not None:
            inner = _find_bad_string(known.message_type, field.data, f"{path}.")
            if inner is not None:
                return inner
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def explaining_decoder(
    decode: Callable[[bytes], Message], *, limit_bytes: int | None = None
) -> Callable[[bytes], Message | MalformedMessage]:
    """Wraps a generated `FromString`. What is larger than `limit_bytes` is not looked at."""
    message_type = type(decode(b""))

    def decode_within_limit(data: bytes) -> Message | MalformedMessage:
        if limit_bytes is not None and len(data) > limit_bytes:
            return MalformedMessage(Violation("", f"is larger than {limit_bytes} bytes"))
        return decode_or_explain(message_type, data)

    return decode_within_limit
