"""What `pip install` gives: two packages, one command, and an explanation where libvirt is missing."""

from __future__ import annotations

import configparser
import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def build(target: str, folder: Path) -> Path:
    """Build without isolation and without network."""
    argv = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


def test_the_wheel_has_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"virtfleet", "virtfleet_tui"}
    assert len(tops) == 3


def test_the_wheel_has_every_module_and_every_file_that_is_read(wheel: zipfile.ZipFile) -> None:
    here = {
        path.relative_to(ROOT / root).as_posix()
        for root, package in (("core", "virtfleet"), ("tui", "virtfleet_tui"))
        for path in (ROOT / root / package).rglob("*")
        if path.suffix in {".py", ".typed", ".tcss"} and "__pycache__" not in path.parts
    }
    names = set(wheel.namelist())
    assert here - names == set()
    assert {"virtfleet/py.typed", "virtfleet_tui/py.typed", "virtfleet/model/vm.py"} <= names


def test_there_is_one_command(wheel: zipfile.ZipFile) -> None:
    (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(wheel.read(entry).decode())
    assert {name: dict(points[name]) for name in points.sections()} == {
        "console_scripts": {"virtfleet": "virtfleet_tui.__main__:main"}
    }


def test_licence_and_readme_travel_with_it(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "virtfleet" in str(metadata.get_payload())
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_a_source_distribution_can_be_built_from(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "core/virtfleet/errors.py"}
    assert wanted - names == set()


def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_libvirt_is_explained_by_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with no pkg-config on PATH, and an interpreter that finds no libvirt."""
    module = hook()
    assert not module.libvirt_is_missing()
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(bare))
    assert module.libvirt_is_missing()
    builder = module.LibvirtHeaders(str(ROOT), {}, None, None, str(tmp_path), "wheel")
    with pytest.raises(SystemExit) as stopped:
        builder.initialize("standard", {})
    said = str(stopped.value)
    for words in (
        "Debian",
        "libvirt-dev",
        "Fedora",
        "libvirt-devel",
        "Arch",
        "pacman -S",
        "openSUSE",
        "zypper",
    ):
        assert words in said
    monkeypatch.setenv("VIRTFLEET_BUILD_ANYWAY", "1")
    builder.initialize("standard", {})
