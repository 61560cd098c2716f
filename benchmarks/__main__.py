"""Runs the benchmarks behind the README's claims, and writes their figures and the chart.

    python benchmarks [--only NAME] [--folder build/bench] [--chart docs/figures/bench.svg]

Each runs in a process of its own, one after another, 30 to 50 minutes on two cores. Leave
the machine alone meanwhile. `bench.md` holds what they print, and a JSON file each all figures.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from machine import Machine

_HERE = Path(__file__).parent
_ROOT = _HERE.parent


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One file of this folder.

    Attributes:
        name: of the file, without its suffix.
        flags: that keep it within its share of the time.
    """

    name: str
    flags: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("first_audio"),
    Benchmark("path", ("--runs", "20")),
    Benchmark("throughput", ("--seconds", "6", "--rounds", "8")),
    Benchmark("understood"),
    Benchmark("quality"),
    Benchmark("slow_readers", ("--seconds", "40")),
    Benchmark("overload", ("--seconds", "30")),
    Benchmark("cache", ("--part", "hits", "--rounds", "2")),
)


def main() -> int:
    """Run them, and say which failed. 0 if none did."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=names, action="append", help="this one; may be repeated")
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "bench")
    parser.add_argument("--chart", type=Path, default=_ROOT / "docs" / "figures" / "bench.svg")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [b for b in BENCHMARKS if b.name in (options.only or names)]
    failed = [benchmark.name for benchmark in wanted if not _run(benchmark, folder)]
    _write_summary(folder)
    figures = [folder / "first_audio.json", folder / "throughput.json"]
    if {"first_audio", "throughput"} & {b.name for b in wanted} and all(map(Path.exists, figures)):
        command = [sys.executable, str(_HERE / "chart.py"), *map(str, figures), str(options.chart)]
        if subprocess.run(command, check=False).returncode:
            failed.append("chart")
    print(f"\nwritten: {folder / 'bench.md'}", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _run(benchmark: Benchmark, folder: Path) -> bool:
    """Runs one and keeps what it prints; whether it went well."""
    print(f"\n{benchmark.name} ...", file=sys.stderr, flush=True)
    # Or the figures of an earlier run would stand for one that fails.
    figures, kept = folder / f"{benchmark.name}.json", folder / f"{benchmark.name}.md"
    figures.unlink(missing_ok=True)
    machine = Machine.here()
    command = [sys.executable, str(_HERE / f"{benchmark.name}.py"), *benchmark.flags]
    command += ["--json", str(figures)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    section = done.stdout.strip()
    if not section.startswith("## "):
        section = f"## {benchmark.name}.py\n\n```text\n{section}\n```"
    if done.returncode:
        section += "\n\nIt failed."
    kept.write_text(f"{section}\n\nCommit {machine.commit or 'unknown'}, {machine.date}.\n")
    return done.returncode == 0


def _write_summary(folder: Path) -> None:
    """Joins what the latest run of each has printed."""
    machine = Machine.here()
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    parts = [f"# Benchmarks\n\n{machine}, {machine.system}. {packages}.\n"]
    for benchmark in BENCHMARKS:
        kept = folder / f"{benchmark.name}.md"
        if kept.exists():
            parts.append(kept.read_text())
    (folder / "bench.md").write_text("\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
