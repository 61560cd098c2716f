"""The arrows between the packages point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]

# Who may not import whom, and why it would hurt.
_FORBIDDEN = [
    ("audio_codec", ["grpc", "tts_service", "voice_store", "protos", "tts_client"]),
    ("voice_store", ["grpc", "protos", "tts_service", "tts_client"]),
    ("clients/python/tts_client", ["tts_service", "audio_codec", "voice_store", "numpy"]),
    (
        "tts_service/synthesis",
        ["grpc", "prometheus_client", "tts_service.api", "tts_service.engines", "torch"],
    ),
    (
        "tts_service/fleet",
        [
            "tts_service.api",
            "tts_service.synthesis",
            "tts_service.voices",
            "tts_service.engines",
            "voice_store",
        ],
    ),
    ("tts_service/voices", ["grpc", "tts_service.api", "tts_service.synthesis"]),
    ("tts_service/engines", ["tts_service.api", "tts_service.synthesis", "tts_service.fleet"]),
    (
        "tts_service/models",
        [
            "grpc",
            "numpy",
            "torch",
            "tts_service.api",
            "tts_service.synthesis",
            "tts_service.fleet",
            "tts_service.engines",
            "voice_store",
        ],
    ),
    (
        "tts_service/cache",
        [
            "grpc",
            "numpy",
            "protos",
            "tts_service.api",
            "tts_service.synthesis",
            "tts_service.fleet",
            "tts_service.voices",
        ],
    ),
    (
        "tts_service/admission",
        [
            "grpc",
            "numpy",
            "torch",
            "tts_service.api",
            "tts_service.synthesis",
            "tts_service.fleet",
            "tts_service.engines",
            "tts_service.ops",
        ],
    ),
    (
        "tts_service/identity",
        [
            "grpc",
            "protos",
            "tts_service.api",
            "tts_service.config",
            "tts_service.synthesis",
            "tts_service.fleet",
            "tts_service.voices",
        ],
    ),
    ("tts_service/ops", ["tts_service.api", "tts_service.synthesis", "tts_service.fleet"]),
    ("tts_service/ops/tracing.py", ["opentelemetry"]),
    ("tts_service/synthesis/plan.py", ["numpy", "audio_codec", "tts_service.fleet"]),
    (
        "tts_service/text",
        ["grpc", "numpy", "tts_service.synthesis", "tts_service.fleet", "tts_service.engines"],
    ),
]


def _imports(file: Path) -> set[str]:
    package = file.relative_to(_ROOT).with_suffix("").parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("place", "forbidden"), _FORBIDDEN)
def test_arrows_point_one_way(place: str, forbidden: list[str]) -> None:
    path = _ROOT / place
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert files
    for file in files:
        for name in _imports(file):
            for other in forbidden:
                assert name != other, f"{file} imports {name}"
                assert not name.startswith(f"{other}."), f"{file} imports {name}"


def test_the_front_imports_no_engine() -> None:
    code = (
        "import sys, tts_service.server\n"
        "print(sorted(m for m in sys.modules if m.startswith('tts_service.engines')\n"
        "      or m.split('.')[0] in ('onnxruntime', 'torch', 'piper')))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_each_file_is_one_noun() -> None:
    for folder in ("tts_service", "audio_codec", "voice_store", "clients"):
        for file in (_ROOT / folder).rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 400, f"{file} is too long"
