"""Somebody who calls."""

from dataclasses import dataclass

from .scope import Scope

__all__ = ["ANONYMOUS", "Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls.

    Attributes:
        name: the token's, or `cert:` and the certificate's; "" for everybody of a server that
            asks nobody who they are.
        scopes: what they were given.
    """

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether they may do what needs `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANONYMOUS = Caller("", frozenset(Scope))
