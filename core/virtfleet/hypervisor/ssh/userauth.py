"""The client's half of SSH user authentication (RFC 4252, 4256), one question and answer at a time.

paramiko's own handler can't ask whether the server would take a public key
before it signs with it (so it needs the passphrase of a key that is of no
use), hides which methods may continue, answers keyboard-interactive in the
transport's thread, and waits with a race and without a deadline. It is
replaced as a whole: the transport needs only the names below.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

import msgspec
import paramiko
from paramiko.common import (
    MSG_SERVICE_ACCEPT,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_SUCCESS,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_INFO_RESPONSE,
    cMSG_USERAUTH_REQUEST,
)

from virtfleet.hypervisor.ssh.transport import Transport
from virtfleet.model.text import clean

_SERVICE = "ssh-connection"
_CERTIFICATE = "-cert-v01@openssh.com"
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
_QUESTIONS = 16


class Outcome(Enum):
    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"
    """Accepted, but the server wants another method as well."""
    ACCEPTABLE = "acceptable"
    """A signature by this key would be taken."""
    QUESTIONS = "questions"
    EXPIRED = "expired"
    """The password is right but must be changed first."""
    READY = "ready"


class Reply(msgspec.Struct, frozen=True):
    outcome: Outcome
    methods: tuple[str, ...] = ()
    """Methods that may continue, after a failure or a partial success."""
    title: str = ""
    instruction: str = ""
    questions: tuple[tuple[str, bool], ...] = ()
    """Text, and whether the answer may be shown."""


class CannotSignError(Exception):
    """The key, or the agent that holds it, gives no signature."""


class UserAuth:
    """Takes the place of paramiko's auth handler in `transport`."""

    def __init__(self, transport: Transport, user: str) -> None:
        self._transport = transport
        self._user = user
        self._method = ""
        self._success = False
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self.banner = ""
        """What the server shows before login."""
        cast(Any, transport).auth_handler = self

    # ---- for the ladder

    def start(self, timeout: float) -> Reply:
        """Ask for the service and what it takes to get in. Raises as `wait`."""
        message = paramiko.Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self._send(message)
        self.wait(timeout)
        return self._request("none", lambda _: None, timeout)

    def probe(self, key: paramiko.PKey, timeout: float) -> Reply:
        """Would a signature by this key be accepted? Its private part is not needed."""

        def fill(message: paramiko.Message) -> None:
            algorithm, blob = self._algorithm(key)
            message.add_boolean(False)
            message.add_string(algorithm)
            message.add_string(blob)

        return self._request("publickey", fill, timeout)

    def sign(self, key: paramiko.PKey, timeout: float) -> Reply:
        """Log in with `key`. Raises also CannotSignError."""
        algorithm, blob = self._algorithm(key)
        signed = paramiko.Message()
        signed.add_string(self._transport.session_id or b"")
        self._head(signed, "publickey")
        signed.add_boolean(True)
        signed.add_string(algorithm)
        signed.add_string(blob)
        try:
            signature = key.sign_ssh_data(signed.asbytes(), algorithm)
        except (paramiko.SSHException, OSError, ValueError) as error:  # the agent refuses, or is gone
            raise CannotSignError(type(error).__name__) from error

        def fill(message: paramiko.Message) -> None:
            message.add_boolean(True)
            message.add_string(algorithm)
            message.add_string(blob)
            message.add_string(signature)

        return self._request("publickey", fill, timeout)

    def password(self, password: str, timeout: float) -> Reply:
        def fill(message: paramiko.Message) -> None:
            message.add_boolean(False)
            message.add_string(password)

        return self._request("password", fill, timeout)

    def interactive(self, timeout: float) -> Reply:
        """Begin keyboard-interactive; QUESTIONS are answered with `respond`."""

        def fill(message: paramiko.Message) -> None:
            message.add_string("")
            message.add_string("")

        return self._request("keyboard-interactive", fill, timeout)

    def respond(self, answers: Sequence[str], timeout: float) -> Reply:
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        message.add_int(len(answers))
        for answer in answers:
            message.add_string(answer)
        self._send(message)
        return self.wait(timeout)

    def wait(self, timeout: float) -> Reply:
        """The server's next word. Raises TimeoutError; EOFError: the connection ended."""
        try:
            reply = self._replies.get(timeout=max(0.01, timeout))
        except queue.Empty:
            raise TimeoutError from None
        if reply is None:
            self._replies.put(None)
            raise EOFError
        return reply

    # ---- for paramiko's transport

    def is_authenticated(self) -> bool:
        return self._success

    def get_username(self) -> str:
        return self._user

    def abort(self) -> None:
        self._replies.put(None)

    @property
    def _handler_table(self) -> dict[int, Callable[[paramiko.Message], None]]:
        return {
            MSG_SERVICE_ACCEPT: lambda _: self._replies.put(Reply(Outcome.READY)),
            MSG_USERAUTH_SUCCESS: self._on_success,
            MSG_USERAUTH_FAILURE: self._on_failure,
            MSG_USERAUTH_BANNER: self._on_banner,
            MSG_USERAUTH_INFO_REQUEST: self._on_60,
        }

    def _on_success(self, message: paramiko.Message) -> None:
        self._success = True
        cast(Any, self._transport)._auth_trigger()
        self._replies.put(Reply(Outcome.SUCCESS))

    def _on_failure(self, message: paramiko.Message) -> None:
        methods = tuple(clean(method, 64) for method in message.get_list())
        partial = message.get_boolean()
        self._replies.put(Reply(Outcome.PARTIAL if partial else Outcome.FAILURE, methods))

    def _on_banner(self, message: paramiko.Message) -> None:
        self.banner = clean(message.get_text().strip(), 300)

    def _on_60(self, message: paramiko.Message) -> None:
        # Message 60 means something else in each method.
        if self._method == "publickey":
            self._replies.put(Reply(Outcome.ACCEPTABLE))
        elif self._method == "password":
            self._replies.put(Reply(Outcome.EXPIRED))
        else:
            title, instruction = clean(message.get_text(), 300), clean(message.get_text(), 1000)
            message.get_binary()
            count = min(message.get_int(), _QUESTIONS)
            questions = tuple((clean(message.get_text(), 300), message.get_boolean()) for _ in range(count))
            self._replies.put(Reply(Outcome.QUESTIONS, (), title, instruction, questions))

    # ----

    def _request(self, method: str, fill: Callable[[paramiko.Message], None], timeout: float) -> Reply:
        self._method = method
        message = paramiko.Message()
        self._head(message, method)
        fill(message)
        self._send(message)
        return self.wait(timeout)

    def _head(self, message: paramiko.Message, method: str) -> None:
        message.add_byte(cMSG_USERAUTH_REQUEST)
        message.add_string(self._user)
        message.add_string(_SERVICE)
        message.add_string(method)

    def _send(self, message: paramiko.Message) -> None:
        cast(Any, self._transport)._send_message(message)

    def _algorithm(self, key: paramiko.PKey) -> tuple[str, bytes]:
        """Signature algorithm and public key as sent; a certificate stands for its key."""
        certificate = getattr(key, "public_blob", None)
        if certificate is not None:
            name, blob = str(certificate.key_type), bytes(certificate.key_blob)
        elif isinstance(key, paramiko.AgentKey):
            name, blob = key.get_name(), bytes(key.blob)
        else:
            name, blob = key.get_name(), key.asbytes()
        if not name.startswith("ssh-rsa"):
            return name, blob
        extensions = cast(Any, self._transport).server_extensions
        accepted = bytes(extensions.get("server-sig-algs", b"")).decode("ascii", "replace").split(",")
        fitting = [each for each in _RSA_SIGNATURES if each in accepted] or list(_RSA_SIGNATURES[:1])
        return fitting[0] + (_CERTIFICATE if name.endswith(_CERTIFICATE) else ""), blob
