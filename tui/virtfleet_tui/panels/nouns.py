"""What the console adds to each noun: how its list is fed and drawn, and how a row becomes a subject."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtfleet.headless import finding
from virtfleet.model import FleetSnapshot, HostView
from virtfleet.query.clock import Clock, age_of, is_stale
from virtfleet.query.display import format_age
from virtfleet.query.field import Field
from virtfleet.query.health import Alert, host_fault, network_fault, pool_fault, vm_fault
from virtfleet.query.nouns import NOUNS, Noun
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, Row, VmRow, VolumeRow
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.console import Subject
from virtfleet_tui.panels.cells import renderers_of
from virtfleet_tui.panels.columns import columns_of
from virtfleet_tui.widgets.grid import Renderer
from virtfleet_tui.widgets.grid_model import Lasting

CLOCK = Clock(time.monotonic, time.time)


@dataclass(frozen=True)
class Listed:
    """A noun as a list on the screen."""

    noun: Noun[Any]
    """With a clock: ages go on by themselves."""
    groups: frozenset[str]
    """Groups of a delta that change its rows."""
    members: str
    """The one of them by which rows come and go."""
    of_host: Callable[[HostView], Iterable[Any]] | None
    """Rows of one host; None: a row may belong to several, so all are made together."""
    is_fault: Callable[[Any], bool]
    empty: str
    told: Callable[[HostView], bool]
    """Whether a host has said yet what it has of them."""
    columns: tuple[Field[Any], ...]
    lasting: Lasting | None = None
    """Columns whose sort values stay while the description of an object does."""
    ages: bool = True
    """Whether a row may no longer be true while it is shown: the list then keeps room for its age."""
    style: Callable[[Any, Field[Any]], str] | None = None
    """The meaning of a cell, where it is not that of the object's state."""
    unlit: frozenset[str] = frozenset()
    """Columns whose text changes by itself: that is no news."""
    meters: Mapping[str, Renderer] = field(default_factory=dict)
    """Cells that are drawn, by column, where they are not those of `cells.renderers_of`."""
    hint: str = "cpu>80  state=running  host~^hv  ip=10.0.0.0/24  tag:web  !project=test  words"
    """Examples of filters."""

    @property
    def kind(self) -> str:
        return self.noun.name

    @property
    def default_sort(self) -> tuple[str, ...]:
        return self.noun.default_sort

    def named(self, word: str) -> str | None:
        """The name of the column that a person calls `word`; None: none, or it is not clear which."""
        known = self.noun.field(word)
        names = [column.name for column in self.columns]
        name = known.name if known is not None else word.lower()
        if name in names:
            return name
        near = [each for each in names if each.startswith(word.lower())]
        return near[0] if len(near) == 1 else None

    @property
    def view(self) -> str:
        return self.noun.plural

    @property
    def title(self) -> str:
        return self.noun.title

    @property
    def fields(self) -> tuple[Field[Any], ...]:
        """The columns that its list can show."""
        return self.columns

    def rows(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return self.noun.rows(snapshot)

    def renderers(self, fleet: Fleet) -> Mapping[str, Renderer]:
        return {**renderers_of(self.kind, fleet), **self.meters}

    @staticmethod
    def stale_in(fleet: Fleet) -> Callable[[Row], str | None]:
        """A function that gives the age to show when a row may no longer be true."""

        def stale(row: Row) -> str | None:
            # The row is as old as its object; whether its hosts answer is asked of them as they are now.
            now, fresh = time.monotonic(), _with_hosts_of(row, fleet.snapshot)
            if not is_stale(fresh, now):
                return None
            age = age_of(fresh, now)
            return "never" if age is None else format_age(age)

        return stale

    def style_of(self, row: Any, field: Field[Any]) -> str:
        if self.style is not None:
            return self.style(row, field)
        if field.name == "state" and (look := self.noun.look_of(row)) is not None:
            return str(look.meaning)
        if field.name in ("fault", "reason", "cure") and self.is_fault(row):
            return "warning"
        return ""

    @staticmethod
    def hosts_of(row: Row) -> frozenset[str]:
        return host_names(row)

    @staticmethod
    def subject(row: Row) -> Subject:
        return subject_of(row)


def _with_hosts_of(row: Row, snapshot: FleetSnapshot) -> Row:
    """The row as it is, with its hosts as `snapshot` has them."""
    hosts = snapshot.hosts
    if isinstance(row, PoolRow):
        return PoolRow(row.identity, tuple((hosts.get(host.name, host), pool) for host, pool in row.members))
    return row._replace(host=hosts.get(row.host.name, row.host))


def _vms_of(host: HostView) -> list[VmRow]:
    return [VmRow(host, vm) for vm in host.vms]


def _networks_of(host: HostView) -> list[NetworkRow]:
    return [NetworkRow(host, network) for network in host.networks]


def _listed(
    name: str,
    groups: str,
    members: str,
    of_host: Callable[[HostView], Iterable[Any]] | None,
    is_fault: Callable[[Any], bool],
    empty: str,
    told: Callable[[HostView], bool],
    lasting: Lasting | None = None,
) -> Listed:
    noun = NOUNS[name].with_clock(CLOCK)
    return Listed(
        noun,
        frozenset(groups.split()),
        members,
        of_host,
        is_fault,
        empty,
        told,
        columns_of(name, noun.fields),
        lasting,
    )


LISTED: Mapping[str, Listed] = {
    listed.kind: listed
    for listed in (
        _listed(
            "host",
            "state facts stats vms",
            "state",
            lambda host: [HostRow(host)],
            lambda row: host_fault(row.host, time.monotonic()) is not None,
            "No hosts",
            lambda host: True,
            Lasting(frozenset({"name"}), lambda row: None),
        ),
        _listed(
            "vm",
            "state stats vms",
            "vms",
            _vms_of,
            lambda row: vm_fault(row.vm) is not None,
            "No VMs",
            lambda host: host.freshness.stats is not None,
            Lasting(
                frozenset({"name", "host", "addresses", "project", "tags", "flavor", "group"}),
                lambda row: row.vm.info,
            ),
        ),
        _listed(
            "pool",
            "state pools",
            "pools",
            None,
            lambda row: pool_fault(row) is not None,
            "No storage pools",
            lambda host: host.freshness.pools is not None,
        ),
        _listed(
            "volume",
            "state volumes pools",
            "volumes",
            None,
            lambda row: False,
            "No volumes",
            lambda host: host.freshness.volumes is not None or not host.pools,
        ),
        _listed(
            "network",
            "state networks",
            "networks",
            _networks_of,
            lambda row: network_fault(row.network) is not None,
            "No networks",
            lambda host: host.freshness.networks is not None,
        ),
    )
}
BY_VIEW: Mapping[str, Listed] = {listed.view: listed for listed in LISTED.values()}


def host_names(row: Row) -> frozenset[str]:
    """Names of the hosts on which the object is, or that see it."""
    if isinstance(row, PoolRow):
        return frozenset(host.name for host, _ in row.members)
    return frozenset({row.host.name})


def subject_of(row: Row) -> Subject:
    match row:
        case HostRow(host):
            return Subject("host", row.key, host.name, host.name)
        case VmRow(host, vm):
            return Subject("vm", row.key, vm.name, host.name, vm.uuid)
        case PoolRow(_, members):
            host, pool = next((each for each in members if each[0].state.answers), members[0])
            return Subject("pool", row.key, pool.name, host.name, pool.uuid)
        case VolumeRow(host, volume):
            return Subject("volume", row.key, volume.name, host.name)
        case NetworkRow(host, network):
            return Subject("network", row.key, network.name, host.name, network.uuid)


def vm_named(snapshot: FleetSnapshot, name: str) -> Subject:
    """The VM that a person calls NAME, NAME@HOST or by its UUID. NotFoundError, AmbiguousError."""
    noun = NOUNS["vm"]
    return subject_of(finding.find(noun, list(noun.rows(snapshot)), finding.wanted(name, snapshot.hosts)))


def subject_of_alert(alert: Alert) -> Subject:
    uuid = alert.key[1] if isinstance(alert.key, tuple) else ""
    return Subject(alert.noun, alert.key, alert.name, alert.host, str(uuid))


def find(snapshot: FleetSnapshot, subject: Subject) -> Row | None:
    """The newest value of a subject; None: it is gone."""
    if subject.kind in ("pool", "volume"):
        rows = LISTED[subject.kind].rows(snapshot)
        return next((row for row in rows if row.key == subject.key), None)
    host = snapshot.hosts.get(subject.host)
    of_host = LISTED[subject.kind].of_host
    if host is None or of_host is None:
        return None
    return next((row for row in of_host(host) if row.key == subject.key), None)
