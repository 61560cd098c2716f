"""How much of its speech is understood: word error rate of whisper-tiny, by format.

    python benchmarks/understood.py [--server HOST:PORT] [--json FILE]

Speaks thirty sentences in the default voice, through WAV, MP3 at its default bitrate and
Opus at 24 kb/s. Without `--server` it starts a server of its own. Ends with status 1 if a
format's rate is above the limit.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tests.engines.understood import (
    FORMATS,
    SENTENCES,
    Hearing,
    Listener,
    decode,
    word_error_rate,
)
from tests.server_process import running_server
from tests.speech import speak

MAX_WORD_ERROR_RATE = 0.10


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", metavar="HOST:PORT", help="a server that is already running")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sentence's result")
    options = parser.parse_args()
    with ExitStack() as stack:
        address = options.server
        if address is None:
            folder = stack.enter_context(TemporaryDirectory())
            address = stack.enter_context(running_server(Path(folder))).address
        results = measure(address)
    print_table(results)
    rates = {name: word_error_rate(hearings) for name, hearings in results.items()}
    if options.json:
        report = {
            name: {"word_error_rate": rates[name], "sentences": [asdict(h) for h in hearings]}
            for name, hearings in results.items()
        }
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return int(max(rates.values()) > MAX_WORD_ERROR_RATE)


def measure(address: str) -> dict[str, list[Hearing]]:
    """Speak and hear all sentences in all formats."""
    listener = Listener()
    results: dict[str, list[Hearing]] = {name: [] for name in FORMATS}
    with grpc.insecure_channel(address) as channel:
        stub = TextToSpeechStub(channel)
        for sentence in SENTENCES:
            for name, audio_format in FORMATS.items():
                speech = speak(stub, text=sentence, format=audio_format)
                results[name].append(listener.hear(sentence, decode(speech.data)))
    return results


def print_table(results: dict[str, list[Hearing]]) -> None:
    """Print a row for each format, then what was misheard."""
    print(f"{'format':<18}{'words':>8}{'errors':>8}{'word error rate':>18}")
    for name, hearings in results.items():
        words = sum(len(hearing.sentence.split()) for hearing in hearings)
        errors = sum(hearing.errors for hearing in hearings)
        print(f"{name:<18}{words:>8}{errors:>8}{word_error_rate(hearings):>17.1%}")
    for name, hearings in results.items():
        for hearing in sorted(hearings, key=lambda h: -h.errors):
            if hearing.errors:
                print(f"\n{name}, {hearing.errors} wrong\n  {hearing.sentence}\n  {hearing.heard}")


if __name__ == "__main__":
    sys.exit(main())
