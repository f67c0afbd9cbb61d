"""An operator's terminal: a program in a pseudo-terminal, what it writes, and when.

What is written is not turned into a screen, which would cost more than the console itself and take the cores
from it. Text is looked for in the stream, without its escape sequences: what is painted is painted in one
piece, because the console repaints whole lines of a panel.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from lab import proc

ROOT = Path(__file__).parents[2]
_TAIL = 2000
"""Bytes that are looked at again with the next ones: what is waited for may come in two pieces."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|[^\[])")


class Home:
    """A user's folders that are made for a bench, and every process that runs with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("config", "state"):
            (folder / name).mkdir(mode=0o700)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "VIRTFLEET_FLEET"},
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_RUNTIME_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests")),
        }

    def processes(self) -> list[int]:
        """All that were started with these folders, their children too."""
        return proc.with_environment("XDG_STATE_HOME", self.environment["XDG_STATE_HOME"])

    def clear(self, patience: float = 10.0) -> int:
        """Waits until they ended by themselves; those that did not are killed, and counted."""
        until = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in left:
            proc.kill(pid)
        return len(left)


@contextmanager
def home() -> Iterator[Home]:
    """A `Home` of which nothing is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vfb-", dir="/tmp"))  # short: paths of sockets are made of it
    made = Home(folder)
    try:
        yield made
    finally:
        made.clear(patience=1.0)
        shutil.rmtree(folder, ignore_errors=True)


def virtfleet() -> list[str]:
    """The command as it was installed with this Python, else the module."""
    installed = Path(sys.executable).with_name("virtfleet")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "virtfleet_tui"]


class Terminal:
    """A program in a pseudo-terminal of `columns` x `lines`. Use it in `with`: at the end it is gone."""

    def __init__(
        self, argv: Sequence[str], environment: dict[str, str], columns: int = 160, lines: int = 45
    ) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._tail = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def until(self, found: Callable[[str], bool], seconds: float) -> float:
        """Reads until `found` says so of the text that was painted last; the time since now, NaN: never.

        RuntimeError with what it wrote last: the program ended.
        """
        start = time.perf_counter()
        while (left := start + seconds - time.perf_counter()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                raise RuntimeError(f"the program ended: {self.text[-800:].strip()!r}")
            self._tail += data
            arrived = time.perf_counter()
            done = found(self.text)
            self._tail = self._tail[-_TAIL:]
            if done:
                return arrived - start
        return float("nan")

    @property
    def text(self) -> str:
        """What was painted last, without escape sequences."""
        return _ESCAPES.sub("", self._tail.decode("utf-8", "replace"))

    def drain(self, seconds: float) -> None:
        """Reads and throws away: a terminal that does not read would stop the program."""
        self.read(seconds)

    def read(self, seconds: float) -> bytes:
        """The last bytes of what comes in this time, without looking at it."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if select.select([self.master], [], [], left)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    break
                self._tail = (self._tail + data)[-_TAIL:]
        return self._tail

    def send(self, keys: bytes) -> None:
        """Keys, as their bytes."""
        os.write(self.master, keys)

    def quit(self, keys: bytes = b"qq", patience: float = 15.0) -> float:
        """Leaves by keys; seconds until the process had ended, NaN: it had to be killed."""
        start = time.perf_counter()
        self.send(keys)
        while self.process.poll() is None:
            if time.perf_counter() - start > patience:
                self.kill()
                return float("nan")
            with contextlib.suppress(OSError):
                if select.select([self.master], [], [], 0.02)[0]:
                    os.read(self.master, 65536)
        took = time.perf_counter() - start
        self.kill()
        return took

    def kill(self) -> None:
        """Ends it at once. Safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
