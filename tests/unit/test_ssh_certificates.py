"""Certificates of hosts and of users, and key files in PKCS#8, against a real OpenSSH server."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from unit.ssh_people import Person
from unit.sshd import Sshd, available, keygen
from unit.test_ssh_auth import add_to_agent, agent, log_in, refusal
from virtfleet.errors import AccessError
from virtfleet.hypervisor.ssh import certificates, keys
from virtfleet.hypervisor.ssh.asking import nobody
from virtfleet.hypervisor.ssh.connection import SshConnection
from virtfleet.hypervisor.ssh.hostkeys import Trust, judge_certificate, parse, read
from virtfleet.hypervisor.ssh.keys import KeyFile, UnusableKeyError, WrongPassphraseError
from virtfleet.hypervisor.ssh.target import resolve
from virtfleet.hypervisor.wire import SshSettings

__all__ = ["agent"]

pytestmark = pytest.mark.skipif(not available(), reason="no OpenSSH server installed")


class Serving(Protocol):
    def __call__(self, options: str, kinds: tuple[str, ...] = ("ed25519",)) -> Sshd: ...


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Starts a server whose user's key is authorised; its own is known to nobody."""
    servers: list[Sshd] = []

    def start(options: str, kinds: tuple[str, ...] = ("ed25519",)) -> Sshd:
        server = Sshd(tmp_path, host_keys=kinds, options=options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def sign(authority: Path, key: Path, *options: str) -> Path:
    """A certificate beside `key`, by `authority`."""
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "someone", *options, f"{key}.pub"],
        check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return Path(f"{key}-cert.pub")


def vouched(
    serving: Serving, tmp_path: Path, *options: str, kind: str = "ed25519", authority: str = "ed25519"
) -> Sshd:
    """A server with a certificate by an authority that known_hosts names for all hosts."""
    by = keygen(tmp_path / "authority", authority)
    server = serving(f"HostCertificate {tmp_path}/host_{kind}-cert.pub", (kind,))
    sign(by, tmp_path / f"host_{kind}", "-h", *options)
    server.start()
    server.known_hosts.write_text(f"@cert-authority * {Path(f'{by}.pub').read_text()}")
    return server


# ---------------------------------------------------------------- of hosts


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("authority", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_by_a_known_authority_needs_no_question(
    serving: Serving, tmp_path: Path, kind: str, authority: str
) -> None:
    server = vouched(serving, tmp_path, "-n", "127.0.0.1", kind=kind, authority=authority)
    before = server.known_hosts.read_text()
    SshConnection.open(server.target(), nobody).close()
    assert server.known_hosts.read_text() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-n", "other.example"), "it is for other.example"),
        (("-n", "127.0.0.1", "-V", "-2h:-1h"), "it is not valid now"),
        (("-n", "127.0.0.1", "-V", "+1h:+2h"), "it is not valid now"),
    ],
)
def test_a_certificate_that_does_not_fit_leaves_a_question(
    serving: Serving, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    server = vouched(serving, tmp_path, *options)
    person = Person(["no"])
    with pytest.raises(AccessError, match="was not accepted"):
        SshConnection.open(server.target(), person)
    assert why in person.questions[0].text


def test_a_revoked_authority_is_refused(serving: Serving, tmp_path: Path) -> None:
    server = vouched(serving, tmp_path, "-n", "127.0.0.1")
    with server.known_hosts.open("a") as stream:
        stream.write(f"@revoked * {(tmp_path / 'authority.pub').read_text()}")
    with pytest.raises(AccessError, match="REVOKED"):
        SshConnection.open(server.target(), Person(["yes"]))


def test_a_certificate_excuses_no_changed_key_of_another_authority(serving: Serving, tmp_path: Path) -> None:
    server = vouched(serving, tmp_path, "-n", "127.0.0.1")
    other = keygen(tmp_path / "other")
    server.known_hosts.write_text(f"{server.name} {Path(f'{other}.pub').read_text()}")
    with pytest.raises(AccessError, match="HOST KEY CHANGED"):
        SshConnection.open(server.target(), Person(["yes"]))


def signed_blob(tmp_path: Path, *options: str) -> tuple[bytes, bytes, str]:
    """A host's plain key, its certificate, and the line that names the authority."""
    by, key = keygen(tmp_path / "authority"), keygen(tmp_path / "host")
    path = sign(by, key, *options)
    plain = paramiko.Ed25519Key.from_private_key_file(str(key)).asbytes()
    return plain, base64.b64decode(path.read_text().split()[1]), Path(f"{by}.pub").read_text()


def test_judgement_of_certificates(tmp_path: Path) -> None:
    key, blob, line = signed_blob(tmp_path, "-h", "-n", "hv*.example,10.0.0.1", "-V", "-1h:+1h")
    now = time.time()
    target = resolve("qemu+ssh://root@hv1.example/system", SshSettings(known_hosts=("/none",)))
    entries = parse("f", f"@cert-authority *.example {line}")

    def trust(name: str = "hv1.example", at: float = now, of: bytes = blob, for_key: bytes = key) -> Trust:
        where = msgspec.structs.replace(target, host=name)
        return judge_certificate(entries, where, for_key, of, at)[0].trust

    assert trust() is Trust.KNOWN
    assert trust("other.example") is Trust.UNKNOWN
    assert trust("10.0.0.1") is Trust.UNKNOWN, "the authority is trusted for *.example alone"
    assert trust(at=now + 3600) is Trust.UNKNOWN
    assert trust(for_key=key[:-1] + b"x") is Trust.UNKNOWN
    assert judge_certificate([], target, key, blob, now)[0].trust is Trust.UNKNOWN
    for at in range(0, len(blob), 7):
        assert trust(of=blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]) is Trust.UNKNOWN
        assert trust(of=blob[:at]) is Trust.UNKNOWN
    assert trust(of=blob + b"\0") is Trust.UNKNOWN


