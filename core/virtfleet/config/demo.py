"""The demo fleet: what a first start shows, and what benchmarks measure with.

Its hosts are libvirt's test driver. A URI tells only a host's place in the
fleet; the worker makes the rest from that and the seed (hypervisor/simulated_*),
and all figures are simulated and said to be.
"""

from __future__ import annotations

from urllib.parse import urlencode

from virtfleet.config.settings import (
    Flavor,
    FleetSettings,
    GroupSettings,
    HostSettings,
    Image,
    PoolSelector,
    Project,
    Quota,
    TypeQuota,
    VolumeType,
)

SEED = 7
_VMS = 120
_ROLES = 20
"""After so many VMs on a host the roles of the next are the first ones again."""
ZONES = ("a", "b")
_GIB = 1024**3

FLAVORS = {
    "small": Flavor(vcpus=1, memory=2 * _GIB, disk=10 * _GIB),
    "medium": Flavor(vcpus=2, memory=4 * _GIB, disk=20 * _GIB),
    "large": Flavor(vcpus=4, memory=8 * _GIB, disk=40 * _GIB),
    "xlarge": Flavor(vcpus=8, memory=16 * _GIB, disk=80 * _GIB),
    "memory": Flavor(vcpus=4, memory=32 * _GIB, disk=60 * _GIB),
}


def demo_fleet(hosts: int = 8, vms: int = _VMS, *, seed: int = SEED, interval: float = 2.0) -> FleetSettings:
    """Settings of `hosts` simulated hosts in two zones with `vms` VMs in all; the same for the same seed.

    ValueError: no hosts, or a negative number of VMs.
    """
    if hosts < 1 or vms < 0:
        raise ValueError(f"a demo fleet of {hosts} hosts and {vms} VMs")
    each, more = divmod(vms, hosts)
    per_zone = -(-hosts // len(ZONES))
    digits = max(2, len(str(hosts)))
    found = {}
    for number in range(hosts):
        name = f"hv{number + 1:0{digits}d}"
        zone, place = ZONES[number // per_zone], number % per_zone
        ssd = number % 3 != 2
        words = {
            "number": number,
            "hosts": hosts,
            "place": place,
            "zone": zone,
            "vms": each + (number < more),
            "ssd": int(ssd),
        }
        found[name] = HostSettings(
            name=name,
            uri=f"test:///demo?{urlencode(words)}",
            zone=zone,
            traits=("ssd",) if ssd else (),
            interval=interval,
            simulate=seed,
        )
    return FleetSettings(
        name="demo",
        hosts=found,
        flavors=FLAVORS,
        images={
            "debian12": Image(
                source="/var/lib/libvirt/images/debian-12-base.qcow2", arch="x86_64", user="debian"
            )
        },
        volume_types={
            "fast": VolumeType(pools=PoolSelector(traits=("ssd",), names=("fast",)), provisioning="thick"),
            "standard": VolumeType(pools=PoolSelector(names=("images",))),
        },
        projects=_projects(-(-vms // _VMS)),
        groups=_groups(-(-(each + (more > 0)) // _ROLES)),
        demo=True,
    )


def _projects(size: int) -> dict[str, Project]:
    """Two with quotas, of which that of `web` is nearly used up in a fleet of the usual size; `size`: how
    many times that."""
    size = max(1, size)
    web = Quota(
        vcpus=224 * size,
        memory=640 * _GIB * size,
        volume_types={"fast": TypeQuota(capacity=768 * _GIB * size)},
    )
    ci = Quota(vms=40 * size, vcpus=160 * size, capacity=2048 * _GIB * size)
    free = {name: Project() for name in ("data", "platform", "infra", "dev")}
    return {"web": Project(quota=web), "ci": Project(quota=ci), **free}


def _groups(rounds: int) -> dict[str, GroupSettings]:
    """Some of those that demo VMs name. The first two are kept, also if a host dies; the wish of `api` is not
    met, on purpose: each host has two of them. `rounds`: how often all roles occur on a host."""
    rounds = max(1, rounds)
    return {
        "db": GroupSettings(policy="anti-affinity", max_per_host=2 * rounds),
        "web-front": GroupSettings(policy="soft-anti-affinity", max_per_host=3 * rounds),
        "api": GroupSettings(policy="soft-anti-affinity", max_per_host=rounds),
    }
