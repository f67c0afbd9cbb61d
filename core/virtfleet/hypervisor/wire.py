"""Messages between the engine and one worker, and their framing. Private: no public format is made here.

A frame is a 4-byte big-endian length and one msgpack value, a tagged union.
Model values travel as they are; samples as arrays without keys.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from virtfleet.model import (
    Event,
    HostFacts,
    HostState,
    HostStats,
    Maintenance,
    Network,
    Pool,
    Prompt,
    VmInfo,
    VmStats,
    Volume,
)

# ---------------------------------------------------------------- settings of one worker


class SshSettings(msgspec.Struct, frozen=True):
    """How to reach a `+ssh` host; ~/.ssh/config fills what is not given here."""

    user: str = ""
    port: int | None = None
    identity: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] = ()
    """Files to read; an accepted key is written to the first. Empty: the user's own."""
    jump: str = ""
    """user@host:port[,...], as ProxyJump."""
    config: str | None = None
    """Path of the ssh_config to honour; None: ~/.ssh/config; "": none."""
    connect_timeout: float = 10.0
    agent: bool = True


class WorkerSettings(msgspec.Struct, frozen=True):
    """All that a worker needs to know of its host."""

    name: str
    uri: str
    ssh: SshSettings = SshSettings()
    interval: float = 2.0
    pools_interval: float = 10.0
    volumes_interval: float = 60.0
    networks_interval: float = 30.0
    runtime_dir: str = ""
    """0700 folder for sockets."""
    read_only: bool = False
    groups: tuple[str, ...] = ()
    """Only these groups of values are read (facts, pools, volumes, networks; VMs always), once and on one
    lane: for a command that asks and leaves. Empty: everything is watched."""
    rows_first: float = 0.0
    """Seconds to wait with all but the VMs, since other hosts have no rows yet."""
    settle: float = 0.0
    """Seconds over which then to begin with it: the hosts of a large fleet shall not do it all at once."""
    notes_dir: str = ""
    """Folder for what is said of a host that has no place for it itself; empty: lost with the worker."""
    simulate: int | None = None
    """Seed of the simulation layer over the test driver; None: real figures."""


# ---------------------------------------------------------------- engine to worker


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    settings: WorkerSettings


class Request(msgspec.Struct, frozen=True, tag="request"):
    """Asks for `op` (a verb of hypervisor/operations.py) with `args`; answered by one Response."""

    id: int
    op: str
    args: dict[str, Any]
    deadline: float
    """Seconds from receipt, or from the last Progress."""


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class PromptAnswer(msgspec.Struct, frozen=True, tag="answer"):
    id: int
    answer: str | None
    """None: the person declined or there is none."""

    def __repr__(self) -> str:
        return f"PromptAnswer(id={self.id})"


class Reconnect(msgspec.Struct, frozen=True, tag="reconnect"):
    """Try again at once, also when refused."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    id: int


ToWorker = Configure | Request | CancelRequest | PromptAnswer | Reconnect | Ping

# ---------------------------------------------------------------- worker to engine


class Status(msgspec.Struct, frozen=True, tag="status"):
    state: HostState
    reason: str = ""
    cure: str = ""


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    facts: HostFacts
    simulated: bool = False


class Sample(msgspec.Struct, frozen=True, tag="sample"):
    """One tick: every VM of the host, in the driver's order."""

    taken: float
    """CLOCK_MONOTONIC."""
    host: HostStats
    vms: list[VmStats]
    latencies: tuple[float, ...] = ()
    """Seconds of each libvirt call since the last sample."""
    calls: int = 0
    """libvirt calls since the last sample, all lanes."""


class Vms(msgspec.Struct, frozen=True, tag="vms"):
    """Descriptions that are new or changed, and UUIDs that are gone. `full`: these are all there are."""

    changed: tuple[VmInfo, ...] = ()
    gone: tuple[str, ...] = ()
    full: bool = False


class Pools(msgspec.Struct, frozen=True, tag="pools"):
    taken: float
    pools: tuple[Pool, ...]


class Volumes(msgspec.Struct, frozen=True, tag="volumes"):
    """A part of one pool's volumes; after `last` those of that pool not sent in this round are gone."""

    taken: float
    pool: str
    volumes: tuple[Volume, ...]
    first: bool = True
    last: bool = True


class Marks(msgspec.Struct, frozen=True, tag="marks"):
    """What operators have said of the host: told when it was read first and when it changed."""

    maintenance: Maintenance


class Networks(msgspec.Struct, frozen=True, tag="networks"):
    taken: float
    networks: tuple[Network, ...]


class Happened(msgspec.Struct, frozen=True, tag="event"):
    event: Event


class Asks(msgspec.Struct, frozen=True, tag="asks"):
    prompt: Prompt


class PromptGone(msgspec.Struct, frozen=True, tag="prompt-gone"):
    """The question no longer matters: answered elsewhere, connection lost."""

    id: int


class Response(msgspec.Struct, frozen=True, tag="response"):
    id: int
    result: Any = None
    code: str = ""
    """Empty: done. Else a code of errors.py."""
    message: str = ""
    cure: str = ""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far a request is; its deadline counts anew from here."""

    id: int
    done: int
    total: int
    """0: unknown."""
    text: str = ""


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    id: int


FromWorker = (
    Status
    | Facts
    | Sample
    | Vms
    | Pools
    | Volumes
    | Networks
    | Marks
    | Happened
    | Asks
    | PromptGone
    | Response
    | Progress
    | Pong
)

# ---------------------------------------------------------------- last words

HUNG_CURE = "on the host: `systemctl restart libvirtd`; the VMs go on meanwhile"

EXIT_STUCK = 75
"""Exit status of a worker whose libvirt call could not be freed: the host is hung, not the worker broken."""
EXIT_SILENT = 76
"""The same, of a host that never answered: it stays unreachable."""

STUCK = Status(HostState.HUNG, "a call to libvirt could not be freed", HUNG_CURE)
"""What EXIT_STUCK means; the worker says it before it ends, the engine when that did not get through."""

# ---------------------------------------------------------------- framing

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def encode(message: ToWorker | FromWorker) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a byte stream into frames; feed it what arrived, iterate over what is whole."""

    def __init__(self) -> None:
        self._begun = bytearray()
        """The beginning of a frame whose end has not come yet."""
        self._wanted = 0
        """Bytes that it has in all, as far as is known."""

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """Bodies of the frames completed by `data`, valid as long as `data` is. ValueError: not our stream.

        What arrives whole, as a sample nearly always does, is not copied.
        """
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted:
                return []
            data, self._begun = self._begun, bytearray()
        view = memoryview(data)
        bodies: list[memoryview] = []
        at, end = 0, len(view)
        self._wanted = 4
        while end - at >= 4:
            (length,) = _LENGTH.unpack_from(view, at)
            if length > MAX_FRAME:
                raise ValueError(f"frame of {length} bytes")
            if end - at - 4 < length:
                self._wanted = 4 + length
                break
            bodies.append(view[at + 4 : at + 4 + length])
            at += 4 + length
        self._begun += view[at:]
        return bodies


def decode_to_worker(body: bytes | memoryview) -> ToWorker:
    return _to_worker.decode(body)


def decode_from_worker(body: bytes | memoryview) -> FromWorker:
    return _from_worker.decode(body)
