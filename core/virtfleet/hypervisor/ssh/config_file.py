"""Reading ssh_config, with what paramiko's parser lacks or does in a way we do not want.

`Include` is expanded. Blocks that can't be decided here never match: `Match
exec` would run a program through a shell, without a deadline; criteria that
paramiko does not know would match always. Host names are not canonicalised,
because that asks DNS without a deadline.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import paramiko
from paramiko.ssh_exception import ConfigParseError

from virtfleet.errors import ConfigError

SYSTEM_CONFIG = "/etc/ssh/ssh_config"

_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_DECIDABLE = {"all", "canonical", "final", "host", "originalhost", "user", "localuser"}
_PARAMETERLESS = {"all", "canonical", "final"}
_NEVER = "Host !*"
_DEPTH = 8
_SIZE = 1 << 20


def read_config(path: str | None) -> str:
    """Text of an ssh_config with its includes, ready for `lookup`.

    None: the user's own and then the system's, those that exist; "": none.
    ConfigError: `path` can't be read.
    """
    if path == "":
        return ""
    if path is not None:
        file = Path(path).expanduser()
        try:
            return _expand(_read(file), Path.home() / ".ssh", 0)
        except OSError as error:
            raise ConfigError(
                f"can't read the SSH configuration: {error.strerror}", where=str(file)
            ) from error
    parts: list[str] = []
    home = Path.home() / ".ssh"
    for file, base in ((home / "config", home), (Path(SYSTEM_CONFIG), Path(SYSTEM_CONFIG).parent)):
        try:
            parts.append(_expand(_read(file), base, 0))
        except OSError:
            continue
    return "\nHost *\n".join(parts)


def lookup(config_text: str, host: str) -> tuple[dict[str, str | list[str]], tuple[str, ...]]:
    """Options for `host`, keys in lower case, and notes on what was skipped. Raises ConfigError."""
    notes: list[str] = []
    lines: list[str] = []
    for line in config_text.splitlines():
        keyword, value = _split(line)
        if keyword == "match" and not _decidable(value):
            notes.append(f"ssh_config: 'Match {value}' is not supported and never applies")
            line = _NEVER
        elif keyword == "canonicalizehostname":
            continue
        lines.append(line)
    try:
        found = paramiko.SSHConfig.from_text("\n".join(lines)).lookup(host)
    except (ConfigParseError, ValueError) as error:
        raise ConfigError(str(error), where="ssh_config") from error
    return {key: value for key, value in found.items() if value is not None}, tuple(notes)


def _split(line: str) -> tuple[str, str]:
    match = _LINE.match(line.strip())
    if match is None or line.lstrip().startswith("#"):
        return "", ""
    return match.group(1).lower(), match.group(2).strip()


def _decidable(criteria: str) -> bool:
    words = criteria.split()
    while words:
        name = words.pop(0).lstrip("!").lower()
        if name not in _DECIDABLE:
            return False
        if name not in _PARAMETERLESS:
            if not words:
                return False
            words.pop(0)
    return True


def _read(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_SIZE)


def _expand(text: str, base: Path, depth: int) -> str:
    out: list[str] = []
    block = "Host *"
    for line in text.splitlines():
        keyword, value = _split(line)
        if keyword in ("host", "match"):
            block = line
        if keyword != "include":
            out.append(line)
            continue
        if depth >= _DEPTH:
            continue
        for included in _included(value, base):
            try:
                content = _expand(_read(included), base, depth + 1)
            except OSError:
                continue
            has_blocks = any(_split(each)[0] in ("host", "match") for each in content.splitlines())
            if has_blocks and block.split()[1:] != ["*"]:
                continue  # a condition within a condition, which the parser can't express
            out += [content, block]
    return "\n".join(out)


def _included(value: str, base: Path) -> list[Path]:
    found: list[Path] = []
    for word in value.split():
        pattern = os.path.expanduser(word.strip('"'))
        found += [Path(path) for path in sorted(glob.glob(os.path.join(base, pattern)))]
    return found
