"""What the papers say is so: keys, targets, dependencies and the files they name."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from virtfleet.config.load import load
from virtfleet.headless.cli import cli
from virtfleet_tui.keys import KEYS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_key_of_the_readme_is_a_key_of_the_console() -> None:
    known = {part for key in KEYS for part in key.label.split()}
    rows = re.findall(r"^\| (`.+?) \|", section(README, "Keys"), re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert len(named) > 15
    assert named - known == set()


@pytest.mark.parametrize("paper", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_target_that_is_named_exists(paper: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z][a-z-]*)", paper, re.MULTILINE))
    assert named
    assert named - targets == set()


def test_make_help_tells_of_every_target() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)) - {"help", "lab-packages"}
    told = set(re.findall(r"@echo 'make ([a-z-]+)", MAKEFILE))
    assert told == targets


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!\[; ]", each)[0].lower() for each in wanted}
    table = section(CONTRIBUTING, "Dependencies").lower()
    assert {name for name in names if f"`{name}`" not in table} == set()


@pytest.mark.parametrize("paper", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_file_that_is_named_exists(paper: str) -> None:
    roots = (ROOT, ROOT / "core/virtfleet", ROOT / "tui/virtfleet_tui", ROOT / "tests")
    named = set(re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.toml|\.txt))`", paper))
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert missing == set()


def test_pictures_of_the_readme_exist() -> None:
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / name).is_file(), name


def test_the_first_fleet_file_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", section(README, "First fleet file"), re.DOTALL)
    file = tmp_path / "fleet.yaml"
    file.write_text(text)
    settings = load(file)
    assert [(host.name, host.zone) for host in settings.hosts.values()] == [
        ("hv1", "a"),
        ("hv2", "b"),
        ("lx1", ""),
    ]
    assert settings.hosts["hv1"].ssh.user == "root"


def test_every_command_of_the_readme_is_understood() -> None:
    """Options and all: with --help at the end click parses the line and runs nothing."""
    lines = re.findall(r"^    virtfleet (.*)$", section(README, "Without the console"), re.MULTILINE)
    assert len(lines) > 4
    for line in lines:
        words = shlex.split(line, comments=True)
        said = CliRunner().invoke(cli, [*words, "--help"])
        assert said.exit_code == 0, f"{line}: {said.output}"
