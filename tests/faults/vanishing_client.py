"""A client that is to be killed: begins a stream or an upload, says so, and waits for its end.

python -m tests.faults.vanishing_client ADDRESS stream|upload
"""

import sys
import time
from collections.abc import Iterator

import grpc

from protos.tts.v1 import tts_pb2, tts_pb2_grpc

_TEXT = ("Nobody will hear the end of this, and the beginning hardly. " * 170)[:10_000]


def main() -> None:
    """Holds a call midway until this process is killed."""
    address, kind = sys.argv[1:]
    stub = tts_pb2_grpc.TextToSpeechStub(grpc.insecure_channel(address))
    if kind == "stream":
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_TEXT))
        next(call)
        print("midway", flush=True)
        time.sleep(600)
    else:
        stub.UploadVoice(_half_an_upload())


def _half_an_upload() -> Iterator[tts_pb2.UploadVoiceRequest]:
    metadata = tts_pb2.VoiceMetadata(display_name="Anna", language="en")
    yield tts_pb2.UploadVoiceRequest(metadata=metadata)
    yield tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording())
    yield tts_pb2.UploadVoiceRequest(data=bytes(100_000))
    print("midway", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
