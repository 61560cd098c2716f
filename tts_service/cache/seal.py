"""The seal around each value on disk: it tells a whole value from a broken or foreign one."""

import struct

import google_crc32c

__all__ = ["BadValueError", "seal", "sealed_size", "unseal"]

_MAGIC = b"TTSC"
_VERSION = 1
# Magic, version, length of the body, CRC-32C of the key and the body.
_HEAD = struct.Struct(">4sHQI")


class BadValueError(Exception):
    """What lies on disk is not what was kept under this key."""


def seal(key: str, body: bytes) -> bytes:
    """Returns the value that is written for `body`."""
    return _HEAD.pack(_MAGIC, _VERSION, len(body), _checksum(key, body)) + body


def sealed_size(body: bytes) -> int:
    """Returns how many bytes `seal` makes of a body.

    Raises:
        TypeError: it is no bytes.
    """
    if type(body) is not bytes:
        raise TypeError(f"a value is bytes, not {type(body).__name__}")
    return _HEAD.size + len(body)


def unseal(key: str, value: bytes) -> bytes:
    """Returns the body of a value that was read.

    A single flipped bit or byte is always found: the checksum finds every burst of up to 32 bits,
    and the key in it finds a value that lies under another's name.

    Raises:
        BadValueError: it is cut, changed, another key's, or of another version.
    """
    if len(value) < _HEAD.size:
        raise BadValueError("is shorter than a value's head")
    magic, version, length, checksum = _HEAD.unpack_from(value)
    if magic != _MAGIC:
        raise BadValueError("is no value of this cache")
    if version != _VERSION:
        raise BadValueError(f"is of version {version}, and this is {_VERSION}")
    body = value[_HEAD.size :]
    if len(body) != length:
        raise BadValueError(f"has {len(body)} bytes of {length}")
    if _checksum(key, body) != checksum:
        raise BadValueError("has another checksum")
    return body


def _checksum(key: str, body: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(key.encode()), body))
