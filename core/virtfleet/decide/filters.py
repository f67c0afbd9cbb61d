"""Whether a host can take a VM at all: one filter for each rule, in Nova's words, in their order.

Each gives a mask over the hosts, or None when the question does not concern
it; and, for a person, why a host is out and what would make it fit.
"""

from __future__ import annotations

import numpy as np

from virtfleet.decide import filters_cells as cells
from virtfleet.decide import filters_room as room
from virtfleet.decide import operators
from virtfleet.decide.ledger import Bools, Ledger
from virtfleet.decide.question import Filter, Question, members_of
from virtfleet.query.display import format_age

# ---- up, place


def _up(q: Question) -> Bools:
    # Where operators want no new VMs is no question of age: that nobody overrides but by enabling it.
    may: Bools = q.ledger.up & q.ledger.open
    if q.ask.stale_ok:
        return may
    fresh: Bools = q.now - q.ledger.taken <= q.ledger.settings.scheduler.fresh_within
    return may & fresh


def _why_up(q: Question, row: int) -> str:
    view = q.ledger.views[row]
    if not view.state.answers:
        return f"{view.state.value}: {view.reason}" if view.reason else view.state.value
    if view.closed:
        return view.closed
    age = view.age(q.now)
    return "has told nothing yet" if age is None else f"last heard {format_age(age)} ago"


def _mend_up(q: Question, row: int) -> str:
    view = q.ledger.views[row]
    return f"`host enable {view.name}`" if view.state.answers and view.closed else view.cure


def _zone(q: Question) -> Bools | None:
    zone, hosts = q.ask.zone, q.ledger.hosts
    if not zone:
        return None
    return q.ledger.cached(("zone", zone), lambda: np.array([host.zone == zone for host in hosts], bool))


def _hosts(q: Question) -> Bools | None:
    ask = q.ask
    if not ask.hosts and not ask.avoid:
        return None
    wanted, avoided = frozenset(ask.hosts), frozenset(ask.avoid)
    return np.array([(not wanted or n in wanted) and n not in avoided for n in q.ledger.names], bool)


def _why_hosts(q: Question, row: int) -> str:
    avoided = q.ledger.names[row] in q.ask.avoid
    return "is to be avoided" if avoided else f"asked for is {', '.join(q.ask.hosts)}"


def _name(q: Question) -> Bools | None:
    rows = q.ledger.vm_names.get(q.ask.name)
    if not q.ask.name or not rows:
        return None
    found = np.ones(len(q.ledger), bool)
    # A VM that moves may keep its name where it is.
    own = q.ledger.vms.get(q.ask.moving, ())
    found[[row for row in rows if row not in own or not _is_own_name(q, row)]] = False
    return found


def _is_own_name(q: Question, row: int) -> bool:
    info = q.ledger.info_at(row, q.ask.moving)
    return info is not None and info.name == q.ask.name


# ---- what it is


def _hypervisor(q: Question) -> Bools:
    ask, ledger = q.ask, q.ledger
    found = ledger.container if ask.kind == "container" else ~ledger.container
    if not (ask.hypervisor or ask.arch or ask.firmware or ask.machine or ask.cpu_model):
        return found
    same: Bools = np.array([not _differs(q, row) for row in range(len(ledger))], bool)
    return found & same


def _differs(q: Question, row: int) -> str:
    """Which property of the image the host lacks; what it does not tell is no obstacle."""
    ask, facts = q.ask, q.ledger.views[row].facts
    if facts is None:
        return ""
    if ask.hypervisor and facts.hypervisor and facts.hypervisor.lower() != ask.hypervisor.lower():
        return f"runs {facts.hypervisor}, not {ask.hypervisor}"
    if ask.arch and facts.arch and facts.arch != ask.arch:
        return f"is of {facts.arch}, not {ask.arch}"
    for what, wanted, offered in (
        ("firmware", ask.firmware, facts.firmwares),
        ("machine type", ask.machine, facts.machines),
        ("CPU model", ask.cpu_model, facts.cpu_models),
    ):
        if wanted and offered and wanted not in offered:
            return f"has no {what} {wanted}"
    return ""


