"""All benches, one after another, and one table of their figures: `python -m bench [--quick] [--lab NAME]`.

Each runs as a process of its own, so that none measures what another left in memory. One that fails does not
keep the others from running; the exit status tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.figures import Figure, load, machine, markdown, table

FOLDER = Path(__file__).parent
FIRST = ("start", "fleet", "grid", "plots", "faults")
"""Those whose figures the project set itself, in their order; the others follow by name."""


def scripts(only: list[str]) -> list[Path]:
    """The benches to run. ValueError: there is none of such a name."""
    found = {path.stem.removeprefix("bench_"): path for path in FOLDER.glob("bench_*.py")}
    if unknown := set(only) - found.keys():
        raise ValueError(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(sorted(found))}")
    names = sorted(only or found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return [found[name] for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help="only these: start, fleet, grid, ...")
    parser.add_argument("--quick", action="store_true", help="small and few: whether they work")
    parser.add_argument("--lab", metavar="NAME", help="a lab that is up, instead of labs of our own")
    options = parser.parse_args()
    try:
        chosen = scripts(options.only)
    except ValueError as error:
        parser.error(str(error))
    words = ["--quick"] * options.quick + (["--lab", options.lab] if options.lab else [])
    before, failed = load(), []
    with tempfile.NamedTemporaryFile(prefix="virtfleet-bench-") as file:
        for script in chosen:
            print(f"== {script.stem}", flush=True)
            argv = [sys.executable, str(script), "--figures", file.name, *words]
            try:
                code = subprocess.run(argv, check=False).returncode
            except KeyboardInterrupt:
                return 130
            if code != 0:
                failed.append(script.stem)
        figures = [
            msgspec.json.decode(line, type=Figure) for line in Path(file.name).read_bytes().splitlines()
        ]
    where = f"{machine()}; load {before} at the start, {load()} at the end" + ("; --quick" * options.quick)
    print(f"\n{table(figures)}\n\n{where}\n\n{markdown(figures)}\n\nMeasured on {where}.")
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
