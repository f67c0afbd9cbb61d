"""The kinds of things that the fleet consists of: one registry for `virtfleet NOUN`, `:noun` and the grids.

    noun = NOUNS["vm"].with_clock(Clock(time.monotonic, time.time))
    rows = [row for row in noun.rows(snapshot) if compile_filter("cpu>80", noun).matches(row)]
    items = [{field.name: field.get(row) for field in noun.fields} for row in rows]

A new noun is a row type, a file of fields, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from virtfleet.model import Event, FleetSnapshot, HostState, PoolState, VmState
from virtfleet.model.job import Job, JobState
from virtfleet.query import events, hosts, jobs, networks, pools, rows, vms, volumes
from virtfleet.query.clock import Clock, clocked
from virtfleet.query.field import Field
from virtfleet.query.health import pool_look
from virtfleet.query.looks import Look, glyph, host_look, network_look, vm_look
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, VmRow, VolumeRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Noun(Generic[T]):
    name: str
    """Singular and public: `vm`."""
    plural: str
    title: str
    """Of its panel: `VMs`."""
    fields: tuple[Field[T], ...]
    """In the default order of columns."""
    rows: Callable[[FleetSnapshot], Iterator[T]]
    """All of them. Events and jobs are no part of a snapshot: there are none."""
    name_of: Callable[[T], str]
    key_of: Callable[[T], Hashable]
    look_of: Callable[[T], Look | None]
    """Glyph, word and meaning of its state; None: it has no state."""
    default_sort: tuple[str, ...]
    """Names of fields, most important first, "-" before descending ones."""
    text_fields: tuple[str, ...]
    """Where a filter's free text is looked for."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Short words for fields, in filters, column lists and sorting: cpu for cpu_pct."""
    aliases: tuple[str, ...] = ()
    """Words that mean this noun after `:` and on the command line."""
    states: tuple[str, ...] = ()
    """All values of its field `state`."""
    seen: bool = True
    """Whether its rows are what a host showed, and so may be old."""

    def field(self, word: str) -> Field[T] | None:
        """The field of that name or short word, in any case."""
        word = word.lower()
        name = self.short.get(word, word)
        return next((each for each in self.fields if each.name == name), None)

    def with_clock(self, clock: Clock) -> Noun[T]:
        """The same with `age_s` and `stale` among its fields (for an event `age_s`, for a host also
        `state_s`), and with ages in what the state shows."""
        return replace(self, fields=clocked(self.name, self.fields, clock))


_SHORT = {
    "cpu": "cpu_pct",
    "mem": "memory",
    "ram": "memory",
    "used": "memory_used",
    "read": "disk_read",
    "write": "disk_write",
    "rx": "net_rx",
    "tx": "net_tx",
    "ip": "addresses",
    "address": "addresses",
    "mac": "macs",
    "tag": "tags",
    "net": "networks",
    "network": "networks",
    "disk": "disks",
    "trait": "traits",
    "iowait": "iowait_pct",
    "load": "load1",
    "uptime": "uptime_s",
    "latency": "latency_s",
    "age": "age_s",
    "for": "state_s",
    "driver": "hypervisor",
    "version": "hypervisor_version",
    "libvirt": "libvirt_version",
    "running": "vms_running",
    "ha": "ha_priority",
    "flavour": "flavor",
    "type": "type",
    "proj": "project",
    "stuck": "monitor_stuck",
    "desc": "description",
}
_STORAGE = {
    "full": "used_pct",
    "free": "available",
    "size": "capacity",
    "alloc": "allocation",
    "used": "allocation",
    "host": "hosts",
    "vol": "volumes",
}


def _short(fields: tuple[Field[Any], ...], *more: Mapping[str, str]) -> Mapping[str, str]:
    """Those short words that mean something for these fields, and hide none of their names."""
    names = {each.name for each in fields} | {"age_s"}
    if "since" in names:
        names.add("state_s")
    merged = {short: name for words in (_SHORT, *more) for short, name in words.items()}
    return MappingProxyType(
        {short: name for short, name in merged.items() if name in names and short not in names}
    )


