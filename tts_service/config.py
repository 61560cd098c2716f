"""Settings: one frozen object, read once from flags, environment, file and defaults.

Flags win over `TTS_*` variables, those over the TOML file, that over the defaults. What is
unknown or out of range is refused.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from .ops.logging import LogFormat, LogLevel

__all__ = [
    "CacheSettings",
    "ConfigError",
    "PiperSettings",
    "Settings",
    "ToneSettings",
    "UploadSettings",
    "XttsSettings",
    "describe_settings",
    "load_settings",
]

ENV_PREFIX = "TTS_"
CONFIG_FILE_ENV = "TTS_CONFIG"

# `TTS_CLIENT_*` belongs to the command-line client. The others are what Kubernetes sets in
# every pod of a namespace that has a Service called "tts" or "tts-something".
_FOREIGN_ENV = re.compile(
    r"TTS_(CLIENT_.+|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP)(_.+)?)?))"
)


_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}")


class ConfigError(Exception):
    """The settings can't be used; the text says which and why, a line each."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PiperSettings(_Group):
    """The engine `piper`."""

    voices_dir: Path | None = Field(
        None, description="folder with *.onnx voices beside the default one"
    )
    loaded_voices_limit: int = Field(4, ge=1, le=100, description="voices kept in memory")
    concurrent_renders: int = Field(
        0, ge=0, le=256, description="sentences rendered at once; 0: as many as there are cores"
    )

    def options(self, data_dir: Path) -> dict[str, str]:
        """As the worker's options."""
        return {
            "parts_dir": str((data_dir / "piper").absolute()),
            "voices_dir": "" if self.voices_dir is None else str(self.voices_dir.absolute()),
            "loaded_voices_limit": str(self.loaded_voices_limit),
            "concurrent_renders": str(self.concurrent_renders),
        }


class ToneSettings(_Group):
    """The engine `tone`, which is for tests."""

    real_time_factor: float = Field(
        0.0, ge=0.0, le=100.0, description="seconds that a second of audio takes"
    )

    def options(self) -> dict[str, str]:
        """As the worker's options."""
        return {"real_time_factor": str(self.real_time_factor)}


class XttsSettings(_Group):
    """The engine `xtts`."""

    checkpoint_dir: Path | None = Field(
        None, description="folder of the model; none: DATA_DIR/models/xtts-v2"
    )
    device: str = Field("auto", description="auto, cpu, cuda, or cuda:N for one of several GPUs")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto, float32 or bfloat16"
    )
    slots: int = Field(16, ge=1, le=256, description="sentences that are decoded at once")
    waiting_limit: int = Field(
        64, ge=0, le=4096, description="sentences that may wait for a slot; others are refused"
    )
    run_ahead_s: float = Field(
        20.0, ge=1.0, le=600.0, description="audio that a sentence may be ahead of its reader"
    )
    fixed_batch: bool = Field(
        False, description="a seed gives the same bytes under any load; few callers are slower"
    )

    @field_validator("device")
    @classmethod
    def _is_device(cls, value: str) -> str:
        if _DEVICE.fullmatch(value) is None:
            raise ValueError("is auto, cpu, cuda or cuda:N")
        return value

    def options(self, data_dir: Path) -> dict[str, str]:
        """As the worker's options."""
        checkpoint_dir = self.checkpoint_dir or data_dir / "models" / "xtts-v2"
        return {
            "checkpoint_dir": str(checkpoint_dir.absolute()),
            "device": self.device,
            "precision": self.precision,
            "slots": str(self.slots),
            "waiting_limit": str(self.waiting_limit),
            "run_ahead_s": str(self.run_ahead_s),
            "fixed_batch": str(self.fixed_batch).lower(),
        }


class CacheSettings(_Group):
    """What was spoken, kept."""

    enabled: bool = Field(True, description="whether speech is kept at all")
    dir: Path | None = Field(
        None, description="folder; servers may share one; none: DATA_DIR/cache"
    )
    size_limit_bytes: int = Field(1 << 30, ge=1 << 20, le=1 << 50, description="of all files in it")
    memory_limit_bytes: int = Field(
        64 << 20, ge=0, le=1 << 40, description="of the responses that are also in memory"
    )
    entry_limit_bytes: int = Field(
        16 << 20, ge=1 << 10, le=1 << 30, description="of a response; a larger one is not kept"
    )
    max_age_s: float = Field(
        0.0, ge=0.0, le=1e9, description="how long speech is kept; 0: while there is room"
    )

    def folder(self, data_dir: Path) -> Path:
        """Where it lies."""
        return self.dir or data_dir / "cache"


