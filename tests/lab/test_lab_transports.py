"""Hosts that libvirt reaches by itself: local socket, TCP, TLS. Their lanes are freed like those over SSH."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import Watched
from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.engine import Engine
from virtfleet.errors import DeadlineError
from virtfleet.hypervisor import happenings, wire
from virtfleet.hypervisor.asking import Asker
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.reach import Direct
from virtfleet.model import HostState

pytestmark = pytest.mark.lab

SOCKET = "/run/libvirt/libvirt-sock"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))


def certificates(folder: Path) -> ssl.SSLContext:
    """A certificate authority in `folder`, as libvirt's pkipath wants it, and the context of its server."""
    authority, authority_key = _certificate("lab", None)
    server, key = _certificate("localhost", (authority, authority_key))
    (folder / "cacert.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(
        server.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.num_tickets = 0  # libvirt's client takes the first record for libvirtd's word
    return context


def _certificate(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class _Listener:
    """A libvirtd that listens on TCP: what comes is carried to its local socket."""

    def __init__(self, socket: Path, greeting: bytes) -> None:
        self._socket = socket
        self._greeting = greeting
        self.clients: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        writer.write(self._greeting)
        far_reader, far_writer = await asyncio.open_unix_connection(str(self._socket))
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))


@asynccontextmanager
async def reached(host: LabHost, transport: str, folder: Path) -> AsyncIterator[str]:
    """How `host` is reached without SSH. The port of a frozen libvirtd accepts, as its kernel does."""
    socket = host.inside(SOCKET)
    if transport == "unix":
        yield f"qemu+unix:///system?socket={socket}"
        return
    context = certificates(folder) if transport == "tls" else None
    # What a libvirtd says first on TLS: that it likes the client.
    listener = _Listener(socket, b"\1" if context is not None else b"")
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"qemu+{transport}://localhost:{port}/system?pkipath={folder}"
    finally:
        server.close()
        await asyncio.wait(listener.clients, timeout=10)


@asynccontextmanager
async def watched_by(uri: str) -> AsyncIterator[Watched]:
    engine = Engine(FleetSettings(hosts={"near": HostSettings(name="near", uri=uri)}), interactive=False)
    watched = Watched(engine)
    await engine.start()
    try:
        yield watched
    finally:
        await engine.stop()


@pytest.mark.parametrize("transport", ["unix", "tcp", "tls"])
async def test_a_hung_libvirtd_costs_no_worker(
    transport: str, lab: Lab, hosts: dict[str, LabHost], tmp_path: Path
) -> None:
    host = hosts["hv1"]
    async with reached(host, transport, tmp_path) as uri, watched_by(uri) as watched:
        await watched.until_fresh("near")
        rows = [vm.name for vm in watched.host("near").vms]
        assert "hv1-vm1" in rows
        await asyncio.to_thread(host.freeze_libvirtd)
        await watched.until_state("near", HostState.HUNG)
        watched.states["near"].clear()
        await asyncio.sleep(15)  # past the hard deadline: the lanes are cut, and opening them hangs as well
        assert watched.states["near"] in ([], [HostState.HUNG])
        assert [vm.name for vm in watched.host("near").vms] == rows
        await asyncio.to_thread(host.thaw_libvirtd)
        await watched.until_fresh("near")
        assert not [e for e in watched.engine.events.recent(50) if e.what == "worker ended"]
        assert set(watched.states["near"]) <= {HostState.HUNG, HostState.UP, HostState.SLOW}


async def test_hung_from_the_first_moment_and_never_flickering(
    lab: Lab, hosts: dict[str, LabHost], tmp_path: Path
) -> None:
    host = hosts["hv1"]
    host.freeze_libvirtd()
    async with reached(host, "unix", tmp_path) as uri, watched_by(uri) as watched:
        await watched.until_state("near", HostState.HUNG)
        await asyncio.sleep(15)
        await asyncio.to_thread(host.thaw_libvirtd)
        await watched.until_fresh("near")
        told = [state for state in watched.states["near"] if state is not HostState.SLOW]
        assert told == [HostState.HUNG, HostState.UP]


async def test_a_killed_libvirtd_is_found_again(lab: Lab, hosts: dict[str, LabHost], tmp_path: Path) -> None:
    host = hosts["hv1"]
    async with reached(host, "unix", tmp_path) as uri, watched_by(uri) as watched:
        await watched.until_fresh("near")
        await asyncio.to_thread(host.kill_libvirtd)
        await watched.until_state("near", HostState.UNREACHABLE)
        await asyncio.to_thread(host.start_libvirtd)
        await watched.until_fresh("near")


async def test_a_stuck_call_costs_its_own_lane_and_nothing_else(lab: Lab, hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    happenings.start_event_loop()
    before = len(os.listdir("/dev/fd"))
    settings = wire.WorkerSettings("near", f"qemu+unix:///system?socket={host.inside(SOCKET)}")
    reach = Direct(settings, Asker("near", lambda _: None, lambda _: None))
    stuck: list[bool] = []
    lanes = Lanes(reach, lambda: stuck.append(True), lambda: False)
    for lane in (lanes.monitor, lanes.storage):
        assert await lane.call(lambda conn: conn.numOfDomains(), 10) >= 2
    await asyncio.to_thread(host.freeze_vm, "hv1-vm1")
    with pytest.raises(DeadlineError):
        await lanes.storage.call(lambda conn: conn.lookupByName("hv1-vm1").memoryStats(), 2)
    assert await lanes.monitor.call(lambda conn: conn.numOfDomains(), 10) >= 2
    assert (lanes.monitor.generation, lanes.storage.generation) == (1, 1)
    assert await lanes.storage.call(lambda conn: conn.numOfDomains(), 10) >= 2
    assert (lanes.monitor.generation, lanes.storage.generation) == (1, 2)
    assert not stuck
    await asyncio.to_thread(host.thaw_vm, "hv1-vm1")
    await lanes.close()
    for _ in range(100):
        if len(os.listdir("/dev/fd")) <= before:
            break
        await asyncio.sleep(0.05)
    assert len(os.listdir("/dev/fd")) <= before + 3, "connections are closed; libvirt's event loop may stay"
