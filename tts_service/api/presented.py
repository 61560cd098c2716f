"""What a caller shows of itself, as gRPC hands it over."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..identity import Presented

__all__ = ["presented_by"]

_AUTHORIZATION = "authorization"
# The names that gRPC gives to the parts of a verified certificate. `peer_uri` and `peer_dns` are
# its subject alternative names, by their kinds.
_URI, _DNS, _COMMON_NAME = "peer_uri", "peer_dns", "x509_common_name"


def presented_by(metadata: Any, certificate: Mapping[str, Iterable[bytes]]) -> Presented:
    """Reads the metadata of a call, and the certificate of its connection."""

    def names(key: str) -> tuple[str, ...]:
        return tuple(_text(value) for value in certificate.get(key, ()))

    return Presented(
        authorization=tuple(_text(value) for key, value in metadata if key == _AUTHORIZATION),
        uris=names(_URI),
        dns_names=names(_DNS),
        common_names=names(_COMMON_NAME),
    )


def _text(value: str | bytes) -> str:
    # What is no UTF-8 becomes characters that neither a token nor a name has.
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
