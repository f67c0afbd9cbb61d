"""Host keys: who is known, unknown, changed, revoked; against a real server and as pure decisions."""

from __future__ import annotations

import base64
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from unit.ssh_people import Person
from unit.sshd import Sshd, available, keygen, running
from virtfleet.errors import AccessError
from virtfleet.hypervisor.ssh import hostkeys
from virtfleet.hypervisor.ssh.asking import nobody
from virtfleet.hypervisor.ssh.connection import SshConnection
from virtfleet.hypervisor.ssh.hostkeys import Trust, judge, parse
from virtfleet.hypervisor.ssh.target import SshTarget
from virtfleet.model.prompt import PromptKind

pytestmark = pytest.mark.skipif(not available(), reason="no OpenSSH server installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(tmp_path)


def lines(server: Sshd) -> list[str]:
    return server.known_hosts.read_text().splitlines()


def connect(server: Sshd, person: Person | None = None) -> None:
    SshConnection.open(server.target(), person or nobody).close()


def fingerprint(server: Sshd, kind: str = "ed25519") -> str:
    return hostkeys.fingerprint(base64.b64decode(server.public(kind).split()[1]))


# ---------------------------------------------------------------- a real server


def test_a_known_key_is_not_asked_about(server: Sshd) -> None:
    person = Person()
    connect(server, person)
    assert person.questions == []


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_the_known_type_is_negotiated(server: Sshd, kind: str) -> None:
    server.known_hosts.unlink()
    server.trust(kind)
    connect(server)


def test_an_unknown_key_is_asked_about_once_and_written(server: Sshd) -> None:
    server.known_hosts.unlink()
    person = Person(["yes"])
    connect(server, person)
    (question,) = person.questions
    assert question.kind is PromptKind.HOST_KEY
    assert not question.secret
    assert question.identity == fingerprint(server)
    assert f"ssh-ed25519 {fingerprint(server)}" in question.text
    assert lines(server) == [f"{server.name} {server.public()}"]
    assert stat.S_IMODE(server.known_hosts.stat().st_mode) == 0o600
    connect(server)
    ours = subprocess.run(
        ["ssh-keygen", "-l", "-F", server.name, "-f", str(server.known_hosts)],
        capture_output=True,
        check=True,
    )
    assert fingerprint(server).encode() in ours.stdout


@pytest.mark.parametrize("answer", [None, "no", ""])
def test_an_unknown_key_that_is_not_accepted(server: Sshd, answer: str | None) -> None:
    server.known_hosts.unlink()
    with pytest.raises(AccessError, match="not accepted") as caught:
        connect(server, Person([answer]))
    assert fingerprint(server) in caught.value.message
    assert not server.known_hosts.exists()


def test_strict_yes_asks_nobody(server: Sshd) -> None:
    server.known_hosts.unlink()
    person = Person(["yes"])
    with pytest.raises(AccessError, match="not known"):
        SshConnection.open(msgspec.structs.replace(server.target(), ask_unknown=False), person)
    assert person.questions == []


def test_hashed_entries_match_and_new_ones_are_hashed(server: Sshd) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(server.known_hosts)], check=True, capture_output=True)
    assert lines(server)[0].startswith("|1|")
    connect(server)
    other = hostkeys.hashed("elsewhere")
    server.known_hosts.write_text(f"{other} {server.public('rsa')}")  # no line feed at the end
    connect(server, Person(["yes"]))
    assert len(lines(server)) == 2
    assert lines(server)[1].startswith("|1|")
    connect(server)


def test_a_changed_key_is_refused_loudly_and_never_asked_about(server: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "other")
    old = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    server.known_hosts.write_text(f"# mine\n{server.name} {old}\n")
    person = Person(["yes"])
    with pytest.raises(AccessError) as caught:
        connect(server, person)
    error = caught.value
    assert person.questions == []
    assert "HOST KEY CHANGED" in error.message
    assert fingerprint(server) in error.message
    assert hostkeys.fingerprint(base64.b64decode(old.split()[1])) in error.message
    assert f"{server.known_hosts}:2" in error.message
    assert f"ssh-keygen -R '{server.name}'" in error.cure


def test_a_revoked_key_is_refused(server: Sshd) -> None:
    with server.known_hosts.open("a") as stream:
        stream.write(f"@revoked * {server.public()}\n")
    with pytest.raises(AccessError, match="REVOKED"):
        connect(server, Person(["yes"]))


def test_a_certificate_authority_is_no_host_key(server: Sshd) -> None:
    server.known_hosts.write_text(f"@cert-authority * {server.public()}\n")
    person = Person(["yes"])
    connect(server, person)
    assert "without a certificate" in person.questions[0].text


