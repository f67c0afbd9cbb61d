"""What the fleet file says, as frozen values: hosts and how to reach them, flavors, images, projects.

These definitions are also the grammar of the file: `shape.py` reads their
types, so a new key is one new field here. Sizes in bytes, durations in
seconds. A `Meta(extra=...)` mark says how the file writes a value:
"bytes" accepts 512MiB, "path" expands ~ and is relative to the file,
"private" is a file that only its owner may read, "reason" accepts true for a
text, and "internal" can't be given in the file at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from virtfleet.config.secret import Secret

DISABLED = "disabled in the fleet file"

Bytes = Annotated[int, Meta(ge=0, extra={"bytes": True})]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Ratio = Annotated[float, Meta(gt=0, le=1000)]
Percentage = Annotated[float, Meta(ge=0, le=100)]
Weight = Annotated[float, Meta(ge=-1e9, le=1e9)]
Interval = Annotated[float, Meta(ge=0.5, le=3600)]
PathText = Annotated[str, Meta(extra={"path": True})]
Internal = Meta(extra={"internal": True})


class SshOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a `+ssh` host; ~/.ssh/config fills what is not given here."""

    user: str = ""
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    identity: tuple[Annotated[str, Meta(extra={"path": True, "private": True})], ...] = ()
    """Private keys, or public ones (.pub) whose private half the agent holds."""
    known_hosts: tuple[PathText, ...] = ()
    """Files to read; an accepted key is written to the first. Empty: the user's own."""
    jump: str = ""
    """user@host:port[,...], as ProxyJump."""
    config: PathText | None = None
    """The ssh_config to honour; None: ~/.ssh/config; empty: none."""
    connect_timeout: Annotated[float, Meta(gt=0, le=600)] = 10.0
    agent: bool = True
    """Whether the SSH agent may be asked."""


