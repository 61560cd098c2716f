"""A network that carries little: a TCP relay that reads from a server at a pace, or not at all."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["SlowNetwork", "slow_network"]

# What an Ethernet carries in a packet. Loopback's own 64 kB would let the kernel of the server
# buffer megabytes for each connection, which no real network makes it do.
_SEGMENT_BYTES = 1400
# The least that Linux gives is some 2 kB; with more the server is rid of its first seconds.
_RECEIVE_BUFFER_BYTES = 4096
_TICK_S = 0.1
_PIECE_BYTES = 1 << 16


class SlowNetwork:
    """A relay between clients and a server. What clients send passes at once.

    Args:
        server: HOST:PORT.
        bytes_per_s: what each connection gets from the server.

    Attributes:
        address: where clients connect.
        carried_bytes: what all connections have got so far.
        connection_count: how many are open.
    """

    def __init__(self, server: str, bytes_per_s: float) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes_per_s = bytes_per_s
        self._flows = asyncio.Event()
        self._flows.set()
        self.address = ""
        self.carried_bytes = 0
        self.connection_count = 0

    def stall(self) -> None:
        """Reads nothing more of the server. Connections stay open."""
        self._flows.clear()

    async def listen(self) -> None:
        """Accepts clients until it is cancelled."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            listener.setblocking(False)
            self.address = "{}:{}".format(*listener.getsockname())
            while True:
                client, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(self._relay(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.connection_count += 1
        try:
            with client, socket.socket() as server:
                client.setblocking(False)
                server.setblocking(False)
                # Both have to be known before the connection's window is.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
                with suppress(OSError):
                    await loop.sock_connect(server, self._server)
                    ways = [
                        asyncio.create_task(self._carry(client, server)),
                        asyncio.create_task(self._carry_slowly(server, client)),
                    ]
                    try:
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for way in ways:
                            way.cancel()
                        await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self.connection_count -= 1

    async def _carry(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _PIECE_BYTES):
            await loop.sock_sendall(target, data)

    async def _carry_slowly(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        piece_bytes = max(1, int(self._bytes_per_s * _TICK_S))
        while True:
            await self._flows.wait()
            if not (data := await loop.sock_recv(source, piece_bytes)):
                return
            self.carried_bytes += len(data)
            await loop.sock_sendall(target, data)
            await asyncio.sleep(len(data) / self._bytes_per_s)


@asynccontextmanager
async def slow_network(server: str, bytes_per_s: float) -> AsyncIterator[SlowNetwork]:
    """Relays to `server`, HOST:PORT, while the context is open."""
    network = SlowNetwork(server, bytes_per_s)
    listening = asyncio.create_task(network.listen())
    try:
        while not network.address:
            await asyncio.sleep(0)
            if listening.done():
                listening.result()
        yield network
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await network.close()
