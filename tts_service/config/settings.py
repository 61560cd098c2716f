"""All settings, as one frozen object."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..ops.logging import LogFormat, LogLevel
from .admission import AdmissionSettings, QuotaSettings
from .auth import AuthSettings
from .cache import CacheSettings
from .connections import ConnectionSettings
from .engines import PiperSettings, ToneSettings, XttsSettings
from .tls import TlsSettings
from .tracing import TracingSettings
from .uploads import UploadSettings

__all__ = ["ENV_PREFIX", "Settings"]

ENV_PREFIX = "TTS_"

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}")


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
    worker_progress_timeout_s: float = Field(
        30.0,
        ge=0.5,
        le=3600.0,
        description="how long a worker may make no sound while it is waited for",
    )
    worker_drain_s: float = Field(
        5.0,
        ge=0.0,
        le=600.0,
        description="how long a worker that is replaced in good order may finish what it does",
    )
    worker_failure_limit: int = Field(
        5,
        ge=1,
        le=1_000_000,
        description="failures of an engine in a row, after which calls don't wait for it",
    )
    worker_retry_s: float = Field(
        30.0,
        ge=0.1,
        le=3600.0,
        description="time between the tries to start such an engine again",
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0.0, le=3600.0, description="how long calls may go on after SIGTERM"
    )
    reflection: bool = Field(True, description="whether grpcurl may ask for the contract")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field("auto", description="console, json, or auto: by terminal")
    log_text: bool = Field(
        False,
        description="whether the log also holds what is spoken; careful, that may be private",
    )
    metrics_listen: str = Field(
        "", description="HOST:PORT where Prometheus may read metrics; empty: nowhere"
    )
    admission: AdmissionSettings = AdmissionSettings()
    quotas: QuotaSettings = QuotaSettings()
    auth: AuthSettings = AuthSettings()
    tls: TlsSettings = TlsSettings()
    connections: ConnectionSettings = ConnectionSettings()
    uploads: UploadSettings = UploadSettings()
    cache: CacheSettings = CacheSettings()
    tracing: TracingSettings = TracingSettings()
    piper: PiperSettings = PiperSettings()
    tone: ToneSettings = ToneSettings()
    xtts: XttsSettings = XttsSettings()

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_folder(cls, path: object) -> object:
        if path == "":
            raise ValueError("is empty; leave it out for ./data")
        return path

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

    def memory_growth_bytes(self, engine: str) -> int:
        """How much the worker of this engine may grow; 0 for any amount."""
        match engine:
            case "xtts":
                return self.xtts.memory_growth_bytes
            case "tone":
                return self.tone.memory_growth_bytes
            case _:
                return self.piper.memory_growth_bytes

    @property
    def request_limit_bytes(self) -> int:
        """Of a request that is one message: its text in UTF-8, and room for all else."""
        return 4 * self.max_text_characters + (64 << 10)

    def engine_options(self, engine: str) -> dict[str, str]:
        """The options that the worker of this engine is started with."""
        match engine:
            case "xtts":
                return self.xtts.options(self.data_dir)
            case "tone":
                return self.tone.options()
            case _:
                return self.piper.options(self.data_dir)
