"""paramiko's transport, made quiet, measurable and prompt to die.

The only file, with userauth.py, that touches paramiko's inner parts. What it
changes, and why:
- an idle transport wakes up ten times a second; 500 of them cost a core for nothing;
- closing it left its thread, and those that wait on it, to find out by polling;
- a global request waits for its reply without a deadline, and only one at a time;
- so does an exec request;
- ciphers of another age are offered, and slower ones first.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, cast

import paramiko
from paramiko.common import (
    MSG_CHANNEL_FAILURE,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
)

from virtfleet.hypervisor.ssh.dial import ChannelLink
from virtfleet.model.text import clean

WINDOW = 4 << 20
"""Bytes a host may send on a channel before we have read them: 80 MB/s at 50 ms."""
IDLE_WAKE = 5.0
KEEPALIVE = 15.0
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)


class RefusedCommandError(Exception):
    """The server does not run the command."""


def _on_refused(channel: paramiko.Channel, message: paramiko.Message) -> None:
    if isinstance(channel.transport, Transport):
        channel.transport._refused.add(channel.chanid)
    cast(Any, channel)._request_failed(message)


class Transport(paramiko.Transport):
    """`on_end` is called once, in the transport's thread, when it has ended in whatever way."""

    _channel_handler_table: ClassVar[dict[int, Any]] = {
        **cast(Any, paramiko.Transport)._channel_handler_table,
        MSG_CHANNEL_FAILURE: _on_refused,
    }

    def __init__(self, sock: socket.socket | ChannelLink, on_end: Callable[[], None]) -> None:
        super().__init__(cast(Any, sock), default_window_size=WINDOW)
        self.name = "ssh-transport"
        self.farewell = ""
        """What the server said when it disconnected."""
        self.ended = False
        self._on_end = on_end
        self._pings: deque[threading.Event] = deque()
        self._ping_lock = threading.Lock()
        self._refused: set[int] = set()
        """Channels whose command the server refused, as opposed to channels that just ended."""
        # Message handlers are bound when the base class is made, so overriding suffices.
        options = self.get_security_options()
        options.ciphers = [each for each in _CIPHERS if each in options.ciphers]
        options.digests = [each for each in _MACS if each in options.digests]

    def settle(self) -> None:
        """The login is done: sleep longer, and keep middleboxes from forgetting the connection."""
        self.sock.settimeout(IDLE_WAKE)
        self.set_keepalive(KEEPALIVE)

    def run(self) -> None:
        try:
            # It catches what happens to it, but not what its own clearing up then runs into.
            with contextlib.suppress(Exception):
                super().run()
        finally:
            self.ended = True
            self._release_pings()
            self._on_end()

    def close(self) -> None:
        """End at once, from any thread; nothing is sent. Waiters on the transport and its channels wake."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the transport's thread
        super().close()
        self.sock.close()
        self.packetizer.complete_handshake()  # or its timer thread outlives us
        if self.auth_handler is not None:
            self.auth_handler.abort()
        self._release_pings()

    def ping(self, timeout: float) -> float | None:
        """Seconds that a global request and its reply took; None: no reply within `timeout`."""
        answered = threading.Event()
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        started = time.monotonic()
        with self._ping_lock:  # replies come in the order of requests
            self._pings.append(answered)
            try:
                cast(Any, self)._send_user_message(message)
            except BaseException:
                self._pings.pop()
                raise
        if not answered.wait(timeout) or not self.is_active():
            return None
        return time.monotonic() - started

    def exec(self, command: str, timeout: float, window: int | None = None) -> paramiko.Channel:
        """A session channel that runs `command`. `window`: bytes that may be on their way unread.

        Raises TimeoutError; RefusedCommandError; paramiko.ChannelException (no more channels);
        paramiko.SSHException, EOFError, OSError (lost).
        """
        until = time.monotonic() + timeout
        try:
            channel = self.open_session(window_size=window, timeout=timeout)
        except paramiko.SSHException as error:
            if str(error).startswith("Timeout"):
                raise TimeoutError from error
            raise
        inner = cast(Any, channel)
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        inner._event_pending()
        cast(Any, self)._send_user_message(message)
        if not channel.event.wait(max(0.0, until - time.monotonic())):
            channel.close()
            raise TimeoutError
        if channel.event_ready:
            return channel
        channel.close()
        if channel.chanid in self._refused:
            self._refused.discard(channel.chanid)
            raise RefusedCommandError
        raise EOFError

    def open_unix(self, path: str, timeout: float) -> paramiko.Channel:
        """A channel to a Unix socket of the server's (direct-streamlocal@openssh.com, PROTOCOL 2.4).

        Raises as `exec`, but for RefusedCommandError.
        """
        inner = cast(Any, self)
        with self.lock:
            window, packet = inner._sanitize_window_size(None), inner._sanitize_packet_size(None)
            number = inner._next_channel()
            message = paramiko.Message()
            message.add_byte(cMSG_CHANNEL_OPEN)
            message.add_string("direct-streamlocal@openssh.com")
            for each in (number, window, packet):
                message.add_int(each)
            message.add_string(path)
            message.add_string("")
            message.add_int(0)
            channel = paramiko.Channel(number)
            inner._channels.put(number, channel)
            inner.channel_events[number] = opened = threading.Event()
            inner.channels_seen[number] = True
            cast(Any, channel)._set_transport(self)
            cast(Any, channel)._set_window(window, packet)
        inner._send_user_message(message)
        until = time.monotonic() + timeout
        while not opened.wait(0.1):  # the end of a transport does not wake who opens a channel
            if not self.is_active():
                raise self.get_exception() or EOFError()
            if time.monotonic() > until:
                raise TimeoutError
        if inner._channels.get(number) is None:
            raise self.get_exception() or paramiko.SSHException("the channel was not opened")
        return channel

    # ---- called by paramiko in the transport's thread

    def _parse_request_success(self, message: paramiko.Message) -> None:
        self._pong()

    def _parse_request_failure(self, message: paramiko.Message) -> None:
        self._pong()  # "no such request" is as good a sign of life

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.farewell = clean(message.get_text(), 200)

    def _pong(self) -> None:
        with contextlib.suppress(IndexError):
            self._pings.popleft().set()

    def _release_pings(self) -> None:
        while self._pings:
            self._pong()


def reason(transport: Transport) -> str:
    """Why a transport ended, for a person."""
    error = transport.get_exception()
    if transport.farewell:
        return f"the SSH server disconnected: {transport.farewell}"
    if isinstance(error, TimeoutError):
        return "the link is dead: the kernel gave up sending"
    if isinstance(error, OSError) and error.strerror:
        return f"connection lost: {error.strerror.lower()}"
    if error is None or isinstance(error, EOFError):
        return "the SSH server closed the connection"
    return f"SSH protocol error: {clean(str(error), 200)}"
