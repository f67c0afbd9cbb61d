"""The ladder of ways to log in: keys first, then questions, and never the same question twice in vain.

Order: the identities somebody named, then the agent's other keys, then the
usual files; keyboard-interactive; password. A key that needs a passphrase is
asked for only if the server would take it. Once a person declines, nothing
more is asked: a console of 500 hosts must not follow a refused passphrase
with 500 password dialogs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import paramiko
from paramiko.pkey import PublicBlob

from virtfleet.errors import AccessError, UnreachableError
from virtfleet.hypervisor.ssh.asking import Asker, Deadline
from virtfleet.hypervisor.ssh.keys import (
    Agent,
    KeyFile,
    PublicKey,
    UnusableKeyError,
    WrongPassphraseError,
    certificates_of,
    describe,
)
from virtfleet.hypervisor.ssh.target import SshTarget
from virtfleet.hypervisor.ssh.transport import Transport, reason
from virtfleet.hypervisor.ssh.userauth import CannotSignError, Outcome, Reply, UserAuth
from virtfleet.model.prompt import PromptKind
from virtfleet.model.text import clean

ATTEMPTS = 3
"""Answers that may be wrong before we stop asking."""
_GRACE = 60.0
"""Seconds a server surely waits for a login; OpenSSH's default is 120."""

_ROUNDS = 10
"""Sets of questions in one keyboard-interactive login."""

_PASSWORD = re.compile(r"pass(word|wort|phrase)", re.IGNORECASE)
_ONE_TIME = re.compile(r"one.?time|otp|token|code|verif", re.IGNORECASE)


def log_in(transport: Transport, target: SshTarget, ask: Asker, deadline: Deadline) -> None:
    """Returns logged in. Raises AccessError (says what was tried), UnreachableError (lost, too slow)."""
    agent = Agent(target.agent)
    try:
        _Ladder(UserAuth(transport, target.user), transport, target, agent, ask, deadline).climb()
    finally:
        agent.close()