def _why_hypervisor(q: Question, row: int) -> str:
    if q.ledger.container[row] != (q.ask.kind == "container"):
        return "runs containers alone" if q.ledger.container[row] else "runs no containers"
    return _differs(q, row)


def _capabilities(q: Question) -> Bools | None:
    if not q.ask.specs.capabilities:
        return None
    return np.array([not _lacks(q, row) for row in range(len(q.ledger))], bool)


def _lacks(q: Question, row: int) -> str:
    view = q.ledger.views[row]
    for name, requirement in q.ask.specs.capabilities:
        have = operators.host_value(view, name)
        if not operators.match(have, requirement):
            shown = "not known" if have is None else operators.text_of(have)
            return f"{name} is {shown}, asked for is {requirement}"
    return ""


def _traits(q: Question) -> Bools | None:
    specs = q.ask.specs
    if not specs.traits_required and not specs.traits_forbidden:
        return None
    needed, forbidden = frozenset(specs.traits_required), frozenset(specs.traits_forbidden)

    def mask() -> Bools:
        each = (frozenset(host.traits) for host in q.ledger.hosts)
        return np.array([needed <= have and not (forbidden & have) for have in each], bool)

    return q.ledger.cached(("traits", needed, forbidden), mask)


def _why_traits(q: Question, row: int) -> str:
    have = frozenset(q.ledger.hosts[row].traits)
    missing = [each for each in q.ask.specs.traits_required if each not in have]
    unwanted = [each for each in q.ask.specs.traits_forbidden if each in have]
    parts = [f"lacks {', '.join(missing)}"] if missing else []
    return "; ".join([*parts, f"has {', '.join(unwanted)}"] if unwanted else parts)


def _mend_traits(q: Question, row: int) -> str:
    have = frozenset(q.ledger.hosts[row].traits)
    missing = [each for each in q.ask.specs.traits_required if each not in have]
    return f"give it the trait {', '.join(missing)}, if it has it" if missing else ""


# ---- who may be there


def _isolation(q: Question) -> Bools | None:
    project = q.ask.project or "default"
    return q.ledger.cached(("isolation", project), lambda: _isolated(q.ledger, project))


def _isolated(ledger: Ledger, project: str) -> Bools | None:
    confined = ledger.settings.projects.get(project)
    zones = frozenset(confined.zones) if confined is not None else frozenset()
    hosts = frozenset(confined.hosts) if confined is not None else frozenset()
    if not zones and not hosts and not any(host.projects for host in ledger.hosts):
        return None
    return np.array(
        [
            (not host.projects or project in host.projects)
            and ((not zones and not hosts) or host.zone in zones or name in hosts)
            for name, host in zip(ledger.names, ledger.hosts, strict=True)
        ],
        bool,
    )


def _why_isolation(q: Question, row: int) -> str:
    host, project = q.ledger.hosts[row], q.ask.project or "default"
    if host.projects and project not in host.projects:
        return f"takes only VMs of {', '.join(host.projects)}, not of {project}"
    return f"project {project} is confined to other hosts"


def _affinity(q: Question) -> Bools | None:
    """With all other members, or among fewer than may be on one host; a soft rule refuses nobody."""
    rule = q.ledger.settings.groups.get(q.ask.group)
    if rule is None or rule.policy.startswith("soft-"):
        return None
    members = members_of(q.ledger, q.ask)
    if rule.policy == "anti-affinity":
        return members < rule.max_per_host
    return members > 0 if members.any() else None


def _why_affinity(q: Question, row: int) -> str:
    rule = q.ledger.settings.groups[q.ask.group]
    members = members_of(q.ledger, q.ask)
    if rule.policy == "anti-affinity":
        return f"has {members[row]:.0f} of group {q.ask.group}, at most {rule.max_per_host} may be together"
    where = [name for name, count in zip(q.ledger.names, members, strict=True) if count]
    return f"group {q.ask.group} is on {', '.join(where[:4])}"


def _same_host(q: Question) -> Bools | None:
    return _with(q, q.ask.same_host) if q.ask.same_host else None


def _different_host(q: Question) -> Bools | None:
    return ~_with(q, q.ask.different_host) if q.ask.different_host else None


