"""Reads the settings: flags win over `TTS_*` variables, those over the TOML file, that over the
defaults. What is unknown or out of range is refused."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from .group import Group
from .settings import ENV_PREFIX, Settings

__all__ = ["ConfigError", "describe_settings", "load_settings"]

CONFIG_FILE_ENV = "TTS_CONFIG"

# `TTS_CLIENT_*` belongs to the command-line client. The others are what Kubernetes sets in
# every pod of a namespace that has a Service called "tts" or "tts-something".
_FOREIGN_ENV = re.compile(
    r"TTS_(CLIENT_.+|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP)(_.+)?)?))"
)


class ConfigError(Exception):
    """The settings can't be used; the text says which and why, a line each."""


def load_settings(flags: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """Reads the settings.

    Args:
        flags: settings from the command line, by name; those that weren't given left out.

    Raises:
        ConfigError: a setting is unknown or can't be used.
    """
    if config_file is not None and not config_file.is_file():
        raise ConfigError(f"--config: there is no file {config_file}")

    class FromFile(Settings):
        """The settings with the file among their sources."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = TomlConfigSettingsSource(settings_cls, toml_file=config_file)
            return init_settings, env_settings, file

    _refuse_unknown_environment()
    try:
        return FromFile(**flags)
    except ValidationError as error:
        # An engine that isn't known is followed by a second error, that none is left.
        details = {_describe(detail) for detail in error.errors() if detail["type"] != "too_short"}
        raise ConfigError("\n".join(sorted(details) or ["engines: names none"])) from None
    except (
        SettingsError,
        ValueError,
    ) as error:  # a file that isn't TOML, a variable that isn't JSON
        raise ConfigError(f"{config_file or 'environment'}: {error}") from error


def describe_settings() -> list[str]:
    """Returns a line for each setting: its name in the file, its default, what it is."""
    return [
        f"{name:<30} {_show(field.get_default()):<18} {field.description}"
        for name, field in _all_fields().items()
    ]


def _show(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return "-" if default in (None, "") else str(default)


def _all_fields() -> dict[str, FieldInfo]:
    """All settings by their name in the file, groups dissolved: `piper.voices_dir`."""
    fields: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            group = field.annotation.model_fields
            fields |= {f"{name}.{inner}": inner_field for inner, inner_field in group.items()}
        else:
            fields[name] = field
    return fields


def _refuse_unknown_environment() -> None:
    names = (name.upper().replace(".", "__") for name in _all_fields())
    known = {f"{ENV_PREFIX}{name}" for name in names} | {CONFIG_FILE_ENV}
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX) and name not in known and not _FOREIGN_ENV.fullmatch(name)
    )
    if unknown:
        raise ConfigError(
            f"unknown environment variable{'s' if len(unknown) > 1 else ''} "
            f"{', '.join(unknown)}; known are: {', '.join(sorted(known))}"
        )


def _describe(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {detail['input']!r})"