def test_a_server_that_lost_its_known_type_counts_as_changed(tmp_path: Path) -> None:
    server = Sshd(tmp_path, host_keys=("rsa",))
    keygen(tmp_path / "host_ed25519")
    server.start()
    try:
        server.trust("ed25519")
        with pytest.raises(AccessError, match="HOST KEY CHANGED"):
            connect(server, Person(["yes"]))
    finally:
        server.stop()


# ---------------------------------------------------------------- pure decisions

KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
OTHER = KEY[:-1] + b"x"
RSA = b"\0\0\0\x07ssh-rsa\0\0\0\x01a"
TARGET = SshTarget("hv1.example", 22, "root")


def line(names: str, key: bytes = KEY, marker: str = "") -> str:
    kind = hostkeys.key_type(key)
    return f"{marker} {names} {kind} {base64.b64encode(key).decode()} comment".strip()


@pytest.mark.parametrize(
    ("text", "trust"),
    [
        ("", Trust.UNKNOWN),
        (line("hv1.example"), Trust.KNOWN),
        (line("HV1.Example,10.0.0.1"), Trust.KNOWN),
        (line("*.example"), Trust.KNOWN),
        (line("*.example,!hv1.*"), Trust.UNKNOWN),
        (line("hv1.exampl?"), Trust.KNOWN),
        (line("hv1.example", OTHER), Trust.CHANGED),
        (line("hv1.example", RSA), Trust.CHANGED),
        (line("hv1.example", OTHER) + "\n" + line("hv1.example"), Trust.KNOWN),
        (line("hv2.example", OTHER), Trust.UNKNOWN),
        (line("[hv1.example]:2222", OTHER), Trust.UNKNOWN),
        (line(hostkeys.hashed("hv1.example")), Trust.KNOWN),
        (line(hostkeys.hashed("hv2.example")), Trust.UNKNOWN),
        (line("|1|broken"), Trust.UNKNOWN),
        (line("*", KEY, "@revoked"), Trust.REVOKED),
        (line("hv1.example") + "\n" + line("*", KEY, "@revoked"), Trust.REVOKED),
        (line("*", OTHER, "@revoked"), Trust.UNKNOWN),
        (line("hv1.example", KEY, "@cert-authority"), Trust.UNKNOWN),
        (line("hv1.example", KEY, "@unheard-of"), Trust.UNKNOWN),
        ("hv1.example ssh-ed25519 not*base64", Trust.UNKNOWN),
        ("hv1.example ssh-rsa " + base64.b64encode(KEY).decode(), Trust.UNKNOWN),
        ("# " + line("hv1.example"), Trust.UNKNOWN),
    ],
    ids=[f"case{n}" for n in range(22)],  # not by their text: hashed entries have random salts
)
def test_judgement(text: str, trust: Trust) -> None:
    assert judge(parse("f", text), TARGET, KEY).trust is trust


def test_other_ports() -> None:
    target = SshTarget("hv1", 2222, "root")
    assert judge(parse("f", line("[hv1]:2222")), target, KEY).trust is Trust.KNOWN
    assert judge(parse("f", line("[hv1]:2222", OTHER)), target, KEY).trust is Trust.CHANGED
    assert judge(parse("f", line("[hv1]:*")), target, KEY).trust is Trust.KNOWN
    assert judge(parse("f", line("hv1")), target, KEY).trust is Trust.KNOWN  # vouched for without the port
    assert judge(parse("f", line("hv1", OTHER)), target, KEY).trust is Trust.UNKNOWN
    aliased = msgspec.structs.replace(target, alias="Farm")
    assert judge(parse("f", line("farm")), aliased, KEY).trust is Trust.KNOWN
    assert judge(parse("f", line("[hv1]:2222")), aliased, KEY).trust is Trust.UNKNOWN


def test_known_types_are_preferred() -> None:
    entries = parse("f", line("hv1.example", RSA))
    assert hostkeys.preferred_algorithms(entries, TARGET)[:3] == (
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
    )
    assert hostkeys.preferred_algorithms([], TARGET)[0] == "ssh-ed25519"


def test_many_at_once_write_whole_lines_and_no_line_twice(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known_hosts"
    targets = [SshTarget(f"hv{n % 10}", 22, "root", known_hosts=(str(file),)) for n in range(40)]
    threads = [threading.Thread(target=hostkeys.remember, args=(target, KEY)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text.split()[0] for text in file.read_text().splitlines()) == [f"hv{n}" for n in range(10)]
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_nothing_is_written_to_a_device() -> None:
    assert hostkeys.remember(SshTarget("h", 22, "root", known_hosts=("/dev/null",)), KEY) == ""
    assert hostkeys.remember(SshTarget("h", 22, "root"), KEY) == ""
