"""What a client connects to, over which wire, and as whom."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio

from tts_client.channel import RetryPolicy, channel_options
from tts_client.tls import Tls

# What metadata can carry; the server's own tokens are shorter and plainer.
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class Connection:
    """How the channels of a client are made.

    options: of the channel.
    credentials: None: in the clear.
    metadata: of every call.
    """

    address: str
    options: list[tuple[str, str | int]]
    credentials: grpc.ChannelCredentials | None = None
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def make(
        cls,
        address: str,
        *,
        tls: Tls | bool,
        token: str | None,
        credentials: grpc.ChannelCredentials | None,
        retry: RetryPolicy,
    ) -> "Connection":
        """A connection as a client's arguments have it.

        Raises `ValueError` for arguments that do not go together, and for a token that would cross
        a network in the clear; `OSError` for a file of `tls` that cannot be read.
        """
        options = channel_options(retry)
        if is_local(address):
            # gRPC would ask the proxy of the environment for this machine's servers, too, and show
            # it the token.
            options.append(("grpc.enable_http_proxy", 0))
        if tls:
            if credentials is not None:
                raise ValueError("give tls or credentials, not both")
            settled = Tls() if tls is True else tls
            credentials, options = settled.credentials(), options + settled.options()
        if token is None:
            return cls(address, options, credentials)
        if _TOKEN.fullmatch(token) is None:
            raise ValueError("the token is not one: it is empty, or has spaces or odd characters")
        if credentials is not None:
            # gRPC hands these over on a wire that is encrypted, and on no other.
            bearer = grpc.access_token_call_credentials(token)
            return cls(address, options, grpc.composite_channel_credentials(credentials, bearer))
        if not is_local(address):
            raise ValueError(
                f"a token is not sent to {address} in the clear: give tls=True, or Tls(ca_file=...)"
            )
        return cls(address, options, None, (("authorization", f"Bearer {token}"),))

    def open(self) -> grpc.Channel:
        """A channel for the synchronous client."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, self.options)
        return grpc.secure_channel(self.address, self.credentials, self.options)

    def open_async(self) -> grpc.aio.Channel:
        """A channel for the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, self.options)


def is_local(target: str) -> bool:
    """Whether nobody but this machine can be behind a gRPC target. When in doubt, not."""
    scheme, separator, rest = target.partition(":")
    if separator and scheme in ("unix", "unix-abstract"):
        return True
    addresses: Sequence[str] = [target]
    if scheme in ("ipv4", "ipv6"):
        addresses = rest.split(",")
    elif scheme == "dns" and rest.startswith("///"):
        addresses = [rest.removeprefix("///")]
    return all(map(_is_loopback, addresses))


def _is_loopback(address: str) -> bool:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        host = address
    host = host.removeprefix("[").removesuffix("]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
