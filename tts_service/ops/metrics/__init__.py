"""What Prometheus may read of the front. `docs/metrics.md` lists it all."""

from .calls import CallMetrics
from .listener import serve_metrics
from .metrics import CacheResult, Metrics
from .speech import RenderMeter, SpeechMetrics, StreamMeter
from .uploads import UploadMetrics

__all__ = [
    "CacheResult",
    "CallMetrics",
    "Metrics",
    "RenderMeter",
    "SpeechMetrics",
    "StreamMeter",
    "UploadMetrics",
    "serve_metrics",
]
