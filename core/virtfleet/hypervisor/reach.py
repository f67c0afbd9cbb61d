"""How a host is reached: over our one SSH connection, or as libvirt itself knows how.

`+ssh` URIs are proxied: each lane's libvirt connects to a door of ours, and
the door opens a channel to the host's libvirtd on the shared SSH connection.
So lanes cost no further logins, and can be cut. All other URIs go to libvirt as
they are, with its credentials callback answered by the person at the console.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import libvirt

from virtfleet.errors import HostError, InternalError, UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.asking import Asker
from virtfleet.hypervisor.doors import Door
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.ssh.config_file import read_config
from virtfleet.hypervisor.ssh.connection import Completed, SshConnection
from virtfleet.hypervisor.ssh.facts import FactsChannel
from virtfleet.hypervisor.ssh.target import is_ssh, resolve
from virtfleet.model import PromptKind

OPEN_TIMEOUT = 10.0


class Reach(Protocol):
    """Blocking, thread-safe. `open` first; `cut` drops every lane's connection and so frees its calls,
    `close` drops everything."""

    transport_answers: bool
    """Whether `ping` can tell a silent link from a hung libvirtd."""
    is_local: bool
    """Whether no network is between here and libvirtd."""
    one_connection: bool
    """Whether all lanes must share one connection (the test driver's state is private to it)."""

    def open(self) -> None: ...
    def opener(self, lane: str) -> tuple[Callable[[], libvirt.virConnect], Door | None]: ...
    def ping(self, timeout: float) -> None: ...
    def facts(self) -> FactsChannel | None: ...
    def door(self, name: str) -> str: ...
    def run(self, argv: Sequence[str], timeout: float) -> Completed: ...
    def cut(self) -> None: ...
    def close(self) -> None: ...


def reach_for(settings: wire.WorkerSettings, asker: Asker, lost: Callable[[str], None]) -> Reach:
    """`lost(reason)` is called from any thread when an open connection ended by itself."""
    if is_ssh(settings.uri):
        return OverSsh(settings, asker, lost)
    return Direct(settings, asker)


class OverSsh:
    transport_answers = True
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

    def opener(self, lane: str) -> tuple[Callable[[], libvirt.virConnect], Door | None]:
        door = self._door(lane)
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

    def ping(self, timeout: float) -> None:
        self._connection().ping(timeout)

    def facts(self) -> FactsChannel | None:
        return FactsChannel(self._connection(), OPEN_TIMEOUT)

    def door(self, name: str) -> str:
        """Path of a socket at which another process of ours reaches this host's libvirtd."""
        return self._door(name).path

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        return self._connection().run(argv, timeout)

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

    def _door(self, name: str) -> Door:
        with self._lock:
            if name not in self._doors:
                path = Path(self._settings.runtime_dir) / f"{name}.sock"
                self._doors[name] = Door(path, lambda: self._connection().open_libvirt())
            return self._doors[name]


class Direct:
    """libvirt's own transports: local sockets, TLS, TCP, ESX, the test driver."""

    transport_answers = False

    def __init__(self, settings: wire.WorkerSettings, asker: Asker) -> None:
        self._settings = settings
        self._asker = asker
        address = urlsplit(settings.uri)
        self.one_connection = address.scheme == "test"
        self.is_local = not address.netloc
        self._uri = settings.uri

    def open(self) -> None:
        if self._settings.simulate is not None:
            from virtfleet.hypervisor.simulated_demo import open_uri

            self._uri = open_uri(self._settings, self._settings.runtime_dir)

    def opener(self, lane: str) -> tuple[Callable[[], libvirt.virConnect], Door | None]:
        def connect() -> libvirt.virConnect:
            try:
                connection = libvirt.openAuth(self._uri, [list(_CREDENTIALS), self._answer, None], 0)
            except libvirt.libvirtError as error:
                raise translate(error) from error
            if self._settings.simulate is not None:
                from virtfleet.hypervisor.simulated_demo import furnish

                furnish(connection, self._settings)
            return connection

        return connect, None

    def ping(self, timeout: float) -> None:
        raise UnreachableError("no connection of our own to ask")

    def facts(self) -> FactsChannel | None:
        return None

    def door(self, name: str) -> str:
        raise UnreachableError("this URI is not reached through a connection of ours")

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        raise UnreachableError("no shell on this host")

    def cut(self) -> None:
        """Not possible: these connections are libvirt's own."""

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


_CREDENTIALS = {
    libvirt.VIR_CRED_USERNAME: "user name",
    libvirt.VIR_CRED_AUTHNAME: "user name",
    libvirt.VIR_CRED_ECHOPROMPT: "answer",
    libvirt.VIR_CRED_PASSPHRASE: "password",
    libvirt.VIR_CRED_NOECHOPROMPT: "answer",
}
