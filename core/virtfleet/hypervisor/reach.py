"""How a host is reached: over our one SSH connection, or as libvirt itself knows how.

`+ssh` URIs are proxied: each lane's libvirt connects to a door of ours, and
the door opens a channel to the host's libvirtd on the shared SSH connection.
So lanes cost no further logins, and can be cut. All other URIs go to libvirt as
they are, with its credentials callback answered by the person at the console;
their lanes are cut at the sockets that libvirt opens (sockets.py).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import libvirt
import paramiko

from virtfleet.errors import HostError, InternalError, UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.asking import Asker
from virtfleet.hypervisor.doors import Door, Upstream
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.gate import Gate
from virtfleet.hypervisor.lanes import Cuttable
from virtfleet.hypervisor.sockets import Plug, Sockets
from virtfleet.hypervisor.ssh.config_file import read_config
from virtfleet.hypervisor.ssh.connection import Completed, SshConnection
from virtfleet.hypervisor.ssh.facts import FactsChannel
from virtfleet.hypervisor.ssh.libvirtd import LibvirtChannel
from virtfleet.hypervisor.ssh.target import is_ssh, resolve
from virtfleet.model import PromptKind

OPEN_TIMEOUT = 10.0
NARROW = 1 << 16
"""Bytes that a host may send unread where the reader shall be able to hold it back."""
_UNUSED = 30.0
"""Seconds after which a door that was opened for another process, and has nobody in it, is closed."""
_PORTS = {"tls": 16514, "tcp": 16509, "esx": 443, "vpx": 443, "gsx": 8333, "hyperv": 5986}
"""Where a transport, or a driver without one, listens when the URI does not say; all others: TLS."""
_SOCKETLESS = ("test", "openvz", "vmwareplayer", "vmwarews", "vmwarefusion")
"""Drivers that live in the calling process and have no connection that could be cut."""


class Reach(Protocol):
    """Blocking, thread-safe. `open` first; `cut` drops every lane's connection and so frees its calls,
    `close` drops everything."""

    transport_answers: bool
    """Whether `ping` can tell a silent link from a hung libvirtd."""
    is_local: bool
    """Whether no network is between here and libvirtd."""
    can_cut: bool
    """Whether a lane can be freed, so that a missed deadline costs that lane alone."""
    one_connection: bool
    """Whether all lanes must share one connection (the test driver's state is private to it)."""

    def open(self) -> None: ...
    def opener(
        self, lane: str, gate: Gate | None = None
    ) -> tuple[Callable[[], libvirt.virConnect], Cuttable | None]: ...
    def forget(self, lane: str) -> None: ...
    def ping(self, timeout: float) -> None: ...
    def facts(self) -> FactsChannel | None: ...
    def door(self, name: str) -> str: ...
    def run(self, argv: Sequence[str], timeout: float) -> Completed: ...
    def exec(self, argv: Sequence[str], timeout: float) -> paramiko.Channel: ...
    def forward(self, address: str, port: int, timeout: float) -> socket.socket | paramiko.Channel: ...
    def forward_unix(self, path: str, timeout: float) -> socket.socket | paramiko.Channel: ...
    def cut(self) -> None: ...
    def close(self) -> None: ...


def reach_for(settings: wire.WorkerSettings, asker: Asker, lost: Callable[[str], None]) -> Reach:
    """`lost(reason)` is called from any thread when an open connection ended by itself."""
    if is_ssh(settings.uri):
        return OverSsh(settings, asker, lost)
    return Direct(settings, asker)


class OverSsh:
    transport_answers = True
    can_cut = True
    is_local = False
    one_connection = False

    def __init__(self, settings: wire.WorkerSettings, asker: Asker, lost: Callable[[str], None]) -> None:
        self._settings = settings
        self._asker = asker
        self._lost = lost
        self._ssh: SshConnection | None = None
        self._doors: dict[str, Door] = {}
        self._lock = threading.Lock()
        self._target = resolve(settings.uri, settings.ssh, read_config(settings.ssh.config))

    def open(self) -> None:
        timeout = self._settings.ssh.connect_timeout
        self._ssh = SshConnection.open(self._target, self._asker.ask, timeout, self._lost)

    def opener(
        self, lane: str, gate: Gate | None = None
    ) -> tuple[Callable[[], libvirt.virConnect], Cuttable | None]:
        """How a lane connects, and what frees it. `gate`: holds back what the host sends, if told to."""
        door = self._door(lane, gate=gate)
        if self._target.libvirt is None:
            raise InternalError(f"{self._settings.uri} says nothing of libvirt")
        uri = self._target.libvirt.door_uri(door.path)

        def connect() -> libvirt.virConnect:
            try:
                return libvirt.open(uri)
            except libvirt.libvirtError as error:
                cause = door.last_error
                if isinstance(cause, HostError):
                    raise cause from error  # libvirt itself would only say "end of file"
                raise translate(error) from error

        return connect, door

    def forget(self, lane: str) -> None:
        """The lane is closed and there will be no other of this name soon."""
        with self._lock:
            door = self._doors.pop(lane, None)
        if door is not None:
            door.close()

    def ping(self, timeout: float) -> None:
        self._connection().ping(timeout)

    def facts(self) -> FactsChannel | None:
        return FactsChannel(self._connection(), OPEN_TIMEOUT)

    def door(self, name: str) -> str:
        """Path of a socket at which another process of ours reaches this host's libvirtd.

        It goes when nobody has been connected there for half a minute.
        """
        return self._door(name, idle=_UNUSED).path

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        return self._connection().run(argv, timeout)

    def exec(self, argv: Sequence[str], timeout: float) -> paramiko.Channel:
        return self._connection().exec(argv, timeout)

    def forward(self, address: str, port: int, timeout: float) -> paramiko.Channel:
        """A stream to a TCP port as the host sees it. Raises UnreachableError, AccessError."""
        return self._connection().forward(address, port, timeout)

    def forward_unix(self, path: str, timeout: float) -> paramiko.Channel:
        """A stream to a Unix socket of the host. Raises as `forward`."""
        return self._connection().forward_unix(path, timeout)

    def cut(self) -> None:
        for door in list(self._doors.values()):
            door.cut()

    def close(self) -> None:
        for door in list(self._doors.values()):
            door.close()
        self._doors.clear()
        if self._ssh is not None:
            self._ssh.close()

    def _connection(self) -> SshConnection:
        if self._ssh is None:
            raise UnreachableError("not connected")
        return self._ssh

    def _door(self, name: str, idle: float | None = None, gate: Gate | None = None) -> Door:
        with self._lock:
            if name not in self._doors:
                path = Path(self._settings.runtime_dir) / f"{name}.sock"
                upstream = self._open_libvirt if gate is None else partial(self._open_gated, gate)
                self._doors[name] = Door(path, upstream, idle=idle, on_idle=self._unused)
            return self._doors[name]

    def _open_libvirt(self) -> LibvirtChannel:
        return self._connection().open_libvirt()

    def _open_gated(self, gate: Gate) -> Upstream:
        return gate.guard(self._connection().open_libvirt(window=NARROW))

    def _unused(self, door: Door) -> None:
        with self._lock:  # before another one is opened in its place
            for name in [name for name, each in self._doors.items() if each is door]:
                del self._doors[name]
            door.close()


class Direct:
    """libvirt's own transports: local sockets, TLS, TCP, ESX, the test driver."""

    transport_answers = False

    def __init__(self, settings: wire.WorkerSettings, asker: Asker) -> None:
        self._settings = settings
        self._asker = asker
        address = urlsplit(settings.uri)
        driver, _, transport = address.scheme.partition("+")
        self.one_connection = driver == "test"
        self.is_local = not address.netloc
        self.can_cut = driver not in _SOCKETLESS
        port = address.port or _PORTS.get(transport or driver, 0 if transport else _PORTS["tls"])
        self._listener = (address.hostname, port) if address.hostname and port and self.can_cut else None
        self._sockets = Sockets()
        self._uri = settings.uri

    def open(self) -> None:
        if self._settings.simulate is not None:
            from virtfleet.hypervisor.simulated_demo import open_uri

            self._uri = open_uri(self._settings, self._settings.runtime_dir)

    def opener(
        self, lane: str, gate: Gate | None = None
    ) -> tuple[Callable[[], libvirt.virConnect], Cuttable | None]:
        plug: Plug | None = self._sockets.plug(lane) if self.can_cut else None

        def connect() -> libvirt.virConnect:
            try:
                with plug.opening() if plug is not None else contextlib.nullcontext():
                    connection = libvirt.openAuth(self._uri, [list(_CREDENTIALS), self._answer, None], 0)
            except libvirt.libvirtError as error:
                raise translate(error) from error
            if self._settings.simulate is not None:
                from virtfleet.hypervisor.simulated_demo import furnish

                furnish(connection, self._settings)
            return connection

        return connect, plug

    def forget(self, lane: str) -> None:
        """Its sockets go with its connection."""

    def ping(self, timeout: float) -> None:
        """Whether the host's kernel answers; it does for a libvirtd that is hung."""
        if self.is_local or self._listener is None:
            return
        try:
            socket.create_connection(self._listener, timeout).close()
        except OSError as error:
            raise UnreachableError("nothing answers on the link") from error

    def facts(self) -> FactsChannel | None:
        return None

    def door(self, name: str) -> str:
        raise UnreachableError("this URI is not reached through a connection of ours")

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        raise UnreachableError("no shell on this host")

    def exec(self, argv: Sequence[str], timeout: float) -> paramiko.Channel:
        raise UnreachableError("no shell on this host")

    def forward(self, address: str, port: int, timeout: float) -> socket.socket:
        if not self.is_local:
            raise UnreachableError("guests of this host are not reached through a connection of ours")
        try:
            end = socket.create_connection((address, port), timeout)
        except OSError as error:
            raise UnreachableError(
                f"nothing answers at {address} port {port}: {error.strerror or error}"
            ) from error
        end.settimeout(None)
        return end

    def forward_unix(self, path: str, timeout: float) -> socket.socket:
        if not self.is_local:
            raise UnreachableError("sockets of this host are not reached through a connection of ours")
        try:
            return _connected(socket.socket(socket.AF_UNIX), path, timeout)
        except OSError as error:
            raise UnreachableError(f"nothing answers at {path}: {error.strerror or error}") from error

    def cut(self) -> None:
        self._sockets.cut()

    def close(self) -> None:
        """Connections belong to the lanes."""

    def _answer(self, credentials: list[list[Any]], _: Any) -> int:
        for credential in credentials:
            kind, prompt = credential[0], credential[1]
            secret = kind in (libvirt.VIR_CRED_PASSPHRASE, libvirt.VIR_CRED_NOECHOPROMPT)
            address = urlsplit(self._settings.uri).netloc or self._settings.uri
            text = f"{address}: {prompt or _CREDENTIALS[kind]}"
            answer = self._asker.ask(
                PromptKind.INTERACTIVE, text, secret=secret, identity=f"libvirt {address} {kind}"
            )
            if answer is None:
                return -1
            credential[4] = answer
        return 0


def _connected(end: socket.socket, address: str, timeout: float) -> socket.socket:
    try:
        end.settimeout(timeout)
        end.connect(address)
        end.settimeout(None)
    except BaseException:
        end.close()
        raise
    return end


_CREDENTIALS = {
    libvirt.VIR_CRED_USERNAME: "user name",
    libvirt.VIR_CRED_AUTHNAME: "user name",
    libvirt.VIR_CRED_ECHOPROMPT: "answer",
    libvirt.VIR_CRED_PASSPHRASE: "password",
    libvirt.VIR_CRED_NOECHOPROMPT: "answer",
}
