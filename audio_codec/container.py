"""Codecs that libavformat puts into a container: MP3, AAC, FLAC and WebM."""

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from audio_codec.coder import Chunk, quantised
from audio_codec.formats import AudioFormat, Encoding, codec_frames_per_frame
from audio_codec.opus import OPUS_OPTIONS


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to set FFmpeg up for one stream.

    Attributes:
        container: name of the muxer.
        codec: name of the encoder.
        sample_format: what the encoder takes: "s16", "s16p", "flt" or "fltp".
        codec_options: private options of the encoder.
        container_options: options of the muxer.
        packets_per_chunk: how many packets make a chunk.
        packets_held: how many packets the muxer keeps back.
        declares_delay: whether the container tells players about the encoder's delay. They
            skip it then, and the timeline begins behind it.
    """

    container: str
    codec: str
    sample_format: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    packets_per_chunk: int = 1
    packets_held: int = 0
    declares_delay: bool = False


def recipe_for(audio_format: AudioFormat) -> Recipe:
    """The set-up for an encoding of this module.

    Raises:
        ValueError: the encoding belongs to another module.
    """
    rate_hz, frame_ms = audio_format.sample_rate_hz, audio_format.frame_ms
    packets = codec_frames_per_frame(audio_format.encoding, rate_hz, frame_ms)
    match audio_format.encoding:
        case Encoding.MP3:
            return Recipe(
                container="mp3",
                codec="libmp3lame",
                sample_format="s16p",
                # The bit reservoir lets a frame's bits wait in later frames: two frames more
                # of delay.
                codec_options={"reservoir": "0"},
                # The Xing tag is filled in at the end, which a stream cannot.
                container_options={"write_xing": "0", "id3v2_version": "0"},
                packets_per_chunk=packets,
            )
        case Encoding.AAC_ADTS:
            return Recipe(
                container="adts",
                codec="aac",
                sample_format="fltp",
                codec_options={},
                container_options={},
                packets_per_chunk=packets,
            )
        case Encoding.FLAC:
            return Recipe(
                container="flac",
                codec="flac",
                sample_format="s16",
                codec_options={"frame_size": str(rate_hz * frame_ms // 1000)},
                # Otherwise 8 KB of padding stand before the first sample.
                container_options={"metadata_header_padding": "0"},
            )
        case Encoding.WEBM_OPUS:
            return Recipe(
                container="webm",
                codec="libopus",
                sample_format="flt",
                codec_options={**OPUS_OPTIONS, "frame_duration": str(frame_ms // packets)},
                # libavformat keeps one packet beside the cluster and looks at the time of the
                # next, which begins a frame and a packet after the cluster. Half a packet of
                # room, because WebM rounds times to milliseconds.
                container_options={
                    "live": "1",
                    "cluster_time_limit": str(frame_ms + frame_ms // packets // 2),
                },
                packets_per_chunk=packets,
                # The packet beside the cluster, and the one that ended it.
                packets_held=2,
                declares_delay=True,
            )
        case _:
            raise ValueError(f"{audio_format.encoding} needs no container of FFmpeg")


class _Sink:
    """Takes what the muxer writes. Having no `seek`, it tells the muxer that it cannot."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class ContainerCoder:
    """An FFmpeg encoder and muxer that write into memory."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._recipe = recipe_for(audio_format)
        self._sample_rate_hz = audio_format.sample_rate_hz
        self._position = 0
        self._packets_muxed = 0
        self._packets_out = 0
        self._delay_samples = 0
        self._pending = b""
        self._sink = _Sink()
        self._container: OutputContainer = av.open(
            self._sink,
            "w",
            format=self._recipe.container,
            options={
                **self._recipe.container_options,
                # Else bytes wait in libavformat's buffer.
                "flush_packets": "1",
                # Without it WebM's ids are random, and equal audio would differ in bytes.
                "fflags": "bitexact",
            },
        )
        try:
            self._stream = self._container.add_stream(
                self._recipe.codec,
                rate=self._sample_rate_hz,
                options=self._recipe.codec_options,
            )
            self._open_codec(audio_format.bitrate_bps)
        except BaseException:
            self._container.close()
            raise

    def _open_codec(self, bitrate_bps: int) -> None:
        if not isinstance(self._stream, AudioStream):
            raise TypeError(f"{self._recipe.codec} is not an audio codec")
        context = self._stream.codec_context
        context.format = self._recipe.sample_format
        context.layout = "mono"
        if bitrate_bps:
            context.bit_rate = bitrate_bps
        self._container.start_encoding()
        self._context = context
        self.block_samples = context.frame_size

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        self._feed(block)
        ready = self._packets_muxed - self._recipe.packets_held
        if ready - self._packets_out < self._recipe.packets_per_chunk:
            return []
        self._packets_out = ready
        return [self._take_chunk(ready)]

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        if len(rest):
            self._feed(rest)
        # LAME may add a packet of nothing but padding.
        self._mux([packet for packet in self._context.encode(None) if packet.duration])
        self._container.close()
        chunk = self._take_chunk(self._packets_muxed)
        return [chunk] if chunk.data else []

    def close(self) -> None:
        # Closing twice does nothing. The trailer of an unfinished stream goes nowhere.
        self._container.close()

    def _feed(self, block: NDArray[np.float32]) -> None:
        sample_format = self._recipe.sample_format
        samples = quantised(block) if sample_format.startswith("s16") else block
        frame = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1), format=sample_format, layout="mono"
        )
        frame.sample_rate = self._sample_rate_hz
        frame.pts = self._position
        self._position += len(block)
        self._mux(self._context.encode(frame))

    def _mux(self, packets: "Sequence[av.Packet[AudioStream]]") -> None:
        for packet in packets:
            if self._packets_muxed == 0 and self._recipe.declares_delay and packet.pts is not None:
                self._delay_samples = -packet.pts
            self._container.mux_one(packet)
            self._packets_muxed += 1

    def _take_chunk(self, packet_count: int) -> Chunk:
        end_sample = packet_count * self.block_samples - self._delay_samples
        return Chunk(self._sink.take(), max(0, end_sample))
