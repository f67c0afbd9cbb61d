"""What a transport runs over: TCP, or a program's standard streams (ProxyCommand). All with a deadline."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import queue
import socket
import subprocess
import threading
from typing import Any

import paramiko

from virtfleet.errors import UnreachableError
from virtfleet.hypervisor.ssh.asking import Deadline
from virtfleet.hypervisor.ssh.target import SshTarget

GIVE_UP_SENDING = 20_000
"""Milliseconds that sent data may stay unacknowledged before the kernel drops the connection."""

_Address = tuple[int, int, int, str, Any]


class ProxyProgram:
    """A running ProxyCommand; `end` is our end of its standard input and output."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.end, far = socket.socketpair()
        try:
            with far:
                self._process = subprocess.Popen(
                    argv,
                    stdin=far.fileno(),
                    stdout=far.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError as error:
            self.end.close()
            raise UnreachableError(
                f"ProxyCommand {argv[0]}: {(error.strerror or str(error)).lower()}"
            ) from error

    def close(self) -> None:
        self.end.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)


class ChannelLink:
    """A channel through a jump host, as the socket of the next transport.

    Ending it sends a message through the jump host; that this fails when the
    jump host is gone must keep nobody from clearing up.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.send = channel.send
        self.recv = channel.recv
        self.settimeout = channel.settimeout

    @property
    def _closed(self) -> bool:  # paramiko asks
        return self._channel.closed

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown(how)

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


def dial(target: SshTarget, deadline: Deadline) -> socket.socket:
    """A TCP connection to the target. Raises UnreachableError, which says what stood in the way."""
    addresses = _resolve(target, deadline)
    problems: dict[str, None] = {}
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        share = deadline.left / (len(addresses) - number)  # a dead IPv6 route must not starve IPv4
        if share <= 0:
            break
        link = socket.socket(family, kind, protocol)
        try:
            link.settimeout(share)
            link.connect(address)
            _tune(link)
            return link
        except OSError as error:
            link.close()
            problems[_problem(error, share)] = None
    raise UnreachableError(f"{_place(target)}: {', '.join(problems) or 'no time left to connect'}")


def _resolve(target: SshTarget, deadline: Deadline) -> list[_Address]:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(target.host.partition("%")[0])
        return _lookup(target)
    # The resolver has a clock of its own, and no way to be interrupted.
    answers: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(_lookup(target))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=work, name="dns", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.01, deadline.left))
    except queue.Empty:
        raise UnreachableError(f"{target.host}: DNS did not answer in time") from None
    if isinstance(answer, OSError):
        raise UnreachableError(f"{target.host}: the name can't be resolved: {answer.strerror}") from answer
    return answer


def _lookup(target: SshTarget) -> list[_Address]:
    return list(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))


def _tune(link: socket.socket) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(OSError, AttributeError):  # Linux
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVE_UP_SENDING)


def _problem(error: OSError, waited: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {waited:.3g} s"
    if error.errno == errno.ECONNREFUSED:
        return "connection refused: no SSH server listens there"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no route: {(error.strerror or '').lower()}"
    return (error.strerror or str(error)).lower()


def _place(target: SshTarget) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}"
