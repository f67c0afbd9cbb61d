"""A console in a terminal that tells about itself: `watched_console.py STATUS [FLEET]`; else the demo.

The same steps as `virtfleet` itself. On SIGUSR1 it appends a line of JSON to
the file STATUS: in which states the hosts are and were, and how old their
samples are.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.terminal import Home, Terminal, home
from virtfleet.config.folders import state_dir
from virtfleet.hypervisor.zygote import Zygote

PATIENCE = 60.0
"""Seconds until something that has to happen has not happened."""


class Told(msgspec.Struct):
    states: dict[str, str]
    """By host, now."""
    were: list[str]
    """All that any host was in so far."""
    oldest: float | None
    """Age of the oldest sample in seconds; None: a host has sent none yet."""


def main(status: Path, fleet: str | None) -> int:
    zygote = Zygote.start(state_dir() / "workers.log")
    try:
        from virtfleet.config.choose import choose, demo_fleet
        from virtfleet.engine import Engine
        from virtfleet_tui.app import VirtfleetApp

        engine = Engine(choose(fleet, None, False) or demo_fleet(), zygote=zygote)
        were: set[str] = set()
        engine.subscribe(lambda delta: were.add(engine.snapshot.hosts[delta.host].state.value))

        def tell(*_: object) -> None:
            now, views = time.monotonic(), engine.snapshot.hosts.values()
            ages = [view.age(now) for view in views]
            known = [age for age in ages if age is not None]
            told = Told(
                {view.name: view.state.value for view in views},
                sorted(were),
                max(known) if len(known) == len(ages) else None,
            )
            with status.open("ab") as file:
                file.write(msgspec.json.encode(told) + b"\n")

        signal.signal(signal.SIGUSR1, tell)
        VirtfleetApp(engine).run()
        return 0
    finally:
        zygote.close()


class WatchedConsole:
    """A console as its operator has it, and what it tells."""

    def __init__(self, terminal: Terminal, status: Path) -> None:
        self._terminal = terminal
        self._status = status

    @property
    def _size(self) -> int:
        return self._status.stat().st_size if self._status.exists() else 0

    def tell(self) -> Told:
        before = self._size
        self._terminal.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + PATIENCE
        while self._size == before:
            assert time.monotonic() < until, "it tells nothing"
            self._terminal.drain(0.02)
        return msgspec.json.decode(self._status.read_bytes().splitlines()[-1], type=Told)

    def until_fresh(self, age: float) -> Told:
        """Until all hosts are up with samples younger than `age` seconds."""
        until = time.monotonic() + PATIENCE
        while True:
            told = self.tell()
            if set(told.states.values()) <= {"up", "slow"} and told.oldest is not None and told.oldest < age:
                return told
            assert time.monotonic() < until, told
            self._terminal.drain(0.1)

    def stop(self, seconds: float) -> None:
        """Ctrl-Z, and fg after so many seconds."""
        process = self._terminal.process
        process.send_signal(signal.SIGTSTP)
        until = time.monotonic() + PATIENCE
        while _state_of(process.pid) != "T":
            assert time.monotonic() < until, "it does not stop"
            self._terminal.drain(0.02)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)


@contextmanager
def watched_console(fleet: Path | None = None) -> Iterator[WatchedConsole]:
    with home() as folders:
        yield from _open(folders, [str(fleet)] if fleet is not None else [])


def _open(folders: Home, fleet: list[str]) -> Iterator[WatchedConsole]:
    status = folders.folder / "status"
    with Terminal([sys.executable, __file__, str(status), *fleet], folders.environment) as terminal:
        terminal.until(lambda text: "Hosts" in text, PATIENCE)
        yield WatchedConsole(terminal, status)
        terminal.quit()


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


if __name__ == "__main__":
    os.environ.pop("VIRTFLEET_FLEET", None)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
