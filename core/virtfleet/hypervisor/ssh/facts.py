"""The host's own figures from /proc, over one SSH channel that stays open. Also the heartbeat of the link.

A shell loop on the host prints what a letter asks for. An answer costs one
round trip and one or two processes there. Each answer bears the number of its
question, so that one that comes too late is recognised. The script has no line
breaks, exclamation marks or single quotes, and keeps to what dash and
busybox's ash can do.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time

import paramiko

from virtfleet.errors import DeadlineError, UnreachableError, UnsupportedError
from virtfleet.hypervisor.hostfile import FOLDER, LOOK, NAME
from virtfleet.hypervisor.ssh.connection import CHUNK, SshConnection

KINDS: dict[str, tuple[str, ...]] = {
    "fast": ("stat", "loadavg", "uptime", "meminfo", "net/dev", "diskstats"),
    "arp": ("net/arp",),
    "hugepages": ("hugepages",),
    "marks": ("marks",),
    "slow": ("uname", "os-release", "iommu", "mounts"),
}
"""What may be read, and the keys of the answer: names under /proc, and:
`stat`: the first line of /proc/stat only; `hugepages`: lines `hugepages-2048kB TOTAL FREE`;
`marks`: our own file there, as hypervisor/hostfile.py has it;
`uname`: `SYSNAME RELEASE MACHINE`; `iommu`: the number of IOMMU groups.
A file that the host lacks is missing from the answer."""

_MAX_ANSWER = 8 << 20
_MAX_UNANSWERED = 3

_SCRIPT = "; ".join(
    (
        "exec 2>/dev/null",
        "M=$1",
        'put() { printf "\\n%s %s\\n%s" "$M" "$1" "$2"; }',
        'line() { if IFS= read -r text <"$2"; then put "$1" "$text"; fi; }',
        # Not all of /proc/stat: on a big host it is tens of kilobytes of interrupts.
        "fast() { line stat /proc/stat; line loadavg /proc/loadavg; line uptime /proc/uptime"
        "; put files; tail -n +1 /proc/meminfo /proc/net/dev /proc/diskstats; }",
        "arp() { put files; tail -n +1 /proc/net/arp /dev/null; }",
        "hugepages() { put hugepages; for d in /sys/kernel/mm/hugepages/hugepages-*"
        "; do if read -r total <$d/nr_hugepages && read -r free <$d/free_hugepages"
        '; then printf "%s %s %s\\n" "${d##*/}" "$total" "$free"; fi; done; }',
        f"marks() {{ put marks; f={FOLDER}/{NAME}; {LOOK}; }}",
        "groups() { if test -e $1; then put iommu $#; else put iommu 0; fi; }",
        'slow() { put uname "$(uname -srm)"; groups /sys/kernel/iommu_groups/*'
        "; release=/etc/os-release; if test -r $release; then :; else release=/usr/lib/os-release; fi"
        "; put files; tail -n +1 $release /proc/mounts; }",
        "put ready; echo",
        'while read -r number kinds; do put begin "$number"; for kind in $kinds; do $kind; done'
        '; put end "$number"; echo; done',
    )
)
_TAIL_HEADER = re.compile(r"^==> (/\S+) <==\n", re.MULTILINE)
_FILES = {
    "/proc/meminfo": "meminfo",
    "/proc/net/dev": "net/dev",
    "/proc/diskstats": "diskstats",
    "/proc/net/arp": "net/arp",
    "/proc/mounts": "mounts",
    "/etc/os-release": "os-release",
    "/usr/lib/os-release": "os-release",
}


class FactsChannel:
    """A remote shell loop that prints what is asked. Thread-safe: one question at a time."""

    def __init__(self, connection: SshConnection, timeout: float = 10.0) -> None:
        """Raises as SshConnection.exec; UnsupportedError: the login gives no POSIX shell."""
        self._connection = connection
        self._mark = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._asked = 0
        self._answered = 0
        self._last_answer = 0.0
        until = time.monotonic() + timeout
        self._channel = connection.exec(["sh", "-c", _SCRIPT, "virtfleet", self._mark], timeout)
        try:
            self._receive("ready", until)
        except UnreachableError as error:
            self._channel.close()
            if not connection.alive():
                raise
            raise UnsupportedError(
                f"{connection.target.label}: the login gives no POSIX shell",
                cure="the host's own figures need one; its VMs do not",
            ) from error
        except BaseException:
            self._channel.close()
            raise

    def read(self, *kinds: str, timeout: float = 3.0) -> dict[str, str]:
        """Texts by key, for `kinds` (default "fast") in one round trip.

        Raises DeadlineError (a late answer is recognised and dropped; call again),
        UnreachableError (the channel or the connection ended).
        """
        wanted = kinds or ("fast",)
        unknown = [kind for kind in wanted if kind not in KINDS]
        if unknown:
            raise ValueError(f"no such facts: {', '.join(unknown)}")
        until = time.monotonic() + timeout
        with self._lock:
            number = 0
            while True:
                # A host that hangs is not buried in questions: first it answers some of those it has.
                if not number and self._asked - self._answered < _MAX_UNANSWERED:
                    number = self._ask(wanted, until)
                answer = self._receive("end", until)
                self._answered = _number(answer)
                self._last_answer = time.monotonic()
                if self._answered == number:
                    return self._sections(answer)

    @property
    def last_answer(self) -> float:
        """When the host last answered, CLOCK_MONOTONIC; 0.0: never."""
        return self._last_answer

    def close(self) -> None:
        """End the loop on the host."""
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()

    # ----

    def _ask(self, kinds: tuple[str, ...], until: float) -> int:
        self._channel.settimeout(max(0.01, until - time.monotonic()))
        try:
            self._channel.sendall(f"{self._asked + 1} {' '.join(kinds)}\n".encode())
        except TimeoutError:
            raise self._late() from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._ended() from error
        self._asked += 1
        return self._asked

    def _receive(self, key: str, until: float) -> str:
        """Text up to and with the line after the mark `key`."""
        mark = f"\n{self._mark} {key}\n".encode()
        searched = 0
        while True:
            if len(self._buffer) > _MAX_ANSWER:
                self.close()
                raise self._ended()
            found = self._buffer.find(mark, searched)
            end = self._buffer.find(b"\n", found + len(mark)) if found >= 0 else -1
            if end >= 0:
                text = self._buffer[:end].decode("utf-8", "replace")
                del self._buffer[: end + 1]
                return text
            searched = found if found >= 0 else max(0, len(self._buffer) - len(mark))
            self._channel.settimeout(max(0.01, until - time.monotonic()))
            try:
                data = self._channel.recv(CHUNK)
            except TimeoutError:
                raise self._late() from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._ended() from error
            if not data:
                raise self._ended()
            self._buffer += data

    def _sections(self, answer: str) -> dict[str, str]:
        texts: dict[str, str] = {}
        for part in answer.split(f"\n{self._mark} ")[1:]:
            key, _, text = part.partition("\n")
            if key == "files":
                texts.update(_files(text))
            elif key not in ("begin", "end"):
                texts[key] = text
        return texts

    def _late(self) -> DeadlineError:
        return DeadlineError(f"{self._connection.target.label}: the host's figures did not come in time")

    def _ended(self) -> UnreachableError:
        why = self._connection.lost or "the shell on the host ended"
        return UnreachableError(f"{self._connection.target.label}: {why}")


def _number(answer: str) -> int:
    """Which question an answer belongs to; 0: it can't be told."""
    tail = answer.rpartition("\n")[2]
    return int(tail) if tail.isascii() and tail.isdigit() else 0


def _files(text: str) -> dict[str, str]:
    """What `tail` printed of several files, by key."""
    texts: dict[str, str] = {}
    parts = _TAIL_HEADER.split(text)
    for path, body in zip(parts[1::2], parts[2::2], strict=True):
        if path in _FILES:
            texts[_FILES[path]] = body.rstrip("\n") + "\n"  # a blank line stands before the next header
    return texts