def test_a_users_certificate_proves_no_host(tmp_path: Path) -> None:
    key, blob, line = signed_blob(tmp_path, "-n", "hv1.example")
    target = resolve("qemu+ssh://root@hv1.example/system", SshSettings(known_hosts=("/none",)))
    verdict, why = judge_certificate(parse("f", f"@cert-authority * {line}"), target, key, blob, time.time())
    assert (verdict.trust, why) == (Trust.UNKNOWN, "it is a user's")
    assert read(["/none"]) == []


@given(st.binary(max_size=300))
def test_any_bytes_are_no_certificate(data: bytes) -> None:
    for blob in (data, b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com" + data):
        try:
            certificates.parse(blob)
        except ValueError:
            continue


# ---------------------------------------------------------------- of users


@pytest.fixture
def trusting(serving: Serving, tmp_path: Path) -> Sshd:
    """A server that takes certificates of `tmp_path/authority`, and only those."""
    keygen(tmp_path / "authority")
    server = serving(f"TrustedUserCAKeys {tmp_path}/authority.pub")
    server.start()
    server.trust()
    server.authorized.write_text("")
    return server


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_a_certificate_beside_its_key(trusting: Sshd, tmp_path: Path, kind: str, passphrase: str) -> None:
    key = keygen(tmp_path / "mine", kind, passphrase)
    assert "not accepted" in refusal(trusting.target(identities=(str(key),)), Person([passphrase]))
    sign(tmp_path / "authority", key, "-n", trusting.user)
    log_in(trusting.target(identities=(str(key),)), Person([passphrase]))


def test_certificate_file(trusting: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine")
    certificate = sign(tmp_path / "authority", key, "-n", trusting.user).rename(tmp_path / "elsewhere.pub")
    target = trusting.target(identities=(str(key),))
    assert "not accepted" in refusal(target)
    log_in(msgspec.structs.replace(target, certificates=("/nowhere", str(certificate))))


def test_certificate_file_of_ssh_config() -> None:
    config = "Host hv1\n  CertificateFile ~/.ssh/mine-cert.pub\n"
    target = resolve("qemu+ssh://root@hv1/system", SshSettings(), config)
    assert target.certificates == (str(Path("~/.ssh/mine-cert.pub").expanduser()),)
    assert resolve("qemu+ssh://root@hv2/system", SshSettings(), config).certificates == ()


def test_a_certificate_for_a_key_in_the_agent(trusting: Sshd, tmp_path: Path, agent: str) -> None:
    key = keygen(tmp_path / "mine", "rsa")
    add_to_agent(agent, key)
    certificate = sign(tmp_path / "authority", key, "-n", trusting.user)
    key.unlink()
    target = trusting.target(identities=(), agent=agent)
    assert "not accepted" in refusal(target)
    log_in(msgspec.structs.replace(target, certificates=(str(certificate),)))


def test_a_certificate_that_is_refused_leaves_the_plain_key(serving: Serving, tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine")
    sign(keygen(tmp_path / "nobody"), key, "-n", "x")
    server = serving("")
    server.start()
    server.trust()
    server.authorize(key)
    log_in(server.target(identities=(str(key),)))


# ---------------------------------------------------------------- key files in PKCS#8


def pkcs8(key: Path, passphrase: str = "") -> Path:
    """Rewrites a private key file."""
    private = serialization.load_ssh_private_key(key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            how or serialization.NoEncryption(),
        )
    )
    return key


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("passphrase", ["", "secret"])
@pytest.mark.parametrize("public", [True, False])
def test_pkcs8(serving: Serving, tmp_path: Path, kind: str, passphrase: str, public: bool) -> None:
    server = serving("")
    server.start()
    server.trust()
    key = keygen(tmp_path / "mine", kind)
    server.authorize(key)
    pkcs8(key, passphrase)
    assert "PRIVATE KEY" in key.read_text().splitlines()[0]
    if not public:
        Path(f"{key}.pub").unlink()
    person = Person(["wrong", passphrase] if passphrase else [])
    log_in(server.target(identities=(str(key),)), person)
    assert [question.retry for question in person.questions] == ([False, True] if passphrase else [])


def test_pkcs8_says_its_public_half_and_keeps_its_passphrase(tmp_path: Path) -> None:
    key = pkcs8(keygen(tmp_path / "k"), "secret")
    file = KeyFile(str(key))
    assert file.encrypted
    with pytest.raises(WrongPassphraseError):
        file.load("no")
    with pytest.raises(WrongPassphraseError):
        file.load("")
    assert file.load("secret").asbytes() == file.public
    assert "secret" not in repr(file)


def test_a_key_of_a_security_device_is_the_agents() -> None:
    """Made by hand: ssh-keygen would ask for the device."""
    name = b"sk-ssh-ed25519@openssh.com"
    with pytest.raises(UnusableKeyError, match="ssh-agent only"):
        keys._class("", len(name).to_bytes(4, "big") + name)
