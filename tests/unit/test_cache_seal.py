"""A value is either whole and under its own key, or refused."""

import struct
from pathlib import Path

import pytest

from tts_service.cache import BadValueError, DiskTier
from tts_service.cache.seal import seal, unseal

_HEAD_BYTES = 18


@pytest.mark.parametrize("body", [b"", b"\0", b"speech" * 50_000])
def test_what_was_sealed_comes_back(body: bytes) -> None:
    value = seal("key", body)
    assert len(value) == _HEAD_BYTES + len(body)
    assert unseal("key", value) == body


def test_every_change_of_one_byte_is_found() -> None:
    value = bytearray(seal("key", b"a body of bytes"))
    for position, right in enumerate(value):
        for wrong in range(256):
            if wrong != right:
                value[position] = wrong
                with pytest.raises(BadValueError):
                    unseal("key", bytes(value))
        value[position] = right
    assert unseal("key", bytes(value)) == b"a body of bytes"


def test_every_other_length_is_found() -> None:
    value = seal("key", b"a body of bytes")
    for length in range(len(value)):
        with pytest.raises(BadValueError):
            unseal("key", value[:length])
    for more in (b"\0", b"x", value):
        with pytest.raises(BadValueError):
            unseal("key", value + more)


@pytest.mark.parametrize("key", ["kez", "", "ke", "key ", "Key", "kéy"])
def test_another_keys_value_is_found(key: str) -> None:
    with pytest.raises(BadValueError, match="another checksum"):
        unseal(key, seal("key", b"body"))


@pytest.mark.parametrize("version", [0, 2, 65_535])
def test_another_version_is_told(version: int) -> None:
    value = bytearray(seal("key", b"body"))
    struct.pack_into(">H", value, 4, version)
    with pytest.raises(BadValueError, match=f"version {version}"):
        unseal("key", bytes(value))


@pytest.mark.parametrize("key", [b"key", 5, 1.5, None, ("a",), type("Text", (str,), {})("key")])
def test_a_key_is_text(tmp_path: Path, key: object) -> None:
    tier = DiskTier.open(tmp_path, size_limit_bytes=0)
    with pytest.raises(TypeError, match="a key is text"):
        tier.put(key, b"value")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key is text"):
        tier.get(key)  # type: ignore[arg-type]
    assert tier.count == 0
    assert not list(tmp_path.glob("??/*/*"))
    tier.close()


@pytest.mark.parametrize("value", ["text", bytearray(b"x"), 5, None, ["x"], memoryview(b"x")])
def test_a_value_is_bytes(tmp_path: Path, value: object) -> None:
    tier = DiskTier.open(tmp_path, size_limit_bytes=0)
    with pytest.raises(TypeError, match="a value is bytes"):
        tier.put("key", value)  # type: ignore[arg-type]
    assert tier.count == 0
    assert not list(tmp_path.glob("??/*/*"))
    tier.close()