class AllocationRatio(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be promised per unit that is there."""

    cpu: Ratio = 4.0
    memory: Ratio = 1.0
    disk: Ratio = 20.0
    """Thin volumes may be promised so often (as Cinder does); what is written must always fit."""


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """Kept for the host itself, never given to VMs."""

    cpus: Count = 0
    memory: Bytes = 0
    disk: Bytes = 0


class Fence(msgspec.Struct, frozen=True, kw_only=True):
    """How to cut a host's power: a program of fence-agents with its options."""

    agent: Annotated[str, Meta(pattern=r"^fence_[a-z0-9_]+$")]
    options: dict[str, str | int | float | bool] = {}
    secrets: dict[str, Secret] = {}


class HostDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What the `defaults` section may give to every host of its file."""

    zone: str = ""
    traits: tuple[str, ...] = ()
    allocation_ratio: AllocationRatio = AllocationRatio()
    reserved: Reserved = Reserved()
    fence: Fence | None = None
    ssh: SshOptions = SshOptions()
    interval: Interval = 2.0
    """Seconds between samples of the host and its VMs."""
    pools_interval: Interval = 10.0
    volumes_interval: Interval = 60.0
    networks_interval: Interval = 30.0


class HostSettings(HostDefaults, frozen=True, kw_only=True):
    name: Annotated[str, Internal] = ""
    """The key in `hosts`."""
    uri: str
    """libvirt's connection URI."""
    migration_address: str = ""
    """Where other hosts send migrations; empty: the host of the URI."""
    projects: tuple[str, ...] = ()
    """Only VMs of these projects may come here; empty: of any."""
    disabled: Annotated[str, Meta(extra={"reason": DISABLED})] = ""
    """Why not to connect; empty: connect. The file accepts true or a text."""
    simulate: Annotated[int | None, Internal] = None
    """Seed of the simulated figures of a demo host; None: real figures."""


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    vcpus: Positive
    memory: Bytes
    disk: Bytes = 0
    extra_specs: dict[str, str | int | float | bool] = {}
    """What else its VMs need of a host, in Nova's words: hw:numa_nodes, trait:ssd, capabilities:..."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    source: PathText
    format: Literal["qcow2", "raw"] = "qcow2"
    arch: str = ""
    user: str = ""
    """The account that its cloud-init gives the SSH keys to."""


class PoolSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Which pools a volume type may use; an empty list excludes none."""

    traits: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class VolumeType(msgspec.Struct, frozen=True, kw_only=True):
    """What volumes of a type may use, and how far its pools may be promised; a volume without a type is of
    one with all defaults."""

    pools: PoolSelector = PoolSelector()
    provisioning: Literal["thin", "thick"] = "thin"
    max_over_subscription: Annotated[float, Meta(ge=1, le=1000)] = 20.0
    """Of thin ones: how often what is there may be promised."""
    reserved_percentage: Percentage = 0.0
    """Of each pool, never given to volumes."""
    full_at: Percentage = 90.0
    """Of a pool's physical size: past it the pool takes no more volumes, thin ones neither."""


class TypeQuota(msgspec.Struct, frozen=True, kw_only=True):
    """Upper limits of a project for volumes of one type."""

    volumes: Count | None = None
    capacity: Bytes | None = None


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Upper limits of a project; None: no limit."""

    vms: Count | None = None
    vcpus: Count | None = None
    memory: Bytes | None = None
    volumes: Count | None = None
    capacity: Bytes | None = None
    volume_types: dict[str, TypeQuota] = {}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    quota: Quota = Quota()
    zones: tuple[str, ...] = ()
    """Where alone its VMs may be; empty: anywhere."""
    hosts: tuple[str, ...] = ()
    """The same, by host."""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """How much each weigher counts when a host is chosen; a negative number packs instead of spreading."""

    memory: Weight = 1.0
    cpu: Weight = 1.0
    disk: Weight = 1.0
    io: Weight = -1.0
    """Builds and migrations that are running there."""
    vms: Weight = 0.0
    version: Weight = 1.0
    soft_affinity: Weight = 1.0
    soft_anti_affinity: Weight = 1.0
    failed_builds: Weight = -1_000_000.0
    metrics: Weight = 1.0


class WeightsOfZone(msgspec.Struct, frozen=True, kw_only=True):
    """What is not given is as in `scheduler`."""

    memory: Weight | None = None
    cpu: Weight | None = None
    disk: Weight | None = None
    io: Weight | None = None
    vms: Weight | None = None
    version: Weight | None = None
    soft_affinity: Weight | None = None
    soft_anti_affinity: Weight | None = None
    failed_builds: Weight | None = None
    metrics: Weight | None = None


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the hosts of a zone, where a host does not say it itself."""

    allocation_ratio: AllocationRatio | None = None
    reserved: Reserved | None = None
    weights: WeightsOfZone = WeightsOfZone()


class VolumeWeights(msgspec.Struct, frozen=True, kw_only=True):
    """How much each weigher counts when a pool is chosen; a negative number packs instead of spreading."""

    capacity: Weight = 1.0
    """What may still be promised of it, or written to it if its volumes are thick."""
    volumes: Weight = 0.0
    """Volumes that are in it."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Of the weigher `metrics`: how much each live figure counts; 0: not at all."""

    cpu: Weight = -1.0
    """Per percent of CPU that is busy."""
    io: Weight = 0.0
    """Per byte per second of the disks."""


class Scheduler(msgspec.Struct, frozen=True, kw_only=True):
    """How the host of a VM is chosen."""

    weights: Weights = Weights()
    volume_weights: VolumeWeights = VolumeWeights()
    """The same when the pool of a volume is chosen."""
    metrics: Metrics = Metrics()
    host_subset_size: Positive = 1
    """One of so many of the best is taken at random."""
    seed: int | None = None
    """Of that choice, for tests; None: another each time."""
    max_vms_per_host: Positive = 50
    max_io_per_host: Positive = 8
    fresh_within: Annotated[float, Meta(gt=0, le=86400)] = 60.0
    """Seconds that a host's last sample may be old."""


class GroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """VMs that belong together, or apart; each names its group in its metadata."""

    policy: Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
    max_per_host: Positive = 1
    """With anti-affinity."""


class PciAlias(msgspec.Struct, frozen=True, kw_only=True):
    """Devices that a flavor may ask for by a name; numbers as in lspci -n."""

    vendor: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{4}$")]
    product: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{4}$")]


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """Where jobs and audit log are kept: SQLite in the state folder, or a PostgreSQL database of a team."""

    url: Annotated[str, Meta(pattern=r"^(postgresql://.*)?$")] = ""
    """postgresql://USER@HOST/DATABASE, the password apart."""
    password: Secret | None = None


class JobLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done at once."""

    per_host: Positive = 4
    """Steps on one host."""
    per_pool: Positive = 2
    """Transfers into one pool."""
    total: Positive = 32
    """Jobs; the others wait."""


class UiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The console's own."""

    theme: str = ""
    """Name of a theme of the console; empty: the one chosen last."""
    refresh: Annotated[float, Meta(ge=0.05, le=60)] = 0.25
    """Seconds between repaints, at least."""


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    """What the status line calls this fleet; empty in the file: the file's own name."""
    hosts: dict[str, HostSettings] = {}
    """In the order of the file."""
    flavors: dict[str, Flavor] = {}
    images: dict[str, Image] = {}
    volume_types: dict[str, VolumeType] = {}
    projects: dict[str, Project] = {}
    groups: dict[str, GroupSettings] = {}
    zones: dict[str, Zone] = {}
    scheduler: Scheduler = Scheduler()
    pci_aliases: dict[str, PciAlias] = {}
    ui: UiSettings = UiSettings()
    store: Store = Store()
    limits: JobLimits = JobLimits()
    path: Annotated[str, Internal] = ""
    """File or folder that this was read from; empty: none (--connect, demo)."""
    demo: Annotated[bool, Internal] = False
    """The demo fleet: simulated figures, said so on screen."""


def with_names(hosts: Mapping[str, HostSettings]) -> dict[str, HostSettings]:
    """The hosts, each carrying its key as its name."""
    return {name: msgspec.structs.replace(host, name=name) for name, host in hosts.items()}
