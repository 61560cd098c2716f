"""Where the server keeps things, as the commands beside it find out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .failure import fail

if TYPE_CHECKING:
    from ..config import Settings

__all__ = ["places", "read_settings"]


def places(command: Callable[..., None]) -> Callable[..., None]:
    """The options `data_dir` and `config_file`."""
    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The server's data folder. Default: as the server's, ./data.",
    )
    config = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="TTS_CONFIG",
        help="The server's TOML file, for where it keeps things.",
    )
    return data_dir(config(command))


def read_settings(data_dir: Path | None, config_file: Path | None) -> "Settings":
    """The settings of the server that these options mean. Exits if they can't be used."""
    from ..config import ConfigError, load_settings

    given = {} if data_dir is None else {"data_dir": data_dir}
    try:
        return load_settings(given, config_file)
    except ConfigError as error:
        fail(str(error))
