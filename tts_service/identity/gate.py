"""Lets callers in, or not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..errors import PermissionDenied, Unauthenticated
from .caller import ANONYMOUS, Caller
from .reloaded import Reloaded
from .rules import rule_for
from .scope import Scope
from .token import Token
from .token_record import TokenState
from .token_table import TokenTable

__all__ = ["Gate", "Presented"]

_SCHEME = "bearer "
_MAX_NAME_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Presented:
    """What a caller shows of itself.

    Attributes:
        authorization: the values of the metadata `authorization`.
        uris, dns_names, common_names: of the client's certificate, which TLS has verified.
    """

    authorization: tuple[str, ...] = field(default=(), repr=False)
    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    common_names: tuple[str, ...] = ()

    @property
    def certificate_name(self) -> str:
        """The certificate's name, "" without one: a URI, else a DNS name, else the common name."""
        return next(iter((*self.uris, *self.dns_names, *self.common_names)), "")


class Gate:
    """Knows callers by their tokens and certificates, and what each may do.

    A token, where one is presented, decides alone: a bad one is refused though the certificate is
    good. With neither tokens nor scopes for certificates everybody may do everything.

    Args:
        tokens: those that are known; None: none are asked for.
        certificate_scopes: what a verified client certificate allows by itself.
    """

    def __init__(
        self,
        tokens: Reloaded[TokenTable] | None = None,
        certificate_scopes: Collection[Scope] = (),
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._certificate_scopes = frozenset(certificate_scopes)
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether it asks nobody who they are."""
        return self._tokens is None and not self._certificate_scopes

    def identify(self, presented: Presented) -> Caller:
        """Says who it is.

        Raises:
            Unauthenticated: that can't be said.
        """
        if self.is_open:
            return ANONYMOUS
        if self._tokens is not None and presented.authorization:
            return self._holder(self._tokens.current(), presented.authorization)
        if not self._certificate_scopes:
            raise Unauthenticated("no token")
        name = presented.certificate_name
        if not name or len(name) > _MAX_NAME_CHARACTERS or not name.isprintable():
            raise Unauthenticated("no certificate with a name")
        return Caller(f"cert:{name}", self._certificate_scopes)

    def check(self, caller: Caller, method: str) -> None:
        """Lets a caller go on to a method.

        Raises:
            PermissionDenied: it may not, or there is no rule for the method.
        """
        rule = rule_for(method)
        if rule is None:
            raise PermissionDenied("nobody may call this method", reason="METHOD_CLOSED")
        if isinstance(rule, Scope) and not caller.may(rule):
            raise PermissionDenied(
                f"this needs the scope {rule.value!r}, which {caller.name!r} doesn't have",
                reason="SCOPE_MISSING",
            )

    def _holder(self, table: TokenTable, authorization: tuple[str, ...]) -> Caller:
        (value, *others) = authorization
        scheme, text = value[: len(_SCHEME)], value[len(_SCHEME) :]
        token = Token.parse(text.strip()) if scheme.lower() == _SCHEME else None
        if token is None or others:
            raise Unauthenticated("malformed token")
        record = table.find(token)
        if record is None:
            raise Unauthenticated("unknown token")
        state = record.state(self._clock())
        if state is not TokenState.VALID:
            raise Unauthenticated(f"{state} token", holder=record.name)
        return Caller(record.name, frozenset(record.scopes))
