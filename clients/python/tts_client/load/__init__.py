"""Load on a speech service, and what its callers hear.

    from tts_client import AsyncClient, RetryPolicy
    from tts_client.load import SENTENCES, GrpcSpeak, closed_loop

    async with AsyncClient(retry=RetryPolicy(max_attempts=1)) as client:
        speak = GrpcSpeak(client, cache="bypass")
        report = await closed_loop(speak, SENTENCES, callers=4, duration_s=20)
    print(report.first_audio_ms(95), report.underruns, report.audio_per_s)

Any server can be measured that there is a `Speak` for. `tts bench` does all this from a shell.
"""

from tts_client.load.arrivals import open_loop
from tts_client.load.callers import closed_loop
from tts_client.load.grpc_speak import GrpcSpeak
from tts_client.load.listening import NOT_STARTED, Listener, Listening
from tts_client.load.measurement import OnListening
from tts_client.load.ramp import FIRST_AUDIO_LIMIT_MS, heard_in_time, ramp, ramp_steps
from tts_client.load.report import LoadReport, percentile
from tts_client.load.speak import Speak
from tts_client.load.texts import SENTENCES, in_turn

__all__ = [
    "FIRST_AUDIO_LIMIT_MS",
    "NOT_STARTED",
    "SENTENCES",
    "GrpcSpeak",
    "Listener",
    "Listening",
    "LoadReport",
    "OnListening",
    "Speak",
    "closed_loop",
    "heard_in_time",
    "in_turn",
    "open_loop",
    "percentile",
    "ramp",
    "ramp_steps",
]
