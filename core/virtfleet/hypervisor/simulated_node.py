"""A simulated host as a file for libvirt's test driver (`test:///FILE`).

The driver takes whole domains, networks and pools with volumes inline; in the
namespace of `test` it takes what a file could not say otherwise: the state in
which a domain starts, snapshots, a managed save.

Every worker of a simulated fleet writes its file before it can begin, so it is
put together as text, in a fifth of the time that a tree of elements takes; and
it says no more than somebody may look at, for libvirt's reading of it is half
of what such a worker's start costs. Of the texts in it only the zone's name is
not our own.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtfleet.hypervisor.simulated_world import (
    CLUSTER,
    GIB,
    HostPlan,
    SimulatedVm,
    digest,
    mac,
    machine,
    nat_range,
    shared_volumes,
    stable_uuid,
    virtual_machines,
)

_TEST = "http://libvirt.org/schemas/domain/test/1.0"
_VM = "urn:virtfleet:vm:1"
_ISOS = ("debian-12.5.0-amd64-netinst.iso", "ubuntu-24.04-live-server.iso", "virtio-win-0.1.240.iso")
_BASE = "debian-12-base.qcow2"
_IMAGES = "/var/lib/libvirt/images"
_FAST = "/dev/vg_fast"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", "'": "&apos;"})
_OS = "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"


def write_node_xml(seed: int, plan: HostPlan) -> str:
    """The node file of a simulated host."""
    box = machine(seed, plan)
    vms = virtual_machines(seed, plan)
    return (
        f"<node><cpu><mhz>{box.mhz}</mhz><model>x86_64</model><active>{box.cpus}</active><nodes>1</nodes>"
        f"<sockets>{box.sockets}</sockets><cores>{box.cores}</cores><threads>{box.threads}</threads></cpu>"
        f"<memory>{box.memory // 1024}</memory>\n"
        + "\n".join([_domain(seed, plan, vm) for vm in vms])
        + _networks(seed, plan)
        + _pools(seed, plan, vms)
        + "</node>"
    )


# ---------------------------------------------------------------- domains


def _in_fast(plan: HostPlan, vm: SimulatedVm) -> bool:
    return plan.ssd and vm.role.name in ("db", "build", "search")


def _data_volume(plan: HostPlan, vm: SimulatedVm) -> int | None:
    """Number of the shared volume that a VM has for its data: the first database and service of a host."""
    if vm.slot >= 10 or vm.role.name not in ("db", "infra"):
        return None
    return (plan.place % CLUSTER) * 2 + (vm.role.name == "infra")


def _domain(seed: int, plan: HostPlan, vm: SimulatedVm) -> str:
    nat = vm.role.project in ("dev", "ci")
    nics = _nic(mac(plan, vm.slot, nat), "default" if nat else "prod")
    if vm.role.name == "k8s":
        nics += _nic(mac(plan, vm.slot + 1000, False), "storage")
    saved = "<test:hasmanagedsave/>" if vm.state == 5 and vm.slot % 4 == 1 else ""
    return (
        f"<domain type='test' xmlns:test='{_TEST}'>{_outline(vm)}<title>{vm.role.description}</title>"
        f"{_metadata(vm)}<features><acpi/></features><devices>{_disks(seed, plan, vm)}{nics}"
        f"<serial type='pty'/><graphics type='vnc' port='{5900 + vm.slot}' listen='127.0.0.1'/></devices>"
        f"<test:runstate>{vm.state}</test:runstate>{saved}{_snapshots(seed, vm)}</domain>"
    )


def _outline(vm: SimulatedVm) -> str:
    """What a domain can't be without."""
    return (
        f"<name>{vm.name}</name><uuid>{vm.uuid}</uuid>"
        f"<memory unit='KiB'>{vm.flavor.memory // 1024}</memory><vcpu>{vm.flavor.vcpus}</vcpu>{_OS}"
    )


def _nic(address: str, network: str) -> str:
    return (
        f"<interface type='network'><mac address='{address}'/><source network='{network}'/>"
        "<model type='virtio'/></interface>"
    )


def _metadata(vm: SimulatedVm) -> str:
    words = [("project", vm.role.project), ("flavor", vm.flavor.name), ("group", vm.role.group)]
    words += [("tag", tag) for tag in vm.role.tags]
    if vm.role.priority is not None:
        words.append(("ha-priority", str(vm.role.priority)))
    inside = "".join([f"<vm:{name}>{text}</vm:{name}>" for name, text in words if text])
    if vm.role.protected:
        inside += "<vm:protected/>"
    return f"<metadata><vm:vm xmlns:vm='{_VM}'>{inside}</vm:vm></metadata>"


def _snapshots(seed: int, vm: SimulatedVm) -> str:
    """One VM in four has some. With a definition of the domain as it was: libvirt warns of one without."""
    return "".join(
        f"<test:domainsnapshot><name>{('before-upgrade', 'nightly')[number]}</name><state>shutoff</state>"
        f"<creationTime>{1_718_000_000 + 86_400 * number}</creationTime><active>0</active>"
        f"<domain type='test'>{_outline(vm)}</domain></test:domainsnapshot>"
        for number in range((0, 0, 0, 0, 0, 0, 1, 2)[digest(seed, vm.name, "snapshots") % 8])
    )


