"""A network that fails: a TCP relay between clients and a server, with faults for each way.

A `Way` says what happens to the bytes of one direction: they are late, slow, cut into slivers, come
to a stop, or are cut off with a reset. Ways can be exchanged while connections are open. It works
on bytes and knows nothing of what they mean.
"""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

__all__ = ["FaultyNetwork", "Way", "faulty_network", "faulty_network_thread"]

# What an Ethernet carries in a packet. Loopback's own 64 kB would let the kernel of the server
# buffer megabytes for each connection, which no real network makes it do.
_SEGMENT_BYTES = 1400
# The least that Linux gives is some 2 kB; with more the server is rid of its first seconds.
_RECEIVE_BUFFER_BYTES = 4096
_TICK_S = 0.1
_PIECE_BYTES = 1 << 16
# What is on the way where there is latency.
_PIECES_ON_THE_WAY = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to the bytes of one direction. By default they pass.

    Attributes:
        latency_ms: how late each byte is.
        bytes_per_s: how many pass; None for as many as come.
        slice_bytes: the most that is sent at once, each time as a segment of its own; None for
            no limit.
        cut_after_bytes: when so many of a connection have passed, both its ends are reset.
        halt_after_bytes: when so many have passed, nothing more does. The connection stays open.
        close_after_s: how late the other end hears that this one has closed.
    """

    latency_ms: float = 0.0
    bytes_per_s: float | None = None
    slice_bytes: int | None = None
    cut_after_bytes: int | None = None
    halt_after_bytes: int | None = None
    close_after_s: float = 0.0


class _ConnectionCutError(Exception):
    """The connection is to be reset."""


class FaultyNetwork:
    """A relay between clients and a server.

    Args:
        server: HOST:PORT.
        is_thin: whether little fits between the server and the relay, as on a real network.

    Attributes:
        to_server, to_client: what happens on each way; may be exchanged at any time, though
            whether there is latency holds for a connection from its start.
        address: where clients connect.
        carried_bytes: what all clients have got so far.
        connection_count: how many connections are open.
    """

    def __init__(
        self,
        server: str,
        *,
        to_server: Way | None = None,
        to_client: Way | None = None,
        is_thin: bool = False,
    ) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._is_thin = is_thin
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.to_server = to_server or Way()
        self.to_client = to_client or Way()
        self.address = ""
        self.carried_bytes = 0
        self.connection_count = 0

    def stall(self) -> None:
        """Reads nothing more of the server. Connections stay open."""
        self._flows.clear()

    def flow(self) -> None:
        """Reads on."""
        self._flows.set()

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
                for end in (client, server):
                    end.setblocking(False)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._is_thin:
                    # Both have to be known before the connection's window is.
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
                with suppress(OSError):
                    await loop.sock_connect(server, self._server)
                    await self._carry_both_ways(client, server)
        finally:
            self.connection_count -= 1

    async def _carry_both_ways(self, client: socket.socket, server: socket.socket) -> None:
        ways = [
            asyncio.create_task(_Carrier(self, "to_server").carry(client, server)),
            asyncio.create_task(_Carrier(self, "to_client").carry(server, client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ends = await asyncio.gather(*ways, return_exceptions=True)
        if any(isinstance(end, _ConnectionCutError) for end in ends):
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    async def _allows(self, direction: str) -> None:
        if direction == "to_client":
            await self._flows.wait()

    def _carried(self, direction: str, count: int) -> None:
        if direction == "to_client":
            self.carried_bytes += count


class _Carrier:
    """Carries the bytes of one connection in one direction until its source closes."""

    def __init__(self, network: FaultyNetwork, direction: str) -> None:
        self._network = network
        self._direction = direction
        self._passed_bytes = 0
        # With nothing on the way, who sends feels at once that nobody takes it.
        has_latency = self._way.latency_ms > 0
        self._on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            _PIECES_ON_THE_WAY if has_latency else 1
        )

    @property
    def _way(self) -> Way:
        return getattr(self._network, self._direction)

    async def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Returns when the source has closed and the target may know it.

        Raises:
            _ConnectionCutError: both ends are to be reset.
        """
        taking = asyncio.create_task(self._take(source))
        giving = asyncio.create_task(self._give(target))
        try:
            await asyncio.wait({taking, giving}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done() and not giving.done():
                taking.result()
                await asyncio.wait({giving})
            giving.result()
            await asyncio.sleep(self._way.close_after_s)
        finally:
            for task in (taking, giving):
                task.cancel()
            await asyncio.gather(taking, giving, return_exceptions=True)

    async def _take(self, source: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._network._allows(self._direction)
            way = self._way
            count = await self._count(way)
            data = await loop.sock_recv(source, count)
            self._passed_bytes += len(data)
            self._network._carried(self._direction, len(data))
            await self._on_the_way.put((time.monotonic() + way.latency_ms / 1000, data))
            if not data:
                return
            if way.bytes_per_s is not None:
                await asyncio.sleep(len(data) / way.bytes_per_s)

    async def _count(self, way: Way) -> int:
        """How many bytes may be read now. Waits for ever where nothing more may pass."""
        count = _PIECE_BYTES
        if way.bytes_per_s is not None:
            count = max(1, int(way.bytes_per_s * _TICK_S))
        if way.cut_after_bytes is not None:
            if self._passed_bytes >= way.cut_after_bytes:
                raise _ConnectionCutError
            count = min(count, way.cut_after_bytes - self._passed_bytes)
        if way.halt_after_bytes is not None:
            if self._passed_bytes >= way.halt_after_bytes:
                await asyncio.Event().wait()
            count = min(count, way.halt_after_bytes - self._passed_bytes)
        return count

    async def _give(self, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s, data = await self._on_the_way.get()
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if not data:
                return
            step = self._way.slice_bytes or len(data)
            for start in range(0, len(data), step):
                await loop.sock_sendall(target, data[start : start + step])


@asynccontextmanager
async def faulty_network(
    server: str,
    *,
    to_server: Way | None = None,
    to_client: Way | None = None,
    is_thin: bool = False,
) -> AsyncIterator[FaultyNetwork]:
    """Relays to `server`, HOST:PORT, while the context is open."""
    network = FaultyNetwork(server, to_server=to_server, to_client=to_client, is_thin=is_thin)
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


@contextmanager
def faulty_network_thread(
    server: str,
    *,
    to_server: Way | None = None,
    to_client: Way | None = None,
    is_thin: bool = False,
) -> Iterator[FaultyNetwork]:
    """`faulty_network` in a thread of its own. Of the network, use attributes alone."""
    ready: list[FaultyNetwork] = []
    begun, over = threading.Event(), threading.Event()

    async def relay() -> None:
        async with faulty_network(
            server, to_server=to_server, to_client=to_client, is_thin=is_thin
        ) as network:
            ready.append(network)
            begun.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(relay(),), name="network")
    thread.start()
    try:
        if not begun.wait(10):
            raise RuntimeError("the network does not begin")
        yield ready[0]
    finally:
        over.set()
        thread.join()
