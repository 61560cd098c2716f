"""Decides whether a stream of events is one whole, unaltered piece of speech.

Pure: it is fed events and knows nothing of where they come from. The order is one header, any
number of audio frames numbered from 0 without a gap, one summary. The bytes of all frames must
have the length and the CRC-32C (Castagnoli, RFC 3720 appendix B.4) that the summary states.
"""

from typing import NoReturn

import google_crc32c

from protos.tts.v1 import tts_pb2 as pb
from tts_client.errors import CorruptStream, TruncatedStream
from tts_client.speech_events import AudioFrame, Header, Summary


class StreamCheck:
    """The state of one stream: what has come, and what may come next."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.header: Header | None = None
        self.summary: Summary | None = None
        self._frame_count = 0
        self._byte_count = 0
        self._crc32c = 0

    def accept(self, response: pb.SynthesizeResponse) -> AudioFrame | None:
        """Takes the next event, and hands back the frame if it is one.

        An event of a kind that this client does not know is passed over: a newer server may have
        more to say. Raises `CorruptStream`.
        """
        kind = response.WhichOneof("event")
        if self.summary is not None:
            self._fail("an event came after the summary")
        if kind == "header":
            self._accept_header(response.header)
        elif kind == "audio":
            return self._accept_audio(response.audio)
        elif kind == "summary":
            self._accept_summary(response.summary)
        return None

    def end(self) -> None:
        """Takes the end of the stream. Raises `TruncatedStream` if that is too early."""
        if self.summary is None:
            raise TruncatedStream(
                f"the stream was cut off after {self._frame_count} frames, without a summary",
                request_id=self.request_id,
            )

    @property
    def final_summary(self) -> Summary:
        """The summary. Raises `RuntimeError` before it has come."""
        if self.summary is None:
            raise RuntimeError("there is no summary before the last frame has been read")
        return self.summary

    def _accept_header(self, message: pb.SynthesisHeader) -> None:
        if self.header is not None:
            self._fail("a second header came")
        self.header = Header.from_proto(message)
        self.request_id = self.header.request_id or self.request_id

    def _accept_audio(self, message: pb.AudioFrame) -> AudioFrame:
        if self.header is None:
            self._fail("audio came before the header")
        if message.sequence != self._frame_count:
            self._fail(f"frame {message.sequence} came in place of {self._frame_count}")
        frame = AudioFrame.from_proto(message)
        self._frame_count += 1
        self._byte_count += len(frame.data)
        self._crc32c = google_crc32c.extend(self._crc32c, frame.data)
        return frame

    def _accept_summary(self, message: pb.SynthesisSummary) -> None:
        if self.header is None:
            self._fail("the summary came before the header")
        if message.byte_count != self._byte_count:
            self._fail(f"{self._byte_count} bytes came of {message.byte_count} that were sent")
        if message.crc32c != self._crc32c:
            self._fail("the audio differs from the server's checksum")
        self.summary = Summary.from_proto(message)

    def _fail(self, message: str) -> NoReturn:
        raise CorruptStream(message, request_id=self.request_id)