def _disks(seed: int, plan: HostPlan, vm: SimulatedVm) -> str:
    if _in_fast(plan, vm):
        disks = _disk("block", "disk", f"<source dev='{_FAST}/{vm.name}'/>", "vda", "raw")
    else:
        disks = _disk("file", "disk", f"<source file='{_IMAGES}/{vm.name}.qcow2'/>", "vda", "qcow2")
    number = _data_volume(plan, vm)
    if number is not None:
        name, _, _ = shared_volumes(seed, plan.cluster)[number]
        source = f"<source protocol='rbd' name='{_escaped(plan.cluster)}/{name}'>{_monitors(plan)}</source>"
        disks += _disk("network", "disk", source, "vdb", "raw")
    if vm.role.name == "dev":
        disks += _disk("file", "cdrom", f"<source file='/srv/isos/{_ISOS[0]}'/>", "sda", "", "<readonly/>")
    return disks


def _disk(kind: str, device: str, source: str, target: str, form: str, more: str = "") -> str:
    driver = f"<driver name='qemu' type='{form}'/>" if form else ""
    bus = "sata" if device == "cdrom" else "virtio"
    return (
        f"<disk type='{kind}' device='{device}'>{driver}{source}<target dev='{target}' bus='{bus}'/>"
        f"{more}</disk>"
    )


def _monitors(plan: HostPlan) -> str:
    cluster = _escaped(plan.cluster)
    return "".join(f"<host name='mon{number}.{cluster}.demo' port='6789'/>" for number in (1, 2, 3))


# ---------------------------------------------------------------- networks


def _networks(seed: int, plan: HostPlan) -> str:
    start = nat_range(plan)
    nat = (
        f"<forward mode='nat'/><ip address='{start}.1' netmask='255.255.240.0'>"
        f"<dhcp><range start='{start}.2' end='{start}.254'/></dhcp></ip>"
    )
    isolated = f"<ip address='172.16.{plan.number % 256}.1' prefix='24'/>"
    networks = (
        ("default", "virbr0", nat),
        ("prod", "br-prod", "<forward mode='bridge'/>"),
        ("storage", "virbr1", isolated),
    )
    return "\n".join(
        f"<network><name>{name}</name><uuid>{stable_uuid(seed, 'network', plan.name, name)}</uuid>"
        f"<bridge name='{bridge}'/>{more}</network>"
        for name, bridge, more in networks
    )


# ---------------------------------------------------------------- pools


def _pools(seed: int, plan: HostPlan, vms: Iterable[SimulatedVm]) -> str:
    images = [_volume(_BASE, "qcow2", f"{_IMAGES}/{_BASE}", 3 * GIB, 3 * GIB)]
    fast = []
    for vm in vms:
        size = vm.flavor.disk
        if _in_fast(plan, vm):
            fast.append(_volume(vm.name, "", f"{_FAST}/{vm.name}", size, size))
        else:
            used = size * (15 + digest(seed, vm.name, "disk") % 80) // 100
            base = f"{_IMAGES}/{_BASE}" if digest(seed, vm.name, "base") % 2 else ""
            name = f"{vm.name}.qcow2"
            images.append(_volume(name, "qcow2", f"{_IMAGES}/{name}", size, used, base))
    cluster = _escaped(plan.cluster)
    ceph = [
        _volume(name, "raw", f"{cluster}/{name}", capacity, allocation)
        for name, capacity, allocation in shared_volumes(seed, plan.cluster)
    ]
    isos = []
    for name in _ISOS:
        size = (650 + digest(seed, name) % 2000) * 1024**2
        isos.append(_volume(name, "iso", f"/srv/isos/{name}", size, size))
    pools = [_pool(seed, plan, "images", "dir", _target(_IMAGES), images)]
    if plan.ssd:
        source = "<source><name>vg_fast</name><format type='lvm2'/></source>"
        pools.append(_pool(seed, plan, "fast", "logical", source + _target(_FAST), fast))
    source = f"<source>{_monitors(plan)}<name>{cluster}</name></source>"
    pools.append(_pool(seed, plan, plan.cluster, "rbd", source, ceph))
    source = "<source><host name='nas1.demo'/><dir path='/export/isos'/><format type='nfs'/></source>"
    pools.append(_pool(seed, plan, "isos", "netfs", source + _target("/srv/isos"), isos))
    return "".join(pools)


def _target(path: str) -> str:
    return f"<target><path>{path}</path></target>"


def _pool(seed: int, plan: HostPlan, name: str, kind: str, about: str, volumes: Iterable[str]) -> str:
    return (
        f"<pool type='{kind}'><name>{_escaped(name)}</name>"
        f"<uuid>{stable_uuid(seed, 'pool', plan.name, name)}</uuid>{about}{''.join(volumes)}</pool>\n"
    )


def _volume(name: str, form: str, path: str, capacity: int, allocation: int, backing: str = "") -> str:
    kind = f"<format type='{form}'/>" if form else ""
    below = f"<backingStore><path>{backing}</path><format type='qcow2'/></backingStore>" if backing else ""
    return (
        f"<volume><name>{name}</name><key>{path}</key><capacity>{capacity}</capacity>"
        f"<allocation>{allocation}</allocation><target><path>{path}</path>{kind}</target>{below}</volume>"
    )


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)  # html.escape would bring 280 kB of entities into every worker
