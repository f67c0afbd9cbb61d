"""A stream to libvirtd over an SSH channel: virt-ssh-helper, else netcat, found out on the host.

One exec for everything: a constant script gets what it must know as arguments,
looks which program is there, prints a greeting and becomes that program. The
greeting says that all is well before libvirt waits for an answer, and skips
what login files print. The script has no line breaks, exclamation marks or
single quotes: it passes through login shells of any kind.
"""

from __future__ import annotations

import contextlib
import time

import paramiko

from virtfleet.hypervisor.ssh.target import LibvirtAddress
from virtfleet.model.text import clean

GREETING = b"virtfleet-stream "
_NOISE = 64 * 1024

_SCRIPT = "; ".join(
    (
        "uri=$1 scope=$2 names=$3 socket=$4 proxy=$5 nc=$6 ro=$7",
        "LC_ALL=C; export LC_ALL",
        'say() { printf "%s%s %s\\n" virtfleet-stre "am $1" "$2"; }',
        'if test "$proxy" = native || { test "$proxy" = auto && test -z "$socket"; }'
        "; then if command -v virt-ssh-helper >/dev/null 2>&1"
        '; then say native ok; exec virt-ssh-helper $ro "$uri"; fi'
        '; if test "$proxy" = native; then say none "virt-ssh-helper is not installed"; exit 127; fi; fi',
        'if test -z "$socket"; then if test "$scope" = session'
        '; then dirs="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/libvirt"'
        '; else dirs="/run/libvirt /var/run/libvirt"; fi'
        "; for dir in $dirs; do for name in $names; do"
        ' if test -z "$socket" && test -S "$dir/$name"; then socket=$dir/$name; fi; done; done; fi',
        'if test -z "$socket"; then say none "there is no libvirt socket"; exit 1; fi',
        'if test -S "$socket"; then :; else say none "$socket is not a socket"; exit 1; fi',
        'if command -v "$nc" >/dev/null 2>&1 && "$nc" -h 2>&1 | grep -q -e "-U"; then quit='
        '; if "$nc" -q 2>&1 | grep -q "requires an argument"; then quit=-q0; fi'
        '; say netcat ok; exec "$nc" $quit -U "$socket"; fi',
        'if command -v socat >/dev/null 2>&1; then say socat ok; exec socat - "UNIX-CONNECT:$socket"; fi',
        'say none "neither virt-ssh-helper nor a netcat that knows -U is installed"; exit 127',
    )
)


class NoLibvirtError(Exception):
    """The host gives no stream to libvirtd, and why; `cure` says what to do."""

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.cure = cure


class LibvirtChannel:
    """A stream to libvirtd on a remote host; fits `doors.Upstream`. One reader and one writer."""

    def __init__(self, channel: paramiko.Channel, method: str, early: bytes = b"") -> None:
        self.method = method
        """native, netcat or socat: what reached libvirtd."""
        self._channel = channel
        self._early = early

    def recv(self, size: int, /) -> bytes:
        """What libvirtd sent; b"" at the end. Raises OSError, EOFError: the connection broke."""
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        try:
            return self._channel.recv(size)
        except paramiko.SSHException as error:
            raise OSError(str(error)) from error

    def sendall(self, data: bytes, /) -> None:
        """Raises OSError when the stream has ended."""
        try:
            self._channel.sendall(data)
        except paramiko.SSHException as error:
            raise OSError(str(error)) from error

    def shutdown(self, how: int, /) -> None:
        """As of a socket."""
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.shutdown(how)

    def close(self) -> None:
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()

    def failure(self) -> str:
        """What the host said (standard error, exit status) when the stream ended; empty: nothing."""
        return _said(self._channel)


def command(address: LibvirtAddress, reached_by: str = "") -> list[str]:
    """The remote command for `greet`. `reached_by`: the method that worked before, to be taken at once."""
    suffix = "-ro" if address.read_only else ""
    direct, legacy = f"virt{address.driver}d-sock{suffix}", f"libvirt-sock{suffix}"
    names = {"auto": f"{direct} {legacy}", "direct": direct, "legacy": legacy}[address.mode]
    scope = "session" if address.path.startswith("/session") else "system"
    proxy = address.proxy
    if proxy == "auto" and reached_by:
        proxy = "native" if reached_by == "native" else "netcat"
    if address.socket and proxy == "auto":
        proxy = "netcat"  # virt-ssh-helper chooses the socket itself
    read_only = "-r" if address.read_only else ""
    arguments = [address.uri, scope, names, address.socket, proxy, address.netcat, read_only]
    return ["sh", "-c", _SCRIPT, "virtfleet", *arguments]


def greet(channel: paramiko.Channel, timeout: float) -> LibvirtChannel:
    """Waits for the script's greeting. Closes the channel when it raises TimeoutError or NoLibvirtError."""
    until = time.monotonic() + timeout
    seen = b""
    try:
        while True:
            start = seen.find(GREETING)
            if start >= 0 and (end := seen.find(b"\n", start)) >= 0:
                break
            channel.settimeout(max(0.01, until - time.monotonic()))
            data = channel.recv(4096)
            if not data or len(seen) > _NOISE:
                raise NoLibvirtError(
                    _said(channel)
                    or clean(seen.decode("utf-8", "replace"), 200)
                    or "the login gives no shell",
                    cure="the login on the host needs a POSIX sh and a login shell that prints little",
                )
            seen += data
        method, _, text = seen[start + len(GREETING) : end].decode("utf-8", "replace").partition(" ")
        if method == "none":
            raise NoLibvirtError(
                clean(text, 200), cure="install libvirt and virt-ssh-helper or OpenBSD netcat there"
            )
        channel.settimeout(None)
        return LibvirtChannel(channel, method, seen[end + 1 :])
    except BaseException:
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            channel.close()
        raise


def _said(channel: paramiko.Channel) -> str:
    channel.status_event.wait(0.5)
    said = b""
    while channel.recv_stderr_ready() and len(said) < _NOISE:
        said += channel.recv_stderr(4096)
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    if lines:
        return clean(lines[-1], 300)
    return f"exit status {channel.exit_status}" if channel.exit_status > 0 else ""
