"""A real OpenSSH server on loopback for one test, with keys and files of its own. Needs no root."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from virtfleet.hypervisor.ssh.target import LibvirtAddress, SshTarget

SSHD = "/usr/sbin/sshd"
HOST_KEYS = ("ed25519", "ecdsa", "rsa")


def available() -> bool:
    return os.path.exists(SSHD) and shutil.which("ssh-keygen") is not None


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "", *options: str) -> Path:
    """A new private key at `path`, its public half beside it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path), *options],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


@functools.cache
def _host_key(kind: str) -> tuple[str, str]:
    """Text of a private and a public key, made once: RSA takes its time."""
    with tempfile.TemporaryDirectory() as folder:
        path = keygen(Path(folder) / "key", kind, "", *(("-b", "2048") if kind == "rsa" else ()))
        return path.read_text(), Path(f"{path}.pub").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Sshd:
    """Started by `start`; the user's key is `key`, accepted by it."""

    def __init__(self, folder: Path, *, host_keys: tuple[str, ...] = HOST_KEYS, options: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.user = getpass.getuser()
        self.known_hosts = folder / "known_hosts"
        self.key = keygen(folder / "user_key")
        self.authorized = folder / "authorized_keys"
        self.authorize(self.key)
        for kind in host_keys:
            private, public = _host_key(kind)
            path = folder / f"host_{kind}"
            path.touch(0o600)
            path.write_text(private)
            Path(f"{path}.pub").write_text(public)
        self._host_keys = host_keys
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f"HostKey {self.folder}/host_{kind}" for kind in self._host_keys),
            f"AuthorizedKeysFile {self.authorized}",
            f"PidFile {self.folder}/sshd.pid",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            self._options,
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.recv(4)
                return
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "sshd.log").read_text())
            time.sleep(0.02)

    def authorize(self, key: Path) -> None:
        with self.authorized.open("a") as stream:
            stream.write(Path(f"{key}.pub").read_text())

    def public(self, kind: str = "ed25519") -> str:
        """`TYPE BASE64` of a host key."""
        return " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])

    @property
    def name(self) -> str:
        """As known_hosts calls it."""
        return f"[127.0.0.1]:{self.port}"

    def trust(self, kind: str = "ed25519") -> None:
        with self.known_hosts.open("a") as stream:
            stream.write(f"{self.name} {self.public(kind)}\n")

    def target(
        self,
        *,
        identities: tuple[str, ...] | None = None,
        agent: str = "",
        identities_only: bool = False,
        jumps: tuple[SshTarget, ...] = (),
        libvirt: LibvirtAddress | None = None,
    ) -> SshTarget:
        return SshTarget(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            identities=(str(self.key),) if identities is None else identities,
            identities_only=identities_only,
            agent=agent,
            known_hosts=(str(self.known_hosts),),
            jumps=jumps,
            libvirt=libvirt,
        )

    def sessions(self) -> list[int]:
        """Process ids below the listening one, youngest generation last."""
        return _below(self._process.pid) if self._process is not None else []

    def kill_sessions(self) -> None:
        """sshd first: it must not live to report the end of its commands."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        if self._process is None:
            return
        self.kill_sessions()
        self._process.kill()
        self._process.wait()


def running(folder: Path, **how: str) -> Iterator[Sshd]:
    """For a fixture: a server that trusts its user's key, and whose key is known."""
    server = Sshd(folder, **how)  # type: ignore[arg-type]
    server.start()
    server.trust()
    try:
        yield server
    finally:
        server.stop()


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    found = [int(child) for child in children]
    return found + [grandchild for child in found for grandchild in _below(child)]
