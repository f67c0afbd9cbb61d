"""One SSH connection to one host: everything that goes to a host goes over it.

A host behind jump hosts is a chain of transports, each in a channel of the
one before. Losing any of them loses the connection.
"""

from __future__ import annotations

import contextlib
import select
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

import msgspec
import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from virtfleet.errors import AccessError, DeadlineError, HostError, UnreachableError, UnsupportedError
from virtfleet.hypervisor.ssh import hostkeys, libvirtd
from virtfleet.hypervisor.ssh.asking import Asker, Deadline, nobody
from virtfleet.hypervisor.ssh.auth import log_in
from virtfleet.hypervisor.ssh.dial import ChannelLink, ProxyProgram, dial
from virtfleet.hypervisor.ssh.libvirtd import LibvirtChannel
from virtfleet.hypervisor.ssh.target import LibvirtAddress, SshTarget
from virtfleet.hypervisor.ssh.transport import RefusedCommandError, Transport, reason

CHUNK = 1 << 16
CLOSED = "closed by us"


class Completed(msgspec.Struct, frozen=True):
    """A remote command that ended. `rc` is -1 if a signal ended it."""

    rc: int
    out: bytes
    err: bytes


class SshConnection:
    """An authenticated connection. Thread-safe; every call has a deadline; `close` frees whoever waits."""

    def __init__(self, target: SshTarget, on_lost: Callable[[str], None] | None) -> None:
        """Use `open`."""
        self._target = target
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._transports: list[Transport] = []
        self._program: ProxyProgram | None = None
        self._lost = ""
        self._opened = False
        self._reached_by = ""

    def __repr__(self) -> str:
        return f"SshConnection({self._target.label}, {self._lost or 'open'})"

    @classmethod
    def open(
        cls,
        target: SshTarget,
        ask: Asker = nobody,
        timeout: float = 10.0,
        on_lost: Callable[[str], None] | None = None,
    ) -> Self:
        """Connect, through the target's jumps, check host keys, log in.

        `timeout`: seconds for each hop, standing still while a person is asked.
        `on_lost(reason)` is called once, in any thread, when an open connection
        ends by itself (not by `close`).
        Raises UnreachableError (DNS, refused, no route, timeout), AccessError
        (host key, login), UnsupportedError (no algorithm in common).
        """
        connection = cls(target, on_lost)
        hop = target
        try:
            for hop in (*target.jumps, target):
                connection._hop(hop, ask, Deadline(timeout))
            with connection._lock:
                connection._opened = True
                lost = connection._lost
            if lost:
                raise UnreachableError(f"{target.label}: {lost}")
        except BaseException as error:
            connection._on_lost = None
            connection._end(CLOSED)
            if isinstance(error, HostError) and hop is not target:
                raise type(error)(f"jump host on the way: {error.message}", cure=error.cure) from error
            raise
        return connection

    @property
    def target(self) -> SshTarget:
        return self._target

    @property
    def lost(self) -> str:
        """Why the connection ended; empty while it lives."""
        return self._lost

    def exec(self, argv: Sequence[str], timeout: float = 10.0, window: int | None = None) -> paramiko.Channel:
        """A running remote command: .recv, .recv_stderr, .sendall, .shutdown_write, .close.

        The arguments are quoted for the remote login shell here and nowhere else. `window`: bytes that the
        host may send before they are read; None: plenty.
        Raises UnreachableError (connection lost), DeadlineError, AccessError (the server
        runs no commands), HostError (no more sessions).
        """
        try:
            return self._transport.exec(shlex.join(argv), timeout, window)
        except TimeoutError:
            raise DeadlineError(
                f"{self._target.label}: {argv[0]} did not start within {timeout:g} s"
            ) from None
        except RefusedCommandError as error:
            raise AccessError(
                f"{self._target.label}: the SSH server does not let us run commands",
                cure="look at ForceCommand, and at the login's shell, on the host",
            ) from error
        except paramiko.ChannelException as error:
            raise HostError(
                f"{self._target.label}: the SSH server opens no more sessions",
                cure="MaxSessions in its sshd_config must be 10, the default, or more",
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._unreachable() from error

    def run(
        self,
        argv: Sequence[str],
        timeout: float = 10.0,
        input: bytes | None = None,
        limit: int = 1 << 20,
    ) -> Completed:
        """Run a remote command to its end; the first `limit` bytes of each output are kept.

        Raises as `exec`; DeadlineError also when it does not end in time (it is hung up on then).
        """
        until = time.monotonic() + timeout
        channel = self.exec(argv, timeout)
        out, err = bytearray(), bytearray()
        pending = memoryview(input or b"")
        try:
            poll = select.poll()
            poll.register(channel.fileno(), select.POLLIN)
            channel.settimeout(0.0)
            if not pending:
                channel.shutdown_write()
            while True:
                pending = _feed(channel, pending)
                ended = bool(channel.eof_received) or channel.closed
                while channel.recv_ready():
                    out += channel.recv(CHUNK)[: limit - len(out)]
                while channel.recv_stderr_ready():
                    err += channel.recv_stderr(CHUNK)[: limit - len(err)]
                if ended:
                    break
                left = until - time.monotonic()
                if left <= 0:
                    raise DeadlineError(f"{self._target.label}: {argv[0]} did not end within {timeout:g} s")
                # Nothing tells when the host takes input again, so then it is tried now and then.
                poll.poll(1000 * (min(left, 0.02) if pending else left))
            if not channel.status_event.wait(max(0.0, until - time.monotonic())):
                raise DeadlineError(f"{self._target.label}: {argv[0]} did not end within {timeout:g} s")
            if channel.exit_status == -1 and not channel.eof_received:
                raise self._unreachable()  # the channel did not end, it was torn down
            return Completed(channel.exit_status, bytes(out), bytes(err))
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._unreachable() from error
        finally:
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                channel.close()

    def open_libvirt(
        self,
        address: LibvirtAddress | None = None,
        timeout: float = 10.0,
        window: int | None = None,
    ) -> LibvirtChannel:
        """A stream to libvirtd's socket, by virt-ssh-helper or netcat; default: what the URI said.

        What worked is remembered for the next one. Raises as `exec`;
        UnsupportedError when the host has neither program, or no libvirt socket.
        """
        address = address or self._target.libvirt
        if address is None:
            raise UnsupportedError(f"{self._target.label}: not a libvirt host")
        until = time.monotonic() + timeout
        channel = self.exec(libvirtd.command(address, self._reached_by), timeout, window)
        try:
            stream = libvirtd.greet(channel, until - time.monotonic())
        except TimeoutError:
            raise DeadlineError(f"{self._target.label}: no stream to libvirtd within {timeout:g} s") from None
        except libvirtd.NoLibvirtError as error:
            if not self.alive():
                raise self._unreachable() from error
            self._reached_by = ""
            raise UnsupportedError(f"{self._target.label}: {error}", cure=error.cure) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._unreachable() from error
        self._reached_by = stream.method
        return stream

    def forward(self, address: str, port: int, timeout: float = 10.0) -> paramiko.Channel:
        """A stream to a TCP port as the host sees it. UnreachableError: nothing there; AccessError."""
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            return self._transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout
            )
        except paramiko.ChannelException as error:
            if error.code == 1:
                raise AccessError(
                    f"{self._target.label}: the SSH server forwards no connections",
                    cure="AllowTcpForwarding must be on in its sshd_config",
                ) from error
            raise UnreachableError(f"{place} can't be reached from {self._target.label}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self.alive():
                raise self._unreachable() from error
            raise UnreachableError(f"{place} did not answer {self._target.label}") from error

    def forward_unix(self, path: str, timeout: float = 10.0) -> paramiko.Channel:
        """A stream to a Unix socket of the host. UnreachableError: nothing there; AccessError."""
        try:
            return self._transport.open_unix(path, timeout)
        except paramiko.ChannelException as error:
            if error.code == 1:
                raise AccessError(
                    f"{self._target.label}: the SSH server forwards no Unix sockets",
                    cure="AllowStreamLocalForwarding must be on in its sshd_config",
                ) from error
            raise UnreachableError(f"{path} can't be reached on {self._target.label}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self.alive():
                raise self._unreachable() from error
            raise UnreachableError(f"{path} on {self._target.label} did not answer") from error

    def alive(self) -> bool:
        """Whether the transport is up as far as is known; costs nothing."""
        return not self._lost and self._transport.is_active()

    def ping(self, timeout: float = 3.0) -> float:
        """Ask the SSH server for a sign of life; seconds it took.

        Raises DeadlineError (no answer), UnreachableError (connection lost).
        """
        if not self.alive():
            raise self._unreachable()
        try:
            took = self._transport.ping(timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._unreachable() from error
        if took is None:
            if not self.alive():
                raise self._unreachable()
            raise DeadlineError(f"{self._target.label}: the SSH server did not answer within {timeout:g} s")
        return took

    def close(self) -> None:
        """End it at once, from any thread, also with the link dead; callers waiting in it fail."""
        self._end(CLOSED)

    # ----

    @property
    def _transport(self) -> Transport:
        return self._transports[-1]

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(f"{self._target.label}: {self._lost or reason(self._transport)}")

    def _hop(self, hop: SshTarget, ask: Asker, deadline: Deadline) -> None:
        link = self._link(hop, deadline)
        transport = Transport(link, lambda: self._ended(transport))
        with self._lock:
            self._transports.append(transport)
        self._handshake(transport, hop, deadline)
        key = transport.get_remote_server_key()
        certificate = bytes(key.public_blob.key_blob) if key.public_blob is not None else None
        with deadline.paused():
            hostkeys.check(hop, key.asbytes(), ask, certificate)
        if not transport.is_active():
            raise UnreachableError(f"{hop.label}: the SSH server did not wait for the answer")
        log_in(transport, hop, ask, deadline)
        transport.settle()

    def _link(self, hop: SshTarget, deadline: Deadline) -> socket.socket | ChannelLink:
        if not self._transports:
            if hop.proxy_command:
                self._program = ProxyProgram(hop.proxy_command)
                return self._program.end
            return dial(hop, deadline)
        before = self._transport
        place = f"[{hop.host}]:{hop.port}" if ":" in hop.host else f"{hop.host}:{hop.port}"
        try:
            channel = before.open_channel(
                "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=deadline.left
            )
        except paramiko.ChannelException as error:
            if error.code == 1:
                raise AccessError(
                    f"the jump host before {place} does not forward connections",
                    cure="AllowTcpForwarding must be on in its sshd_config",
                ) from error
            raise UnreachableError(f"{place} can't be reached from the jump host before it") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = "no answer in time" if before.is_active() else reason(before)
            raise UnreachableError(f"{place}, through its jump host: {why}") from error
        return ChannelLink(channel)

    def _handshake(self, transport: Transport, hop: SshTarget, deadline: Deadline) -> None:
        entries = hostkeys.read((*hop.known_hosts, *hop.global_known_hosts))
        transport.get_security_options().key_types = hostkeys.preferred_algorithms(entries, hop)
        limit = deadline.left
        transport.banner_timeout = transport.handshake_timeout = max(0.1, limit)
        done = threading.Event()
        transport.start_client(event=done)
        if not done.wait(deadline.left):
            spoke = "stopped answering" if transport.remote_version else "sent no SSH greeting"
            raise UnreachableError(
                f"{hop.label}: something accepted the connection but {spoke} in {limit:.3g} s"
            )
        if transport.is_active():
            return
        error = transport.get_exception()
        if isinstance(error, IncompatiblePeer):
            raise UnsupportedError(f"{hop.label}: {error}", cure="the SSH server is too old, or too strict")
        if not transport.remote_version:
            raise UnreachableError(
                f"{hop.label}: the connection was closed before any SSH greeting",
                cure="the server may be too busy (MaxStartups), or the port is not SSH's",
            )
        raise UnreachableError(f"{hop.label}: {reason(transport)}, during key exchange")

    def _ended(self, transport: Transport) -> None:
        """A transport of the chain is over; called in its thread."""
        why = reason(transport)
        if self._transports and transport is not self._transports[-1]:
            why = f"a jump host was lost: {why}"
        self._end(why)

    def _end(self, why: str) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = why
            transports = list(self._transports)
            tell = self._on_lost if self._opened and why != CLOSED else None
        for transport in transports:  # the nearest first: then nothing waits for a dead link
            transport.close()
        if self._program is not None:
            self._program.close()
        if tell is not None:
            tell(why)


def _feed(channel: paramiko.Channel, pending: memoryview) -> memoryview:
    """Sends what the host takes now; what is left. All sent: ends the command's input."""
    if not pending:
        return pending
    with contextlib.suppress(TimeoutError, OSError):  # no room now, or it ended without reading on
        while pending and (sent := channel.send(bytes(pending[:CHUNK]))):
            pending = pending[sent:]
    if not pending:
        channel.shutdown_write()
    return pending
