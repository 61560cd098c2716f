"""A server that gRPC has ended doesn't stay behind as a process that nobody can reach."""

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.fuzz.wire_frames import message, request
from tests.fuzz.wire_peer import Peer

# Without what keeps paths that are no text from gRPC's loop, one of them ends it.
_PROGRAM = """
import grpc.aio
import tts_service.server
from tts_service.__main__ import main

tts_service.server.make_grpc_server = lambda interceptors, options: grpc.aio.server(
    interceptors=interceptors, options=options
)
main()
"""


def test_the_process_ends_with_it(tmp_path: Path) -> None:
    arguments = ("serve", "--engine", "tone", "--listen", "127.0.0.1:0", "--data-dir", "data")
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"ready on (\S+)", process.stdout.readline())
            assert match is not None
            with closing(Peer(match[1])) as peer:
                peer.greet()
                path = {":path": b"/tts.v1.TextToSpeech/\x83"}
                peer.call(1, request("GetServerInfo", **path), message(b""))
            # gRPC waits for those who are connected.
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "gRPC has ended its server by itself" in log
