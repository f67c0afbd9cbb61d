"""The folders for state and sockets: private, or refused."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtfleet.config.folders import runtime_dir, state_dir
from virtfleet.errors import ConfigError


@pytest.fixture
def short() -> Iterator[Path]:
    """A private folder whose path leaves room for sockets, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="vf-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_state_folder_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a" / "b"))
    folder = state_dir()
    assert folder == tmp_path / "a" / "b" / "virtfleet"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert state_dir().stat().st_mode & 0o777 == 0o700


def test_a_relative_xdg_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local/state/virtfleet"


def test_runtime_folder_in_a_private_xdg_folder(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    folder = runtime_dir()
    assert folder == short / "virtfleet"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match=r"others can enter .* \(mode 0750\)"):
        runtime_dir()


def test_an_open_xdg_folder_is_not_trusted(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    assert runtime_dir() == Path(f"/tmp/virtfleet-{os.geteuid()}")


def test_a_link_is_refused(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short.chmod(0o700)
    (short / "elsewhere").mkdir()
    (short / "virtfleet").symlink_to(short / "elsewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    with pytest.raises(ConfigError, match="is not a folder"):
        runtime_dir()


def test_a_path_too_long_for_sockets_is_not_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = short / ("x" * 60)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert runtime_dir() == Path(f"/tmp/virtfleet-{os.geteuid()}")
