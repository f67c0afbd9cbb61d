"""The process that outlives a lab's owner and cleans up after it.

    python -m lab.reaper NAME OWNER-PID OWNER-START

It waits on its standard input, a pipe whose other end only the owner holds. One byte means "keep the lab,
your work is done"; the end of the pipe without one means that the owner is gone, by whatever death.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import proc, registry, teardown
from lab.errors import LabError
from lab.run import clean_environment

_GRACE = 0.3


class Reaper:
    """The owner's side: start the reaper, and tell it how things ended."""

    def __init__(self, record: registry.LabRecord) -> None:
        assert record.owner is not None
        # A session of its own: Ctrl-C and the terminal's end reach the owner, not the one who cleans up.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.reaper", record.name, str(record.owner.pid), str(record.owner.start)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
            env=clean_environment({"PYTHONPATH": str(Path(__file__).parent.parent)}),
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The reaper's process."""
        return self._process.pid

    def release(self, timeout: float = 90.0) -> None:
        """Let the lab stay: the reaper ends and leaves it alone."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"k")
        self.finish(timeout)

    def finish(self, timeout: float = 90.0) -> None:
        """Close the pipe and wait for the reaper to finish its work."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout)


def main(name: str, owner: proc.ProcessId) -> int:
    """Wait for the owner's end, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1):
        return 0
    # A program the owner had in hand when it died ends by itself in this time; tear_down looks twice anyway.
    time.sleep(_GRACE)
    for _ in range(3):
        try:
            record = registry.load(name)
            if record.owner != owner:
                return 0  # somebody cleaned up already, and a new lab took the name
            teardown.tear_down(record)
        except LabError:
            if not (registry.BASE / name).exists():
                return 0
            time.sleep(1)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], proc.ProcessId(int(sys.argv[2]), int(sys.argv[3]))))
