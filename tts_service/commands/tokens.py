"""`tts-service tokens`: makes the tokens that callers show, and takes them back."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .duration import Duration
from .failure import EXIT_FAILURE, fail
from .places import read_settings

if TYPE_CHECKING:
    from ..identity import TokenFile, TokenRecord

__all__ = ["tokens"]

_SCOPES = ("speak", "voices", "admin")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class _Expiry(click.ParamType[datetime]):
    """A time to come: so far from now, or the end of a day."""

    name = "expiry"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        try:
            if _DATE.fullmatch(str(value)):
                day = datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC)
                expiry = day + timedelta(days=1)
            else:
                expiry = now + timedelta(seconds=Duration().convert(value, param, ctx))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no day of the calendar.", param, ctx)
        if expiry <= now:
            self.fail(f"{value!r} is over.", param, ctx)
        return expiry.replace(microsecond=0)


class _Name(click.ParamType[str]):
    """Who holds a token."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        from ..identity import NAME_PATTERN

        if re.fullmatch(NAME_PATTERN, str(value)) is None:
            self.fail(
                f"{value!r} is no name: 1 to 63 letters, digits, '.', '_' and '-', the first one"
                " a letter or a digit.",
                param,
                ctx,
            )
        return str(value)


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options `file` and `config_file`."""
    file = click.option(
        "--file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The file of tokens. Default: the server's, auth.tokens_file.",
    )
    config = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="TTS_CONFIG",
        help="The server's TOML file, for where that is.",
    )
    return file(config(command))


@click.group()
def tokens() -> None:
    """Make the tokens that callers show, list them, take them back.

    They lie in the file that the server's setting auth.tokens_file names, without their secrets. A
    running server takes a change in with the next call. Run these as the server's user.

    \b
    Exit status:
      0  done
      1  it failed: the file can't be read or written, there is no such token, or NAME has one
      2  wrong usage, or no file of tokens is named
    """


@tokens.command()
@click.argument("name", metavar="NAME", type=_Name())
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(_SCOPES),
    help="What it allows; may be given many times. speak: have text spoken. voices: store and"
    " delete voices. admin: everything.",
)
@click.option(
    "--expires",
    type=_Expiry(),
    metavar="WHEN",
    help="When it ends: in 12h, 90d, 26w, or with a day, 2027-01-31 (UTC).  [default: never]",
)
@click.option(
    "--another",
    is_flag=True,
    help="Though NAME has a token already: to change it while both are good.",
)
@_file_options
def add(
    name: str,
    scopes: tuple[str, ...],
    expires: datetime | None,
    another: bool,
    file: Path | None,
    config_file: Path | None,
) -> None:
    """Make a token for NAME and print it, once: only its hash is kept.

    The token alone goes to standard output, so that it can go straight to where it belongs:

    \b
      tts-service tokens add shop --scope speak > shop.token

    Every holder of the same NAME is one caller to logs and quotas.
    """
    from ..identity import Scope, Token, TokenRecord, TokenState

    now = datetime.now(UTC).replace(microsecond=0)
    token = Token.make()
    record = TokenRecord(
        id=token.id,
        name=name,
        sha256=token.sha256,
        scopes=tuple(scope for scope in Scope if scope.value in scopes),
        created=now,
        expires=expires,
    )

    def append(records: tuple["TokenRecord", ...]) -> tuple["TokenRecord", ...]:
        for other in records:
            if other.name == name and other.state(now) is TokenState.VALID and not another:
                fail(
                    f"{name} has the token {other.id} already; --another makes one beside it",
                    EXIT_FAILURE,
                )
        return (*records, record)

    place = _opened(file, config_file)
    _changed(place, append)
    click.echo(token.text)
    until = "until it is revoked" if expires is None else f"until {_time(expires)}"
    click.echo(
        f"{name}: token {token.id}, {', '.join(record.scopes)}, {until}. It is shown this once.",
        err=True,
    )


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, an object a line.")
@_file_options
def list_tokens(as_json: bool, file: Path | None, config_file: Path | None) -> None:
    """List the tokens: id, name, state, scopes, when they were made and when they end."""
    from ..identity import UnusableFileError

    try:
        records = _opened(file, config_file).read()
    except UnusableFileError as error:
        fail(str(error), EXIT_FAILURE)
    now = datetime.now(UTC)
    width = max(len(record.name) for record in records)
    for record in records:
        state = record.state(now).value
        if as_json:
            shown: dict[str, Any] = record.model_dump(mode="json", exclude={"sha256", "revoked"})
            click.echo(json.dumps(shown | {"state": state}))
            continue
        end = "-" if record.expires is None else _time(record.expires)
        scopes = ",".join(record.scopes)
        click.echo(
            f"{record.id}  {record.name:<{width}}  {state:<7}  {scopes:<18}  "
            f"{_time(record.created)}  {end}"
        )


@tokens.command()
@click.argument("which", metavar="NAME|ID")
@_file_options
def revoke(which: str, file: Path | None, config_file: Path | None) -> None:
    """Take back all tokens of NAME, or the one with this ID.

    They are refused from the next call on; streams that have begun go on to their end. A token
    can't be given back: make a new one.
    """
    revoked: list[TokenRecord] = []

    def mark(records: tuple["TokenRecord", ...]) -> tuple["TokenRecord", ...]:
        meant = [record for record in records if which in (record.name, record.id)]
        if not meant:
            fail(
                f"there is no token of {which!r}; `tts-service tokens list` shows all", EXIT_FAILURE
            )
        revoked.extend(record for record in meant if not record.revoked)
        return tuple(
            record.model_copy(update={"revoked": True}) if record in meant else record
            for record in records
        )

    _changed(_opened(file, config_file), mark)
    for record in revoked:
        click.echo(f"{record.name}: token {record.id} is revoked")
    if not revoked:
        click.echo(f"{which}: was revoked already")


def _opened(file: Path | None, config_file: Path | None) -> "TokenFile":
    """The file that the options mean. Exits if they mean none."""
    from ..identity import TokenFile

    path = file or read_settings(None, config_file).auth.tokens_file
    if path is None:
        fail(
            "no file of tokens is named: set auth.tokens_file (TTS_AUTH__TOKENS_FILE) for the "
            "server and for this, or give --file"
        )
    return TokenFile(path)


def _changed(place: "TokenFile", change: Callable[..., tuple["TokenRecord", ...]]) -> None:
    """Changes the file. Exits if that fails."""
    from ..identity import UnusableFileError

    try:
        place.change(change)
    except UnusableFileError as error:
        fail(str(error), EXIT_FAILURE)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
