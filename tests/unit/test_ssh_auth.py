"""Ways to log in: agent, files, passphrases, passwords, questions; and what is said when none fits."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from unit.ssh_people import Person, Rules, ScriptedServer
from unit.sshd import Sshd, available, keygen, running
from virtfleet.errors import AccessError, UnreachableError
from virtfleet.hypervisor.ssh.asking import nobody
from virtfleet.hypervisor.ssh.connection import SshConnection
from virtfleet.hypervisor.ssh.keys import KeyFile, UnusableKeyError, WrongPassphraseError
from virtfleet.hypervisor.ssh.target import SshTarget
from virtfleet.model.prompt import PromptKind

pytestmark = pytest.mark.skipif(not available(), reason="no OpenSSH server installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(tmp_path)


@pytest.fixture
def agent() -> Iterator[str]:
    """Socket of a real ssh-agent, without keys."""
    folder = tempfile.mkdtemp(prefix="vf-agent-")
    path = f"{folder}/s"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(500):
            if os.path.exists(path):
                break
            threading.Event().wait(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def add_to_agent(agent: str, key: Path) -> None:
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, stdin=subprocess.DEVNULL)


Scripted = Callable[[Rules], SshTarget]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    """Starts a scripted server; gives the target that leads to it, its host key known."""
    key = paramiko.Ed25519Key.from_private_key_file(str(keygen(tmp_path / "scripted_host")))
    servers: list[ScriptedServer] = []

    def start(rules: Rules) -> SshTarget:
        server = ScriptedServer(rules, key)
        servers.append(server)
        known = tmp_path / f"known_{server.port}"
        known.write_text(f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n")
        return SshTarget("127.0.0.1", server.port, "amy", known_hosts=(str(known),))

    yield start
    for server in servers:
        server.stop()


def log_in(target: SshTarget, person: Person | None = None) -> None:
    SshConnection.open(target, person or nobody, timeout=10).close()


def refusal(target: SshTarget, person: Person | None = None) -> str:
    with pytest.raises(AccessError) as caught:
        log_in(target, person)
    return caught.value.message


# ---------------------------------------------------------------- keys, against OpenSSH


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_file_of_each_type(server: Sshd, tmp_path: Path, kind: str) -> None:
    key = keygen(tmp_path / kind, kind)
    server.authorize(key)
    log_in(server.target(identities=(str(key),)))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_the_old_pem_format(server: Sshd, tmp_path: Path, kind: str) -> None:
    key = keygen(tmp_path / kind, kind, "secret", "-m", "PEM")
    server.authorize(key)
    person = Person(["secret"])
    log_in(server.target(identities=(str(key),)), person)
    assert len(person.questions) == 1


def test_a_key_in_the_agent(server: Sshd, agent: str) -> None:
    add_to_agent(agent, server.key)
    log_in(server.target(identities=(), agent=agent))


def test_an_rsa_key_in_the_agent(server: Sshd, agent: str, tmp_path: Path) -> None:
    key = keygen(tmp_path / "rsa", "rsa")
    server.authorize(key)
    add_to_agent(agent, key)
    log_in(server.target(identities=(), agent=agent))


def test_a_public_key_file_names_a_key_of_the_agent(server: Sshd, agent: str, tmp_path: Path) -> None:
    add_to_agent(agent, keygen(tmp_path / "stranger"))
    add_to_agent(agent, server.key)
    log_in(server.target(identities=(f"{server.key}.pub",), agent=agent, identities_only=True))


def test_identities_only_leaves_the_agents_other_keys_alone(server: Sshd, agent: str, tmp_path: Path) -> None:
    stranger = keygen(tmp_path / "stranger")
    add_to_agent(agent, server.key)
    message = refusal(server.target(identities=(str(stranger),), agent=agent, identities_only=True))
    assert f"key {stranger} was not accepted" in message
    assert "agent key" not in message


def test_an_agent_that_is_gone_is_only_mentioned(server: Sshd, tmp_path: Path) -> None:
    log_in(server.target(agent=str(tmp_path / "nowhere")))
    assert "does not answer" in refusal(server.target(identities=(), agent=str(tmp_path / "nowhere")))


def test_a_passphrase_is_asked_for_once(server: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "locked", passphrase="open sesame")
    server.authorize(key)
    person = Person(["open sesame"])
    log_in(server.target(identities=(str(key),)), person)
    (question,) = person.questions
    assert question.kind is PromptKind.PASSPHRASE
    assert question.identity == str(key)
    assert question.secret
    assert not question.retry
    assert str(key) in question.text


def test_a_wrong_passphrase_is_asked_for_again_three_times_in_all(server: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "locked", passphrase="open sesame")
    server.authorize(key)
    person = Person(["a", "open sesame"])
    log_in(server.target(identities=(str(key),)), person)
    assert [question.retry for question in person.questions] == [False, True]
    person = Person(["a", "b", "c", "open sesame"])
    assert "wrong passphrase" in refusal(server.target(identities=(str(key),)), person)
    assert len(person.questions) == 3


def test_no_passphrase_is_asked_for_a_key_the_server_does_not_take(server: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "locked", passphrase="open sesame")
    person = Person(["open sesame"])
    assert f"key {key} was not accepted" in refusal(server.target(identities=(str(key),)), person)
    assert person.questions == []


def test_declining_is_said(server: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "locked", passphrase="open sesame")
    server.authorize(key)
    assert "no passphrase was given" in refusal(server.target(identities=(str(key),)))


def test_what_was_tried_is_said(server: Sshd, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    damaged.chmod(0o600)
    open_key = keygen(tmp_path / "open")
    open_key.chmod(0o644)
    message = refusal(
        server.target(identities=(str(tmp_path / "absent"), str(damaged), str(open_key), str(wrong)))
    )
    assert f"{server.user}@127.0.0.1:{server.port}: login refused" in message
    assert "absent: no such file" in message
    assert "damaged: the file is damaged" in message
    assert "permissions" in message
    assert f"key {wrong} was not accepted" in message
    assert "The server takes: publickey" in message


def test_too_many_keys_in_the_agent(server: Sshd, agent: str, tmp_path: Path) -> None:
    for number in range(8):
        add_to_agent(agent, keygen(tmp_path / f"k{number}"))
    with pytest.raises(AccessError, match="Too many authentication failures") as caught:
        log_in(server.target(identities=(), agent=agent))
    assert "ssh.identity" in caught.value.cure


# ---------------------------------------------------------------- key files alone


def test_key_file_reads_the_public_half_without_the_passphrase(tmp_path: Path) -> None:
    path = keygen(tmp_path / "k", passphrase="pw")
    file = KeyFile(str(path))
    assert file.encrypted
    assert file.public is not None
    with pytest.raises(WrongPassphraseError):
        file.load("no")
    assert file.load("pw").asbytes() == file.public
    assert "pw" not in repr(file)


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN PRIVATE KEY-----\nAA==\n", "\0" * 100])
def test_what_is_no_key_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "k"
    path.write_text(content)
    with pytest.raises(UnusableKeyError):
        KeyFile(str(path))


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyError):
        KeyFile(str(tmp_path))


# ---------------------------------------------------------------- questions, against a scripted server


def test_password(scripted: Scripted) -> None:
    person = Person(["geheim"])
    target = scripted(Rules(password="geheim"))
    log_in(target, person)
    (question,) = person.questions
    assert question.kind is PromptKind.PASSWORD
    assert question.identity == target.label
    assert question.secret


def test_a_wrong_password_is_asked_for_again(scripted: Scripted) -> None:
    rules = Rules(password="geheim")
    person = Person(["a", "b", "geheim"])
    log_in(scripted(rules), person)
    assert [question.retry for question in person.questions] == [False, True, True]
    assert "3 were not accepted" in refusal(scripted(rules), Person(["a", "b", "c", "d"]))


def test_nobody_to_ask(scripted: Scripted) -> None:
    message = refusal(scripted(Rules(password="geheim")))
    assert "password: none was given" in message


def test_keyboard_interactive(scripted: Scripted) -> None:
    rules = Rules(
        methods="keyboard-interactive",
        rounds=[([("Password: ", False)], ["geheim"]), ([("Verification code: ", True)], ["123456"])],
    )
    person = Person(["geheim", "123456"])
    target = scripted(rules)
    log_in(target, person)
    password, code = person.questions
    assert password.kind is PromptKind.INTERACTIVE
    assert password.identity == target.label
    assert password.secret
    assert "Welcome" in password.text
    assert code.identity == ""  # a one-time code is never remembered
    assert not code.secret


def test_keyboard_interactive_wrong_then_right(scripted: Scripted) -> None:
    rules = Rules(methods="keyboard-interactive,password", rounds=[([("Password: ", False)], ["geheim"])])
    person = Person(["falsch", "geheim"])
    log_in(scripted(rules), person)
    assert [question.retry for question in person.questions] == [False, True]


def test_after_three_wrong_answers_the_same_password_is_not_asked_for_again(scripted: Scripted) -> None:
    rules = Rules(methods="keyboard-interactive,password", rounds=[([("Password: ", False)], ["geheim"])])
    person = Person(["a", "b", "c", "d", "e", "f"])
    message = refusal(scripted(rules), person)
    assert len(person.questions) == 3
    assert "password" not in rules.seen
    assert "keyboard-interactive: 3 answers were not accepted" in message


def test_once_declined_nothing_more_is_asked(scripted: Scripted) -> None:
    rules = Rules(methods="keyboard-interactive,password", rounds=[([("Password: ", False)], ["geheim"])])
    person = Person([None, "geheim"])
    refusal(scripted(rules), person)
    assert len(person.questions) == 1


def test_a_key_and_then_a_question(scripted: Scripted, tmp_path: Path) -> None:
    path = keygen(tmp_path / "mine")
    key = paramiko.Ed25519Key.from_private_key_file(str(path))
    rules = Rules(
        methods="publickey", key=key.asbytes(), key_is_half=True, rounds=[([("Token: ", False)], ["42"])]
    )
    target = scripted(rules)
    person = Person(["42"])
    log_in(
        SshTarget(target.host, target.port, "amy", identities=(str(path),), known_hosts=target.known_hosts),
        person,
    )
    assert [question.identity for question in person.questions] == [""]
    assert rules.seen[-1] == "keyboard-interactive"


def test_hostile_questions_are_cleaned(scripted: Scripted) -> None:
    rules = Rules(methods="keyboard-interactive", rounds=[([("\x1b[2J[red]pw\n", False)], ["x"])])
    person = Person(["x"])
    log_in(scripted(rules), person)
    assert person.questions[0].text.isprintable()


def test_a_server_that_dies_while_a_person_thinks(scripted: Scripted) -> None:
    rules = Rules(password="geheim")
    target = scripted(rules)

    def slow(
        kind: PromptKind, text: str, *, secret: bool = True, identity: str = "", retry: bool = False
    ) -> str:
        with socket.create_connection((target.host, target.port)):
            pass
        for thread in threading.enumerate():
            if isinstance(thread, paramiko.Transport) and thread.server_mode:
                thread.close()
        return "geheim"

    with pytest.raises(UnreachableError, match="during login"):
        SshConnection.open(target, slow)


def test_secrets_reach_no_log_and_no_repr(
    scripted: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        target = scripted(Rules(password="hunter2"))
        connection = SshConnection.open(target, Person(["wrong-secret", "hunter2"]))
        text = repr(connection) + repr(connection.target) + repr(vars(connection))
        connection.close()
        message = refusal(scripted(Rules(password="hunter2")), Person(["first-secret", "second-secret"]))
    for secret in ("hunter2", "wrong-secret", "first-secret", "second-secret"):
        assert secret not in text + message + caplog.text
    assert caplog.text == ""


def test_paramiko_says_nothing(server: Sshd, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AccessError):
        log_in(server.target(identities=()))
    log_in(server.target())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_the_key_file_mode_is_checked_against_the_open_file(tmp_path: Path) -> None:
    path = keygen(tmp_path / "k")
    path.chmod(0o640)
    with pytest.raises(UnusableKeyError, match="chmod 600"):
        KeyFile(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
