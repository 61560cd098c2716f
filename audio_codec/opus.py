"""Opus: bare packets, and packets in Ogg."""

import struct
from collections.abc import Iterable

import av
import numpy as np
from numpy.typing import NDArray

from audio_codec.coder import Chunk
from audio_codec.ogg import OggWriter

# Ogg counts Opus in 48 kHz samples, whatever rate was encoded (RFC 7845, section 4).
_GRANULE_RATE_HZ = 48000
# Where the number of samples to skip stands in the header (RFC 7845, section 5.1).
_PRE_SKIP_AT = 10

OPUS_OPTIONS = {
    # The bitrate is an average: pauses cost little, consonants get what they need.
    "vbr": "on",
    # libopus' mode for faithful sound. "voip" filters and shapes what a microphone picks up.
    "application": "audio",
}


class OpusPackets:
    """libopus as a function from blocks to packets.

    Args:
        sample_rate_hz: 8000, 12000, 16000, 24000 or 48000.
        bitrate_bps: target bitrate.
        packet_ms: length of a packet, 10, 20, 40 or 60.

    Attributes:
        block_samples: samples of one packet.
        header: the OpusHead of RFC 7845, section 5.1.
        pre_skip: 48 kHz samples that a decoder puts out before the first true one.
    """

    def __init__(self, *, sample_rate_hz: int, bitrate_bps: int, packet_ms: int) -> None:
        self.block_samples = sample_rate_hz * packet_ms // 1000
        self._sample_rate_hz = sample_rate_hz
        self._position = 0
        self._context = av.CodecContext.create("libopus", "w")
        self._context.sample_rate = sample_rate_hz
        self._context.format = "flt"
        self._context.layout = "mono"
        self._context.bit_rate = bitrate_bps
        self._context.options = {**OPUS_OPTIONS, "frame_duration": str(packet_ms)}
        self._context.open()
        self.header = bytes(self._context.extradata or b"")
        (self.pre_skip,) = struct.unpack_from("<H", self.header, _PRE_SKIP_AT)

    def encode(self, block: NDArray[np.float32]) -> list[bytes]:
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = self._sample_rate_hz
        frame.pts = self._position
        self._position += len(block)
        return [bytes(packet) for packet in self._context.encode(frame)]

    def finish(self, rest: NDArray[np.float32]) -> list[bytes]:
        packets = self.encode(rest) if len(rest) else []
        packets += [bytes(packet) for packet in self._context.encode(None)]
        return packets


class OpusPacketCoder:
    """One packet a chunk.

    Nothing tells a receiver of bare packets about the codec's delay of 6.5 ms, so that the
    packets' own grid is the timeline, as it is in RTP (RFC 7587). A packet at the end that
    only carries what the delay held back adds no samples.
    """

    def __init__(self, *, sample_rate_hz: int, bitrate_bps: int, packet_ms: int) -> None:
        self._packets = OpusPackets(
            sample_rate_hz=sample_rate_hz, bitrate_bps=bitrate_bps, packet_ms=packet_ms
        )
        self._end_sample = 0

    @property
    def block_samples(self) -> int:
        return self._packets.block_samples

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        return self._chunks(self._packets.encode(block))

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        return self._chunks(self._packets.finish(rest))

    def close(self) -> None:
        """Nothing is held but memory."""

    def _chunks(self, packets: Iterable[bytes]) -> list[Chunk]:
        chunks = []
        for packet in packets:
            self._end_sample += self.block_samples
            chunks.append(Chunk(packet, self._end_sample))
        return chunks


class OggOpusCoder:
    """Opus in Ogg by RFC 7845, one page a chunk."""

    def __init__(
        self, *, sample_rate_hz: int, bitrate_bps: int, packet_ms: int, packets_per_page: int
    ) -> None:
        self._packets = OpusPackets(
            sample_rate_hz=sample_rate_hz, bitrate_bps=bitrate_bps, packet_ms=packet_ms
        )
        self._granules_per_sample = _GRANULE_RATE_HZ // sample_rate_hz
        self._packets_per_page = packets_per_page
        self._writer = OggWriter()
        self._sample_count = 0
        self._page: list[bytes] = []
        self._granule = 0
        # Both headers stand on pages of their own (RFC 7845, section 3). They leave with the
        # first audio.
        self._headers = self._writer.page([self._packets.header], 0)
        self._headers += self._writer.page([_opus_tags()], 0)

    @property
    def block_samples(self) -> int:
        return self._packets.block_samples

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        self._sample_count += len(block)
        return self._chunks(self._packets.encode(block))

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        self._sample_count += len(rest)
        packets = self._packets.finish(rest)
        # At least one packet is left for the last page: the codec's delay sees to it. Only a
        # stream without samples ends in an empty page.
        chunks = self._chunks(packets[:-1])
        self._page += packets[-1:]
        # A granule position short of the packets' end trims the padding (RFC 7845, 4.4).
        self._granule = self._packets.pre_skip + self._sample_count * self._granules_per_sample
        return [*chunks, self._chunk(is_last=True)]

    def close(self) -> None:
        """Nothing is held but memory."""

    def _chunks(self, packets: Iterable[bytes]) -> list[Chunk]:
        chunks = []
        for packet in packets:
            self._page.append(packet)
            self._granule += self.block_samples * self._granules_per_sample
            # The first page holds one packet, so that the listener waits for no more than that.
            if len(self._page) == (1 if self._headers else self._packets_per_page):
                chunks.append(self._chunk(is_last=False))
        return chunks

    def _chunk(self, *, is_last: bool) -> Chunk:
        data = self._headers + self._writer.page(self._page, self._granule, is_last=is_last)
        self._headers = b""
        self._page = []
        played = max(0, self._granule - self._packets.pre_skip)
        return Chunk(data, played // self._granules_per_sample)


def _opus_tags() -> bytes:
    vendor = av.codec.Codec("libopus", "w").long_name.encode()
    return b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", 0)