class _Ladder:
    def __init__(
        self,
        auth: UserAuth,
        transport: Transport,
        target: SshTarget,
        agent: Agent,
        ask: Asker,
        deadline: Deadline,
    ) -> None:
        self._auth = auth
        self._transport = transport
        self._target = target
        self._agent = agent
        self._ask = ask
        self._deadline = deadline
        self._label = target.label
        self._tried: list[str] = [agent.problem] if agent.problem else []
        self._declined = False
        self._asked_for = 0.0
        self._password_asked = False

    def climb(self) -> None:
        try:
            reply = self._auth.start(self._deadline.left)
            self._keys = self._key_attempts()
            self._steps(reply)
        except TimeoutError:
            raise UnreachableError(f"{self._label}: the SSH server stopped answering during login") from None
        except (EOFError, OSError) as error:
            raise self._cut_off() from error

    def _steps(self, reply: Reply) -> None:
        steps = {
            "publickey": lambda: next(self._keys, None),
            "keyboard-interactive": self._interactive,
            "password": self._password,
        }
        exhausted: set[str] = set()
        methods = reply.methods
        while reply.outcome is not Outcome.SUCCESS:
            step = next((name for name in steps if name in methods and name not in exhausted), None)
            if step is None:
                raise self._refused(methods)
            done = steps[step]()
            if done is None:
                exhausted.add(step)
                continue
            reply = done
            if reply.outcome is Outcome.PARTIAL:
                self._tried.append(f"{step} was accepted, but the server wants more")
                methods = reply.methods
            elif reply.methods:
                methods = reply.methods

    # ---- keys

    def _key_attempts(self) -> Iterator[Reply]:
        """One reply for each key that was tried with a signature."""
        agent = {bytes(key.blob): key for key in self._agent.get_keys()}
        done: set[bytes] = set()
        for path in self._target.identities:
            yield from self._file_attempt(path, agent, done, wanted=True)
        if not self._target.identities_only:
            for blob, key in agent.items():
                if blob not in done:
                    done.add(blob)
                    yield from self._agent_attempt(key)
        for path in self._target.default_identities:
            yield from self._file_attempt(path, agent, done, wanted=False)

    def _file_attempt(
        self, path: str, agent: dict[bytes, paramiko.AgentKey], done: set[bytes], wanted: bool
    ) -> Iterator[Reply]:
        try:
            file = KeyFile(path)
            if file.public is not None:
                if file.public in done:
                    return
                done.add(file.public)
                if file.public in agent:
                    yield from self._agent_attempt(agent[file.public], f"{path}-cert.pub")
                    return
            if not file.secret:
                self._tried.append(f"key {path}: its private half is not in ssh-agent")
                return
            key = self._unlocked(file) if file.encrypted else file.load()
        except FileNotFoundError:
            if wanted:
                self._tried.append(f"key {path}: no such file")
            return
        except UnusableKeyError as error:
            self._tried.append(f"key {path}: {error}")
            return
        if key is not None:
            for certificate in self._certificates(key.asbytes(), f"{path}-cert.pub"):
                key.public_blob = certificate
                yield self._signed(key, f"key {path} with its certificate")
            key.public_blob = None
            yield self._signed(key, f"key {path}")

    def _certificates(self, key: bytes, *beside: str) -> list[PublicBlob]:
        return certificates_of(key, (*beside, *self._target.certificates))

    def _unlocked(self, file: KeyFile) -> paramiko.PKey | None:
        """The key of an encrypted file, if the server would take it and a person knows the passphrase."""
        if file.public is not None:
            certified = self._certificates(file.public, f"{file.path}-cert.pub")
            blobs = [*(bytes(each.key_blob) for each in certified), file.public]
            probes = (self._auth.probe(PublicKey(blob), self._deadline.left) for blob in blobs)
            if not any(probe.outcome is Outcome.ACCEPTABLE for probe in probes):
                self._tried.append(f"key {file.path} was not accepted")
                return None
        for attempt in range(ATTEMPTS):
            text = f"Passphrase of the key {file.path}, to log in as {self._label}"
            answer = self._person(PromptKind.PASSPHRASE, text, file.path, retry=attempt > 0)
            if answer is None:
                self._tried.append(f"key {file.path}: no passphrase was given")
                return None
            try:
                return file.load(answer)
            except WrongPassphraseError:
                continue
        self._tried.append(f"key {file.path}: wrong passphrase")
        return None

    def _agent_attempt(self, key: paramiko.AgentKey, *beside: str) -> Iterator[Reply]:
        name = f"agent key {clean(key.comment, 60) or '(no comment)'} {describe(bytes(key.blob))}"
        for certificate in self._certificates(bytes(key.blob), *beside):
            certified = paramiko.AgentKey(self._agent, bytes(key.blob), key.comment)
            certified.public_blob = certificate  # type: ignore[assignment]
            yield from self._probed(certified, f"{name} with its certificate")
        yield from self._probed(key, name)

    def _probed(self, key: paramiko.AgentKey, name: str) -> Iterator[Reply]:
        # Asked first: some agents want their user's consent, or a touch, for each signature.
        if self._auth.probe(key, self._deadline.left).outcome is not Outcome.ACCEPTABLE:
            self._tried.append(f"{name} was not accepted")
            return
        with self._deadline.paused():
            reply = self._signed(key, name)
        yield reply

    def _signed(self, key: paramiko.PKey, name: str) -> Reply:
        try:
            reply = self._auth.sign(key, self._deadline.left)
        except CannotSignError as error:
            self._tried.append(f"{name} can't sign: {error}")
            return Reply(Outcome.FAILURE)
        if reply.outcome is Outcome.FAILURE:
            self._tried.append(f"{name} was not accepted")
        return reply

    # ---- questions

    def _interactive(self) -> Reply | None:
        wrong = False
        for _ in range(ATTEMPTS):
            if self._declined:
                return None
            reply = self._auth.interactive(self._deadline.left)
            asked = False
            seen: set[tuple[tuple[str, bool], ...]] = set()
            while reply.outcome is Outcome.QUESTIONS and len(seen) < _ROUNDS:
                answers = self._answers(reply, wrong or reply.questions in seen)
                asked = asked or bool(answers)
                seen.add(reply.questions)
                if answers is None:
                    answers = [""] * len(reply.questions)
                reply = self._auth.respond(answers, self._deadline.left)
            if reply.outcome in (Outcome.SUCCESS, Outcome.PARTIAL):
                return reply
            if not asked:
                return None
            wrong = True
            self._password_asked = True
        self._tried.append(f"keyboard-interactive: {ATTEMPTS} answers were not accepted")
        return None

    def _answers(self, reply: Reply, wrong: bool) -> list[str] | None:
        """Answers to one set of questions; None: declined."""
        answers: list[str] = []
        lone_secret = len(reply.questions) == 1 and not reply.questions[0][1]
        for text, shown in reply.questions:
            heading = " ".join(filter(None, (reply.title, reply.instruction)))
            question = f"{self._label}: {heading + ' - ' if heading else ''}{text}"
            # A password may be remembered, a one-time code may not.
            lasting = lone_secret and _PASSWORD.search(text) and not _ONE_TIME.search(f"{heading} {text}")
            identity = self._label if lasting else ""
            answer = self._person(PromptKind.INTERACTIVE, question, identity, retry=wrong, secret=not shown)
            if answer is None:
                self._tried.append("keyboard-interactive: no answer was given")
                return None
            answers.append(answer)
        return answers

    def _password(self) -> Reply | None:
        if self._password_asked:
            return None  # the same password was just refused under the name of keyboard-interactive
        if self._declined:
            return None
        for attempt in range(ATTEMPTS):
            text = f"Password of {self._label}"
            answer = self._person(PromptKind.PASSWORD, text, self._label, retry=attempt > 0)
            if answer is None:
                self._tried.append("password: none was given")
                return None
            reply = self._auth.password(answer, self._deadline.left)
            if reply.outcome is Outcome.EXPIRED:
                self._tried.append("password: it has expired and must be changed on the host")
                return None
            if reply.outcome is not Outcome.FAILURE:
                return reply
        self._tried.append(f"password: {ATTEMPTS} were not accepted")
        return None

    def _person(
        self, kind: PromptKind, text: str, identity: str, *, retry: bool, secret: bool = True
    ) -> str | None:
        if self._declined:
            return None
        started = time.monotonic()
        with self._deadline.paused():
            answer = self._ask(kind, text, secret=secret, identity=identity, retry=retry)
        self._asked_for += time.monotonic() - started
        self._declined = answer is None
        return answer

    # ---- endings

    def _refused(self, methods: tuple[str, ...]) -> AccessError:
        tried = "; ".join(self._tried) or "there was nothing to try"
        banner = f" The server says: {self._auth.banner}" if self._auth.banner else ""
        return AccessError(
            f"{self._label}: login refused. Tried: {tried}. "
            f"The server takes: {', '.join(methods) or 'nothing'}.{banner}",
            cure=f"check that `ssh {self._label}` works, and which key or password the fleet file means",
        )

    def _cut_off(self) -> AccessError | UnreachableError:
        """The connection ended in mid-login; why is a guess from what went before."""
        why = reason(self._transport)
        if "too many authentication failures" in self._transport.farewell.lower():
            return AccessError(
                f"{self._label}: {why}. Tried: {'; '.join(self._tried)}",
                cure="the agent offers more keys than the server tries: name one under ssh.identity",
            )
        if self._asked_for >= _GRACE / 2:
            return UnreachableError(
                f"{self._label}: the SSH server did not wait for the answer",
                cure="connecting again; what was answered is remembered",
            )
        return UnreachableError(f"{self._label}: {why}, during login")
