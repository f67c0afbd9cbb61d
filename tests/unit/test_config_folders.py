"""The folders for state and sockets: private, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from virtfleet.config.folders import runtime_dir, state_dir
from virtfleet.errors import ConfigError


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


def test_runtime_folder_in_a_private_xdg_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = runtime_dir()
    assert folder == tmp_path / "virtfleet"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match=r"others can enter .* \(mode 0750\)"):
        runtime_dir()


def test_an_open_xdg_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_dir() == Path(f"/tmp/virtfleet-{os.geteuid()}")


def test_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "virtfleet").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="is not a folder"):
        runtime_dir()
