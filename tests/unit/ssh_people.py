"""Stand-ins for a person who is asked, and an SSH server whose login can be scripted (paramiko's own)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.server import InteractiveQuery

from virtfleet.model.prompt import PromptKind


@dataclass
class Question:
    kind: PromptKind
    text: str
    secret: bool
    identity: str
    retry: bool


@dataclass
class Person:
    """Answers from a list, in order; then declines."""

    answers: list[str | None] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def __call__(
        self, kind: PromptKind, text: str, *, secret: bool = True, identity: str = "", retry: bool = False
    ) -> str | None:
        self.questions.append(Question(kind, text, secret, identity, retry))
        return self.answers.pop(0) if self.answers else None


@dataclass
class Rules(paramiko.ServerInterface):
    """What the scripted server accepts."""

    methods: str = "password"
    password: str = ""
    rounds: Sequence[tuple[Sequence[tuple[str, bool]], Sequence[str]]] = ()
    """keyboard-interactive: sets of questions (text, shown) and the right answers."""
    key: bytes = b""
    key_is_half: bool = False
    seen: list[str] = field(default_factory=list)
    _round: int = 0
    _half: bool = False

    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive" if self._half else self.methods

    def check_auth_none(self, username: str) -> int:
        return AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        self.seen.append("password")
        return AUTH_SUCCESSFUL if password == self.password else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.seen.append("publickey")
        if key.asbytes() != self.key:
            return AUTH_FAILED
        self._half = self.key_is_half
        return AUTH_PARTIALLY_SUCCESSFUL if self.key_is_half else AUTH_SUCCESSFUL

    def check_auth_interactive(self, username: str, submethods: str) -> int | InteractiveQuery:
        self.seen.append("keyboard-interactive")
        self._round = 0
        return self._query()

    def check_auth_interactive_response(self, responses: list[str]) -> int | InteractiveQuery:
        if list(responses) != list(self.rounds[self._round][1]):
            return AUTH_FAILED
        self._round += 1
        return AUTH_SUCCESSFUL if self._round == len(self.rounds) else self._query()

    def _query(self) -> InteractiveQuery:
        return InteractiveQuery("", "Welcome", *self.rounds[self._round][0])

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return False


class ScriptedServer:
    """Serves connections on loopback until `stop`."""

    def __init__(self, rules: Rules, key: paramiko.PKey) -> None:
        self.rules = rules
        self._key = key
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(link)
            transport.add_server_key(self._key)
            self._transports.append(transport)
            with contextlib.suppress(Exception):
                transport.start_server(event=threading.Event(), server=self.rules)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for transport in self._transports:
            transport.close()
            transport.packetizer.complete_handshake()
            transport.join(5)