_HOST: Noun[HostRow] = Noun(
    name="host",
    plural="hosts",
    title="Hosts",
    fields=hosts.FIELDS,
    rows=rows.host_rows,
    name_of=lambda row: row.host.name,
    key_of=lambda row: row.key,
    look_of=lambda row: host_look(row.host),
    default_sort=("name",),
    text_fields=("name", "state", "zone", "traits", "reason", "hostname"),
    short=_short(hosts.FIELDS, {"host": "name", "vm": "vms"}),
    aliases=("host", "hosts", "hv", "hypervisor", "hypervisors", "node", "nodes"),
    states=tuple(HostState),
)
_VM: Noun[VmRow] = Noun(
    name="vm",
    plural="vms",
    title="VMs",
    fields=vms.FIELDS,
    rows=rows.vm_rows,
    name_of=lambda row: row.vm.info.name,
    key_of=lambda row: row.key,
    look_of=lambda row: vm_look(row.vm),
    default_sort=("name", "host"),
    text_fields=("name", "host", "state", "addresses", "tags", "project"),
    short=_short(vms.FIELDS, {"vm": "name"}),
    aliases=("vm", "vms", "domain", "domains", "dom", "guest", "guests"),
    states=tuple(VmState),
)
_POOL: Noun[PoolRow] = Noun(
    name="pool",
    plural="pools",
    title="Pools",
    fields=pools.FIELDS,
    rows=rows.pool_rows,
    name_of=lambda row: row.members[0][1].name,
    key_of=lambda row: row.key,
    look_of=pool_look,
    default_sort=("name",),
    text_fields=("name", "hosts", "state", "type", "target", "source"),
    short=_short(pools.FIELDS, _STORAGE, {"pool": "name"}),
    aliases=("pool", "pools", "storage"),
    states=tuple(PoolState),
)
_VOLUME: Noun[VolumeRow] = Noun(
    name="volume",
    plural="volumes",
    title="Volumes",
    fields=volumes.FIELDS,
    rows=rows.volume_rows,
    name_of=lambda row: row.volume.name,
    key_of=lambda row: row.key,
    look_of=lambda row: None,
    default_sort=("name", "pool"),
    text_fields=("name", "pool", "host", "format"),
    short=_short(volumes.FIELDS, _STORAGE, {"volume": "name", "vol": "name"}),
    aliases=("volume", "volumes", "vol", "vols"),
)
_NETWORK: Noun[NetworkRow] = Noun(
    name="network",
    plural="networks",
    title="Networks",
    fields=networks.FIELDS,
    rows=rows.network_rows,
    name_of=lambda row: row.network.name,
    key_of=lambda row: row.key,
    look_of=lambda row: network_look(row.network),
    default_sort=("name", "host"),
    text_fields=("name", "host", "state", "addresses", "bridge", "forward"),
    short=_short(networks.FIELDS, {"network": "name", "net": "name", "lease": "lease_list"}),
    aliases=("network", "networks", "net", "nets"),
    states=("active", "inactive"),
)
_EVENT: Noun[Event] = Noun(
    name="event",
    plural="events",
    title="Events",
    fields=events.FIELDS,
    rows=lambda snapshot: iter(()),
    name_of=lambda event: event.name,
    key_of=lambda event: (event.time, event.host, event.kind, event.uuid or event.name, event.what),
    look_of=lambda event: glyph(event.severity),
    default_sort=("time",),
    text_fields=("name", "host", "kind", "what", "detail"),
    short=_short(events.FIELDS, {"event": "what"}),
    aliases=("event", "events", "ev", "log"),
    seen=False,
)

_JOB: Noun[Job] = Noun(
    name="job",
    plural="jobs",
    title="Jobs",
    fields=jobs.FIELDS,
    rows=lambda snapshot: iter(()),
    name_of=lambda job: job.id,
    key_of=lambda job: job.id,
    look_of=jobs.job_look,
    default_sort=("created",),
    text_fields=("id", "state", "name", "host", "title", "error"),
    short=_short(jobs.FIELDS, {"job": "id", "vm": "name", "object": "name"}),
    aliases=("job", "jobs", "task", "tasks"),
    seen=False,
    states=tuple(JobState),
)

NOUNS: Mapping[str, Noun[Any]] = MappingProxyType(
    {noun.name: noun for noun in (_HOST, _VM, _POOL, _VOLUME, _NETWORK, _EVENT, _JOB)}
)
_BY_WORD = {word: noun for noun in NOUNS.values() for word in noun.aliases}


def find_noun(word: str) -> Noun[Any] | None:
    """The noun that a person means by `word`."""
    return _BY_WORD.get(word.strip().lower())
