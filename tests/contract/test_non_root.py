"""The server as its container runs it: any user, no rights, nothing to write to but its data.

Where there is root to make a mount namespace with, the server gets a root directory of its own:
system, interpreter and source, all read-only, and one folder that it owns.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protos.tts.v1 import tts_pb2
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess
from tests.speech import speak

_ROOT = Path(__file__).parents[2]
_UID = 10001


def _installed_root() -> str:
    """Where the environment finds the packages by itself, as a sandbox does."""
    code = "import audio_codec; print(audio_codec.__path__[0])"
    command = [sys.executable, "-I", "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(Path(process.stdout.strip()).parent)


# Everything that a server needs to see: what a base image and a virtual environment have.
_SEEN = [
    *("/usr", "/etc"),
    *(path for path in ("/bin", "/lib", "/lib64", "/sbin") if not Path(path).is_symlink()),
    *sorted({sys.base_prefix, sys.prefix, str(_ROOT), _installed_root()}),
]
_ENTER = r"""
set -eu
root=$1; data=$2; shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
    shift
done
shift
for link in bin lib lib64 sbin; do
    if [ -L "/$link" ]; then cp -P "/$link" "$root/$link"; fi
done
mkdir "$root/proc" "$root/dev" "$root/data"
mount -t proc none "$root/proc"
for device in null zero urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$data" "$root/data"
mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups \
    --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def _may_enter() -> bool:
    if os.geteuid() != 0:
        return False
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not _may_enter(), reason="needs root and mount namespaces, to make a root to be locked into"
)


@contextmanager
def _entered(folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    root, data = folder / "root", folder / "data"
    root.mkdir(exist_ok=True)
    if not data.exists():
        data.mkdir(mode=0o700)
        os.chown(data, _UID, _UID)
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            [
                *("unshare", "--mount", "sh", "-c", _ENTER, "sh"),
                *(str(root), str(data), *_SEEN, "--", *command),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{_ROOT}:{_ROOT}/clients/python",
                # As in the Containerfile.
                "HOME": "/data",
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": "/data",
                "TTS_DATA_DIR": "/data",
            },
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def _server(folder: Path) -> Iterator[ServerProcess]:
    command = (sys.executable, "-m", "tts_service", "serve", "--listen", "127.0.0.1:0")
    with _entered(folder, *command) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield ServerProcess(process, line, folder / "server.log", folder / "data")
    assert process.returncode == 0


def test_the_root_is_locked(tmp_path: Path) -> None:
    """What the test rests on: nobody there can write but to their data."""
    code = (
        "import os\n"
        "print(os.getuid(), os.getgid(), os.getgroups())\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('CapBnd')).split()[1])\n"
        f"for folder in ['/', '/dev', '/usr', '/etc', {str(_ROOT)!r}, '/tmp', '/root', '/data']:\n"
        "    try: open(folder + '/probe', 'w'); print(folder)\n"
        "    except OSError: pass\n"
    )
    with _entered(tmp_path, sys.executable, "-c", code) as process:
        output, _ = process.communicate(timeout=20)
    assert output.splitlines() == [f"{_UID} {_UID} []", "0" * 16, "/data"]


def test_it_needs_nothing_but_its_data_folder(tmp_path: Path) -> None:
    recording = audio_file(AudioFileKind.FLAC, speech().samples, SAMPLE_RATE_HZ)
    with _server(tmp_path) as server:
        status = Path(f"/proc/{server.workers()[0].pid}/status").read_text()
        assert f"Uid:\t{_UID}\t{_UID}\t{_UID}\t{_UID}" in status
        with server.stub() as stub:
            said = speak(stub, text="Nobody in particular says this.")
            assert said.summary.audio_ms > 500
            stub.UploadVoice(upload_parts(recording, voice_id="anna"), timeout=60)
    with _server(tmp_path) as server, server.stub() as stub:
        again = speak(stub, text="Nobody in particular says this.", cache=tts_pb2.CACHE_MODE_ONLY)
        assert again.data == said.data
        assert stub.GetVoice(tts_pb2.GetVoiceRequest(voice="anna")).voice.id == "anna"
    assert "Traceback" not in server.log
    assert "warning" not in server.log
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left <= {"cache", "piper", "spool", "voices"}
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_uid == _UID
