"""Settings: one frozen object, read once from flags, environment, file and defaults."""

from .admission import AdmissionSettings, QuotaLimits, QuotaSettings
from .cache import CacheSettings
from .engines import PiperSettings, ToneSettings, XttsSettings
from .load import ConfigError, describe_settings, load_settings
from .settings import Settings
from .uploads import UploadSettings

__all__ = [
    "AdmissionSettings",
    "CacheSettings",
    "ConfigError",
    "PiperSettings",
    "QuotaLimits",
    "QuotaSettings",
    "Settings",
    "ToneSettings",
    "UploadSettings",
    "XttsSettings",
    "describe_settings",
    "load_settings",
]
