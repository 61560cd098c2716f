"""The settings that all commands share, and the options that set them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from tts_client.aio import AsyncClient
from tts_client.client import Client
from tts_client.connection import is_local
from tts_client.tls import Tls

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", Client, AsyncClient)

# A lookup that takes longer than this has gone wrong.
LOOKUP_TIMEOUT_S = 30.0

TOKEN_VARIABLE = "TTS_CLIENT_TOKEN"

_FILE = click.Path(dir_okay=False, path_type=Path)
# How a server is reached, beside its address: the option's name is the field of `Settings`.
_CONNECTION: dict[str, dict[str, Any]] = {
    "token_file": {
        "type": _FILE,
        "metavar": "FILE",
        "help": f"Tell who calls with the token in FILE.  [default: the variable {TOKEN_VARIABLE}]",
    },
    "tls": {"is_flag": True, "help": "Use TLS, with a server that a public authority knows."},
    "ca": {
        "type": _FILE,
        "metavar": "FILE",
        "help": "Use TLS, with a server that the authorities in FILE (PEM) know.",
    },
    "cert": {
        "type": _FILE,
        "metavar": "FILE",
        "help": "Use TLS, and show the certificate in FILE (PEM); needs --key.",
    },
    "key": {"type": _FILE, "metavar": "FILE", "help": "The private key of --cert (PEM)."},
}


@dataclass(slots=True)
class Settings:
    """What the options of the group, or the same ones after a command, have settled."""

    server: str
    token_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def client(self, **arguments: Any) -> Client:
        """A client of the server. The arguments are `Client`'s."""
        return self._made(Client, arguments)

    def async_client(self, **arguments: Any) -> AsyncClient:
        """A client of the server. The arguments are `AsyncClient`'s."""
        return self._made(AsyncClient, arguments)

    def _made(self, make: Callable[..., C], arguments: dict[str, Any]) -> C:
        try:
            return make(self.server, **self._connection(), **arguments)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error

    def _connection(self) -> dict[str, Any]:
        if (self.cert is None) is not (self.key is None):
            raise click.UsageError("--cert and --key go together.")
        tls = Tls(self.ca, self.cert, self.key) if self.ca or self.cert else self.tls
        token = self._token()
        if token and not tls and not is_local(self.server):
            raise click.UsageError(
                f"The token is not sent to {self.server} in the clear: give --tls, or --ca FILE."
            )
        return {"tls": tls, "token": token or None}

    def _token(self) -> str:
        if self.token_file is None:
            return os.environ.get(TOKEN_VARIABLE, "").strip()
        token = self.token_file.read_text(encoding="utf-8", errors="replace").strip()
        if not token.isascii() or len(token.split()) != 1:
            raise click.UsageError(f"{self.token_file} holds no token.")
        return token


def connection_options(command: F) -> F:
    """The options of `_CONNECTION`, for the group, each with a variable."""
    for name, attributes in reversed(_CONNECTION.items()):
        command = click.option(
            _flag(name), envvar=f"TTS_CLIENT_{name.upper()}", show_envvar=True, **attributes
        )(command)
    return command


def server_option(command: F) -> F:
    """Lets `--server`, and how it is reached, stand after the command as well as before it."""

    def override(ctx: click.Context, param: click.Parameter, value: object) -> None:
        if value and not ctx.resilient_parsing:
            setattr(ctx.obj, str(param.name), value)

    for name, attributes in reversed(_CONNECTION.items()):
        command = click.option(
            _flag(name),
            expose_value=False,
            callback=override,
            **attributes | {"hidden": True},
        )(command)
    return click.option(
        "--server",
        metavar="HOST:PORT",
        expose_value=False,
        callback=override,
        help="Server to ask, as before the command. So may stand here --token-file, --tls, --ca,"
        " --cert and --key.",
    )(command)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