class UploadSettings(_Group):
    """Uploads of voices."""

    max_upload_bytes: int = Field(
        64 << 20, ge=1 << 16, le=4 << 30, description="bytes of all recordings of one upload"
    )
    max_recordings: int = Field(20, ge=1, le=64, description="recordings of one upload")
    max_duration_s: float = Field(
        600.0, ge=30.0, le=3600.0, description="length of all recordings of one upload, decoded"
    )
    max_concurrent: int = Field(2, ge=1, le=64, description="uploads at the same time")
    timeout_s: float = Field(
        300.0, gt=0.0, le=3600.0, description="how long the bytes of an upload may take"
    )
    prepare_timeout_s: float = Field(
        60.0, gt=0.0, le=600.0, description="how long decoding and preparing may take"
    )
    prepare_memory_bytes: int = Field(
        1 << 30, ge=1 << 28, le=64 << 30, description="memory of the process that does it"
    )
    consent_required: bool = Field(
        False, description="whether an upload without a consent is refused"
    )


class Settings(BaseSettings):
    """All settings of the server."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    listen: str = Field(
        "127.0.0.1:50051", description="HOST:PORT, or unix:PATH; port 0 takes a free one"
    )
    data_dir: Path = Field(
        Path("data"), description="folder for all that the server keeps; made if it is missing"
    )
    engines: Annotated[tuple[Literal["piper", "tone", "xtts"], ...], NoDecode] = Field(
        ("piper",), min_length=1, description="engines to start, the preferred first"
    )
    default_voice: str = Field(
        "", description="voice of requests that name none; empty: the first engine's first"
    )
    max_text_characters: int = Field(
        10_000, ge=1, le=1_000_000, description="longest text of a request"
    )
    render_ahead_ms: int = Field(
        5_000, ge=100, le=600_000, description="audio of one call that may wait for its encoder"
    )
    stall_limit_s: float = Field(
        30.0,
        ge=0.05,
        le=3600.0,
        description="how long a caller may take nothing of its stream before it is cut off",
    )
    engine_wait_s: float = Field(
        10.0, ge=0.0, le=600.0, description="how long a call waits for an engine that is starting"
    )
    worker_start_timeout_s: float = Field(
        120.0, gt=0.0, le=3600.0, description="how long a worker may take to be ready"
    )
    worker_health_interval_s: float = Field(
        5.0,
        ge=0.05,
        le=600.0,
        description="time between health checks; three without an answer end a worker",
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0.0, le=3600.0, description="how long calls may go on after SIGTERM"
    )
    reflection: bool = Field(True, description="whether grpcurl may ask for the contract")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field("auto", description="console, json, or auto: by terminal")
    metrics_listen: str = Field(
        "", description="HOST:PORT where Prometheus may read metrics; empty: nowhere"
    )
    uploads: UploadSettings = UploadSettings()
    cache: CacheSettings = CacheSettings()
    piper: PiperSettings = PiperSettings()
    tone: ToneSettings = ToneSettings()
    xtts: XttsSettings = XttsSettings()

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            return value
        if _ADDRESS.fullmatch(value) is None:
            raise ValueError("is written HOST:PORT, [IPV6]:PORT or unix:PATH")
        port = value.rpartition(":")[2]
        if int(port) > 65_535:  # gRPC would wrap it around
            raise ValueError(f"there is no port {port}; ports end at 65535")
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _is_tcp_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            raise ValueError("is written HOST:PORT or [IPV6]:PORT")
        return cls._is_address(value) if value else value

    @field_validator("engines", mode="before")
    @classmethod
    def _split_engines(cls, value: object) -> object:
        """`TTS_ENGINES=piper,tone`."""
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("engines")
    @classmethod
    def _engines_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names an engine twice")
        return value

    def engine_options(self, engine: str) -> dict[str, str]:
        """The options that the worker of this engine is started with."""
        match engine:
            case "xtts":
                return self.xtts.options(self.data_dir)
            case "tone":
                return self.tone.options()
            case _:
                return self.piper.options(self.data_dir)


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
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
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
