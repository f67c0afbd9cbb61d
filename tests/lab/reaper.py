"""The process that outlives a lab's owner and cleans up after it.

It waits on its standard input, a pipe whose other end only the owner holds. The owner starts it before there
is anything to clean up, then writes the lab's name. One more line, "keep", means that the lab stays; the end
of the pipe without it means that the owner is gone, by whatever death, or gave the lab up.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import proc, registry, teardown
from lab.errors import LabError
from lab.run import clean_environment

_GRACE = 0.3
_TRIES = 5


class Reaper:
    """The owner's side: start the reaper, tell it what to watch over and how things ended."""

    def __init__(self, owner: proc.ProcessId) -> None:
        # A session of its own: Ctrl-C and the terminal's end reach the owner, not the one who cleans up.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.reaper", str(owner.pid), str(owner.start)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/", text=True,
            env=clean_environment({"PYTHONPATH": str(Path(__file__).parent.parent)}),
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The reaper's process."""
        return self._process.pid

    def watch(self, name: str) -> None:
        """Say which lab it is; before this, the reaper only knows its owner."""
        self._say(name)

    def release(self, timeout: float = 90.0) -> None:
        """Let the lab stay: the reaper ends and leaves it alone."""
        self._say("keep")
        self.finish(timeout)

    def finish(self, timeout: float = 90.0) -> None:
        """Close the pipe and wait for the reaper to finish its work."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main(owner: proc.ProcessId) -> int:
    """Wait for the owner's end, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    said = sys.stdin.read().split()
    if said[-1:] == ["keep"]:
        return 0
    # A program the owner had in hand when it died ends by itself in this time; tear_down looks twice anyway.
    time.sleep(_GRACE)
    for _ in range(_TRIES):
        try:
            if said:
                _reap(said[0], owner)
            # An owner that died between taking a name and telling it has left an abandoned lab.
            teardown.sweep()
        except LabError:
            time.sleep(1)
        else:
            return 0
    return 1


def _reap(name: str, owner: proc.ProcessId) -> None:
    """Take the owner's lab apart, unless somebody did and another has the name by now."""
    try:
        record = registry.load(name)
    except LabError:
        return
    if record.owner == owner:
        teardown.tear_down(record)


if __name__ == "__main__":
    sys.exit(main(proc.ProcessId(int(sys.argv[1]), int(sys.argv[2]))))