def _with(q: Question, uuids: tuple[str, ...]) -> Bools:
    found = np.zeros(len(q.ledger), bool)
    for uuid in uuids:
        found[list(q.ledger.vms.get(uuid, ()))] = True
    return found


def _networks(q: Question) -> Bools | None:
    names = [name for name in q.ask.networks if not name.startswith("bridge:")]
    if not names:
        return None
    found = np.ones(len(q.ledger), bool)
    for name in names:
        found &= q.ledger.networks.get(name, np.zeros(len(q.ledger), bool))
    return found


def _why_networks(q: Question, row: int) -> str:
    missing = [
        name
        for name in q.ask.networks
        if not name.startswith("bridge:") and not q.ledger.networks.get(name, np.zeros(row + 1, bool))[row]
    ]
    return f"no active network {', '.join(missing)}"


def _mend_networks(q: Question, row: int) -> str:
    return f"start or define network {_why_networks(q, row).removeprefix('no active network ')} there"


def _nothing(q: Question, row: int) -> str:
    return ""


FILTERS: tuple[Filter, ...] = (
    Filter("up", "It answers, was sampled lately, and is not disabled for new VMs.", _up, _why_up, _mend_up),
    Filter("hosts", "Among those that were asked for.", _hosts, _why_hosts, _nothing),
    Filter(
        "zone",
        "In the zone that was asked for.",
        _zone,
        lambda q, row: f"in zone {q.ledger.hosts[row].zone or '—'}, asked for is {q.ask.zone}",
        _nothing,
    ),
    Filter(
        "name",
        "No VM of that name is there.",
        _name,
        lambda q, row: f"a VM called {q.ask.name} is there",
        _nothing,
    ),
    Filter("image", "Runs what the image is made for.", _hypervisor, _why_hypervisor, _nothing),
    Filter(
        "capabilities",
        "Has the capabilities that the flavor asks for.",
        _capabilities,
        _lacks,
        _nothing,
    ),
    Filter("traits", "Has all traits required and none forbidden.", _traits, _why_traits, _mend_traits),
    Filter("isolation", "The project may be there.", _isolation, _why_isolation, _nothing),
    Filter("networks", "Has the networks, active.", _networks, _why_networks, _mend_networks),
    Filter(
        "same-host",
        "With one of the VMs named.",
        _same_host,
        lambda q, row: "none of the VMs it shall be with is there",
        _nothing,
        capacity=True,
    ),
    Filter(
        "different-host",
        "With none of the VMs named.",
        _different_host,
        lambda q, row: "a VM that it shall be apart from is there",
        _nothing,
        capacity=True,
    ),
    Filter(
        "vms",
        "Fewer VMs than may be on one host.",
        room.vm_limit,
        lambda q, row: (
            f"has {q.ledger.vm_count[row]:.0f} VMs, at most {q.ledger.settings.scheduler.max_vms_per_host}"
        ),
        lambda q, row: "raise scheduler.max_vms_per_host",
        capacity=True,
    ),
    Filter(
        "io",
        "Fewer builds and migrations than may run at once.",
        room.io_limit,
        lambda q, row: f"{q.ledger.io[row]:.0f} builds or migrations are running there",
        lambda q, row: "wait until they are done",
        capacity=True,
    ),
    Filter("group", "Its group's rule.", _affinity, _why_affinity, _nothing, capacity=True),
    Filter("vcpus", "vCPUs are left.", room.vcpus, room.why_vcpus, room.mend_room("vCPUs"), capacity=True),
    Filter(
        "memory", "Memory is left.", room.memory, room.why_memory, room.mend_room("memory"), capacity=True
    ),
    Filter(
        "disk",
        "A pool has room for its disks.",
        room.disk,
        room.why_disk,
        lambda q, row: "make room in the pool",
        capacity=True,
    ),
    Filter("pci", "Has the devices, free.", cells.devices, cells.why_devices, _nothing, capacity=True),
    Filter(
        "numa",
        "Its NUMA cells have the CPUs, memory and pages.",
        cells.cells,
        cells.why_cells,
        _nothing,
        capacity=True,
    ),
)
"""In this order: cheap and telling ones first."""
