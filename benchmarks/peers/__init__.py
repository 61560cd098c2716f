"""Who is measured: the service, and what else speaks with the same voice.

Each peer is an asynchronous context manager in a file of its own. It starts the peer, as a process
where it is a server, and gives a `Speak`: called with a text, it yields the duration of each piece
of audio in ms, as it arrives. All speak with the default voice and its default settings.
"""

from peers.piper_http import piper_http
from peers.raw_piper import PoolShape, piper_pool, raw_piper
from peers.server_process import end_servers_on_sigterm
from peers.service import Service, service
from peers.wyoming_piper import wyoming_piper

__all__ = [
    "PoolShape",
    "Service",
    "end_servers_on_sigterm",
    "piper_http",
    "piper_pool",
    "raw_piper",
    "service",
    "wyoming_piper",
]
