"""Pages of an Ogg stream (RFC 3533).

libavformat's writer keeps each page back until the next one is full, which doubles the delay
of short pages. Pages are simple enough to be written here.
"""

import struct
from collections.abc import Sequence

_CAPTURE_PATTERN = b"OggS"
_BEGINS_STREAM, _ENDS_STREAM = 0x02, 0x04
_CHECKSUM_AT = 22
_MAX_SEGMENTS = 255
# The number must differ between streams of one file. There is one stream here, and a constant
# makes equal audio equal bytes.
_SERIAL_NUMBER = 1


def _crc_table() -> tuple[int, ...]:
    # Polynomial 0x04C11DB7, bits not reflected, so that zlib's CRC-32 is of no use.
    table = []
    for value in range(256):
        remainder = value << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x04C11DB7 if remainder & 0x80000000 else 0)
        table.append(remainder & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE = _crc_table()


def page_checksum(page: bytes) -> int:
    """Checksum of a page whose own checksum field is zero."""
    checksum = 0
    for byte in page:
        checksum = ((checksum << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(checksum >> 24) ^ byte]
    return checksum


class OggWriter:
    """Counts the pages of one stream."""

    def __init__(self) -> None:
        self._page_count = 0

    def page(
        self, packets: Sequence[bytes], granule_position: int, *, is_last: bool = False
    ) -> bytes:
        """One page of whole packets.

        Args:
            packets: what it carries; none is allowed on the last page.
            granule_position: where the last packet ends, in the codec's own unit.
            is_last: whether the stream ends here.

        Raises:
            ValueError: the packets need more than the 255 segments of a page.
        """
        lacing = b"".join(
            b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets
        )
        if len(lacing) > _MAX_SEGMENTS:
            raise ValueError(f"{len(lacing)} segments do not fit into a page")
        flags = (_BEGINS_STREAM if self._page_count == 0 else 0) | (_ENDS_STREAM if is_last else 0)
        header = struct.pack(
            "<4sBBqIIIB",
            _CAPTURE_PATTERN,
            0,  # version
            flags,
            granule_position,
            _SERIAL_NUMBER,
            self._page_count,
            0,  # checksum, filled in below
            len(lacing),
        )
        self._page_count += 1
        page = bytearray(header + lacing + b"".join(packets))
        struct.pack_into("<I", page, _CHECKSUM_AT, page_checksum(bytes(page)))
        return bytes(page)
