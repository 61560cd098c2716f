"""Settings: one frozen object, read once from flags, environment, file and defaults."""

from .cache import CacheSettings
from .engines import PiperSettings, ToneSettings, XttsSettings
from .load import ConfigError, describe_settings, load_settings
from .settings import Settings
from .tracing import TracingSettings
from .uploads import UploadSettings

__all__ = [
    "CacheSettings",
    "ConfigError",
    "PiperSettings",
    "Settings",
    "ToneSettings",
    "TracingSettings",
    "UploadSettings",
    "XttsSettings",
    "describe_settings",
    "load_settings",
]
