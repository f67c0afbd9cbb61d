"""Imports point one way, the engine knows no screen, and each stream has one owner."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCREEN = {"textual", "rich", "virtfleet_tui"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'core'}:{ROOT / 'tui'}"}


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def imported(stderr: str) -> set[str]:
    """Modules that `-X importtime` reports; unlike sys.modules it also survives os._exit."""
    lines = (
        line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")
    )
    return set(lines)


def test_the_contracts_of_import_linter_hold() -> None:
    done = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_of_the_engine_brings_a_screen() -> None:
    """Every module of core/ at once, with what it imports."""
    code = """
import importlib, pkgutil, sys
import virtfleet
for module in pkgutil.walk_packages(virtfleet.__path__, "virtfleet."):
    if not module.name.endswith("_main"):
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.split())
    assert "libvirt" in found
    assert SCREEN & found == set()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("vm --help", 0),
        ("host list --demo", 0),
        ("vm list --demo --output json", 0),
        ("vm list --demo --filter cpu>>", 2),
    ],
)
def test_the_command_line_imports_no_screen(arguments: str, code: int) -> None:
    done = run(sys.executable, "-X", "importtime", "-m", "virtfleet_tui", *arguments.split())
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == code, said
    modules = imported(done.stderr)
    assert "virtfleet.headless" in modules
    # virtfleet_tui itself holds the entry point; nothing else of it may be there.
    ours = {name for name in modules if name.partition(".")[0] == "virtfleet_tui"}
    assert ours <= {"virtfleet_tui", "virtfleet_tui.__main__"}
    assert {name for name in modules if name.partition(".")[0] in {"textual", "rich"}} == set()
    assert "humanize" not in modules, "only `show` has room for words"


def parsed() -> Iterator[tuple[str, ast.AST]]:
    """Every file of core/ and tui/: its path from the top, and its tree."""
    for root in ("core", "tui"):
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(), str(path))


OWNERS = {
    "stdout": {"core/virtfleet/headless/output.py"},
    "stderr": {
        "core/virtfleet/headless/diagnostics.py",
        "core/virtfleet/hypervisor/zygote_main.py",  # a log file there
    },
}


def streams_used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, stream) of each `print` and of each `sys.stdout` and `sys.stderr` but to ask or to flush it."""
    harmless = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("isatty", "fileno", "flush")
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="sys"), attr=attr) if attr.strip("_") in OWNERS:
                if id(node) not in harmless:
                    yield node.lineno, attr.strip("_")
            case ast.Call(func=ast.Name(id="print"), keywords=keywords):
                to_file = any(keyword.arg == "file" for keyword in keywords)
                yield node.lineno, "stderr" if to_file else "stdout"


def test_each_stream_has_one_owner() -> None:
    """`print`, `sys.stdout` and `sys.stderr` stand in the file that owns the stream, and nowhere else."""
    found = [
        f"{name}:{line} uses {stream}"
        for name, tree in parsed()
        for line, stream in streams_used(tree)
        if name not in OWNERS[stream]
    ]
    assert found == []


def test_no_shell_and_no_unsafe_xml() -> None:
    """Programs get argument lists, and XML from hosts is read by the safe parser alone."""
    found = []
    for file, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{file}:{node.value.lineno} shell=")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                if any(each.startswith("xml.") for each in names):
                    found.append(f"{file}:{node.lineno} xml of the standard library")
    assert found == []


def test_a_worker_that_only_watches_loads_nothing_that_acts() -> None:
    """A worker of each host: what it does not need would cost its memory 500 times."""
    done = run(sys.executable, "-X", "importtime", "-c", "import virtfleet.hypervisor.worker")
    found = imported(done.stderr)
    assert "virtfleet.hypervisor.session" in found
    assert not {name for name in found if name.startswith("virtfleet.hypervisor.acts")}
