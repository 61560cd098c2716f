"""Settings: one frozen object, read once from flags, environment, file and defaults."""

from .cache import CacheSettings
from .connections import ConnectionSettings
from .engines import PiperSettings, ToneSettings, XttsSettings
from .load import ConfigError, describe_settings, load_settings
from .settings import Settings
from .uploads import UploadSettings

__all__ = [
    "CacheSettings",
    "ConfigError",
    "ConnectionSettings",
    "PiperSettings",
    "Settings",
    "ToneSettings",
    "UploadSettings",
    "XttsSettings",
    "describe_settings",
    "load_settings",
]
