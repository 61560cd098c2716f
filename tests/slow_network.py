"""A network that carries little, or nothing at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faulty_network import FaultyNetwork, Way, faulty_network

__all__ = ["slow_network"]


@asynccontextmanager
async def slow_network(server: str, bytes_per_s: float) -> AsyncIterator[FaultyNetwork]:
    """Relays to `server`, HOST:PORT, while the context is open; what clients send passes at once.

    Args:
        bytes_per_s: what each connection gets from the server.
    """
    way = Way(bytes_per_s=bytes_per_s)
    async with faulty_network(server, to_client=way, is_thin=True) as network:
        yield network
