"""Settings: one frozen object, read once from flags, environment, file and defaults."""

from .admission import AdmissionSettings, QuotaLimits, QuotaSettings
from .auth import AuthSettings
from .cache import CacheSettings
from .connections import ConnectionSettings
from .engines import PiperSettings, ToneSettings, XttsSettings
from .load import ConfigError, describe_settings, load_settings
from .settings import Settings
from .tls import TlsSettings
from .tracing import TracingSettings
from .uploads import UploadSettings

__all__ = [
    "AdmissionSettings",
    "AuthSettings",
    "CacheSettings",
    "ConfigError",
    "ConnectionSettings",
    "PiperSettings",
    "QuotaLimits",
    "QuotaSettings",
    "Settings",
    "TlsSettings",
    "ToneSettings",
    "TracingSettings",
    "UploadSettings",
    "XttsSettings",
    "describe_settings",
    "load_settings",
]
