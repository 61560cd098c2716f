"""The pure parts of an upload: files, messages, attempts, and the hand-over between threads."""

import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from protos.tts.v1 import tts_pb2 as pb
from tts_client import Consent, InvalidArgument, QualityReport, RetryPolicy, Voice, VoiceOrigin
from tts_client.attempts import Attempts
from tts_client.outbox import Outbox
from tts_client.recordings import find_recordings
from tts_client.upload import Upload

MIB = 1024 * 1024


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in (("a.wav", b"aaa"), ("b.mp3", b"bbbbb"), ("empty.wav", b"")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def make(recordings: Any, **overrides: Any) -> Upload:
    values = {"name": "Zoe", "language": "en", "voice_id": "", "consent": None, "request_id": "r"}
    return Upload.make(recordings, **{**values, **overrides})


def test_recordings_are_a_path_or_paths_or_either_by_style(files: Path) -> None:
    a, b = files / "a.wav", files / "b.mp3"

    def found(recordings: Any) -> list[tuple[str, Path, int]]:
        return [(r.style, r.path, r.size_bytes) for r in find_recordings(recordings)]

    assert found(a) == found(str(a)) == found([a]) == [("", a, 3)]
    assert found((str(b), a)) == [("", b, 5), ("", a, 3)]
    assert found(path for path in (b, a)) == [("", b, 5), ("", a, 3)]
    assert found({"sad": a}) == [("sad", a, 3)]
    assert found({"sad": [b, str(a)], "glad": b}) == [
        ("sad", b, 5),
        ("sad", a, 3),
        ("glad", b, 5),
    ]


@pytest.mark.parametrize("nothing", [[], {}, {"sad": []}], ids=repr)
def test_no_recording_at_all_is_refused(nothing: Any) -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        find_recordings(nothing)


def test_what_is_no_readable_file_is_refused_by_its_name(files: Path) -> None:
    os.mkfifo(files / "pipe")
    for name, kind in (
        ("none.wav", FileNotFoundError),
        (".", IsADirectoryError),
        ("pipe", OSError),
    ):
        with pytest.raises(kind) as caught:
            find_recordings([files / "a.wav", files / name])
        assert str(caught.value.filename) == str(files / name)


def test_the_messages_come_in_order_and_in_pieces(files: Path) -> None:
    long = os.urandom(2 * MIB + 1)
    (files / "long.flac").write_bytes(long)
    upload = make({"": files / "a.wav", "sad": [files / "long.flac", files / "empty.wav"]})

    messages = list(upload.messages())

    kinds = [message.WhichOneof("part") for message in messages]
    styles = [m.recording.style for m in messages if m.HasField("recording")]
    pieces = [message.data for message in messages if message.HasField("data")]
    assert kinds[:4] == ["metadata", "recording", "data", "recording"]
    assert kinds[-1] == "recording", "an empty file has no bytes, and is the server's to judge"
    assert styles == ["", "sad", "sad"]
    assert b"".join(pieces) == b"aaa" + long
    assert all(64 * 1024 <= len(piece) <= MIB for piece in pieces[1:-1])
    assert upload.total_bytes == 3 + len(long)
    assert list(upload.messages()) == messages, "an upload can be sent again"


def test_only_one_file_is_open_and_only_while_it_is_read(files: Path) -> None:
    upload = make([files / "a.wav", files / "b.mp3"])

    def opened() -> list[str]:
        links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
        names = [os.readlink(link) for link in links if os.path.lexists(link)]
        return [os.path.basename(name) for name in names if name.startswith(str(files))]

    messages = upload.messages()
    seen = [opened(), *(opened() for _ in messages)]
    assert seen == [[], [], [], ["a.wav"], [], ["b.mp3"]]
    assert opened() == []

    messages = upload.messages()
    while not next(messages).data:
        pass
    messages.close()
    assert opened() == []


def test_the_metadata_says_everything(files: Path) -> None:
    when = datetime(2026, 1, 2, 4, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    consent = Consent("Zoe Lee", "May speak.", "Ann Ray", when)

    metadata = make(files / "a.wav", voice_id="zoe", consent=consent).metadata

    expected = pb.VoiceMetadata(
        display_name="Zoe",
        language="en",
        voice_id="zoe",
        request_id="r",
        consent=pb.Consent(person="Zoe Lee", statement="May speak.", attested_by="Ann Ray"),
    )
    expected.consent.consent_time.FromJsonString("2026-01-02T03:04:05Z")
    assert metadata == expected
    assert not make(files / "a.wav").metadata.HasField("consent")


def test_a_consent_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Consent("Zoe", "May speak.", "Ann", datetime(2026, 1, 2))


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"name": "\ud800"}, "metadata.display_name"),
        ({"language": "\ud800"}, "metadata.language"),
        ({"voice_id": "\ud800"}, "metadata.voice_id"),
        (
            {"consent": Consent("Z", "\ud800", "A", datetime.now(UTC))},
            "metadata.consent.statement",
        ),
        ({"name": "x" * 5_000_000}, "metadata"),
    ],
)
def test_what_the_wire_cannot_carry_is_refused(
    files: Path, overrides: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make(files / "a.wav", **overrides)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_style_that_the_wire_cannot_carry_is_refused(files: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"recording\.style"):
        make({"\ud800": files / "a.wav"})


def test_a_voice_from_the_wire() -> None:
    report = pb.QualityReport(
        style="sad", signal_to_noise_db=0.0, warnings=[pb.QualityWarning(code="A", message="b")]
    )
    message = pb.Voice(
        id="zoe", origin=pb.VOICE_ORIGIN_UPLOADED, styles=["sad"], quality=[report, {}]
    )
    message.create_time.FromJsonString("2026-01-02T03:04:05.25Z")

    voice = Voice.from_proto(message)

    assert voice.origin is VoiceOrigin.UPLOADED
    assert voice.create_time == datetime(2026, 1, 2, 3, 4, 5, 250_000, UTC)
    assert [r.signal_to_noise_db for r in voice.quality] == [0.0, None]
    assert [(w.code, w.message) for w in voice.quality[0].warnings] == [("A", "b")]
    assert QualityReport.from_proto(report) == voice.quality[0]
    assert Voice.from_proto(pb.Voice(id="ada")).create_time is None


POLICY = RetryPolicy(max_attempts=4, initial_backoff_ms=100, max_backoff_ms=150)


def failure(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    retry_delay_ms: int | None = None,
    pushback: str | None = None,
) -> grpc.RpcError:
    status = status_pb2.Status(code=code.value[0], message="no")
    if retry_delay_ms is not None:
        delay = Duration()
        delay.FromMilliseconds(retry_delay_ms)
        status.details.add().Pack(details_pb.RetryInfo(retry_delay=delay))
    # Metadata of a synchronous call, whose entries have names.
    entry = type(
        "Entry", (tuple,), {"key": property(lambda e: e[0]), "value": property(lambda e: e[1])}
    )
    trailers = [entry(("grpc-status-details-bin", status.SerializeToString()))]
    if pushback is not None:
        trailers.append(entry(("grpc-retry-pushback-ms", pushback)))
    error = grpc.RpcError()
    error.code = lambda: code  # type: ignore[attr-defined]
    error.details = lambda: "no"  # type: ignore[attr-defined]
    error.trailing_metadata = lambda: tuple(trailers)  # type: ignore[attr-defined]
    return error


def test_the_waits_grow_to_their_limit_and_the_attempts_end() -> None:
    attempts = Attempts(POLICY, None)

    first, second, third = (attempts.wait_s(failure()) for _ in range(3))

    assert first == pytest.approx(0.1, rel=0.2)
    assert second == pytest.approx(0.15, rel=0.2)
    assert third == pytest.approx(0.15, rel=0.2)
    assert attempts.wait_s(failure()) is None


@pytest.mark.parametrize(
    "code",
    [c for c in grpc.StatusCode if c is not grpc.StatusCode.UNAVAILABLE],
    ids=lambda c: c.name,
)
def test_nothing_but_unavailable_is_tried_again(code: grpc.StatusCode) -> None:
    assert Attempts(POLICY, None).wait_s(failure(code, retry_delay_ms=10, pushback="10")) is None


@pytest.mark.parametrize(
    ("says", "wait_s"),
    [
        ({"retry_delay_ms": 2_500}, 2.5),
        ({"pushback": "300"}, 0.3),
        ({"pushback": "0"}, 0),
        ({"pushback": "300", "retry_delay_ms": 2_500}, 0.3),
        ({"pushback": "-1", "retry_delay_ms": 2_500}, None),
        ({"pushback": "soon"}, None),
    ],
    ids=str,
)
def test_the_server_may_set_the_wait_or_forbid_the_attempt(
    says: dict[str, Any], wait_s: float | None
) -> None:
    assert Attempts(POLICY, None).wait_s(failure(**says)) == wait_s


def test_a_retry_delay_never_shortens_the_wait() -> None:
    wait_s = Attempts(POLICY, None).wait_s(failure(retry_delay_ms=1))
    assert wait_s is not None
    assert wait_s >= 0.08


def test_an_attempt_that_would_come_too_late_is_not_waited_for() -> None:
    now = 100.0
    attempts = Attempts(POLICY, 3.0, clock=lambda: now)
    assert attempts.remaining_s == 3.0
    assert attempts.wait_s(failure(retry_delay_ms=2_000)) == 2.0
    now = 102.0
    assert attempts.remaining_s == 1.0
    assert attempts.wait_s(failure(retry_delay_ms=2_000)) is None
    now = 104.0
    assert attempts.remaining_s == 0.0


def test_the_outbox_hands_over_one_at_a_time_and_in_order() -> None:
    outbox: Outbox[int] = Outbox()
    put: list[int] = []

    def make_numbers() -> None:
        for number in range(100):
            assert outbox.put(number)
            put.append(number)
        outbox.close()

    maker = threading.Thread(target=make_numbers)
    maker.start()
    taken = []
    for number in outbox:
        assert len(put) <= number + 2, "no more than one waits"
        taken.append(number)
    maker.join(5)

    assert taken == list(range(100))
    assert not outbox.put(100)
    assert list(outbox) == []


def test_closing_the_outbox_frees_a_maker_that_waits() -> None:
    outbox: Outbox[int] = Outbox()
    results = [outbox.put(1)]
    maker = threading.Thread(target=lambda: results.append(outbox.put(2)))
    maker.start()
    outbox.close()
    maker.join(5)

    assert results == [True, False]
    assert list(outbox) == [1], "what was handed over before is still sent"
