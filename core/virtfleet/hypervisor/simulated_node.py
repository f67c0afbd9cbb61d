"""A simulated host as a file for libvirt's test driver (`test:///FILE`).

The driver takes whole domains, networks and pools with volumes inline; in the
namespace of `test` it takes what a file could not say otherwise: the state in
which a domain starts, snapshots, a managed save.
"""

from __future__ import annotations

from lxml import etree

from virtfleet.hypervisor.simulated_world import (
    CLUSTER,
    GIB,
    HostPlan,
    SimulatedVm,
    digest,
    mac,
    machine,
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

_Element = etree._Element


def write_node_xml(seed: int, plan: HostPlan) -> str:
    """The node file of a simulated host."""
    node = etree.Element("node")
    hardware = machine(seed, plan)
    cpu = _add(node, "cpu")
    _add(cpu, "mhz", str(hardware.mhz))
    _add(cpu, "model", "x86_64")
    _add(cpu, "active", str(hardware.cpus))
    _add(cpu, "nodes", "1")
    _add(cpu, "sockets", str(hardware.sockets))
    _add(cpu, "cores", str(hardware.cores))
    _add(cpu, "threads", str(hardware.threads))
    _add(node, "memory", str(hardware.memory // 1024))
    vms = virtual_machines(seed, plan)
    for vm in vms:
        _domain(node, seed, plan, vm)
    _networks(node, seed, plan)
    _pools(node, seed, plan, vms)
    return etree.tostring(node, encoding="unicode", pretty_print=True)


def _add(parent: _Element, tag: str, text: str | None = None, **attributes: str) -> _Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element


# ---------------------------------------------------------------- domains


def _in_fast(plan: HostPlan, vm: SimulatedVm) -> bool:
    return plan.ssd and vm.role.name in ("db", "build", "search")


def _data_volume(plan: HostPlan, vm: SimulatedVm) -> int | None:
    """Number of the shared volume that a VM has for its data: the first database and service of a host."""
    if vm.slot >= 10 or vm.role.name not in ("db", "infra"):
        return None
    return (plan.place % CLUSTER) * 2 + (vm.role.name == "infra")


def _domain(node: _Element, seed: int, plan: HostPlan, vm: SimulatedVm) -> None:
    domain = etree.SubElement(node, "domain", {"type": "test"}, nsmap={"test": _TEST})
    _add(domain, "name", vm.name)
    _add(domain, "uuid", vm.uuid)
    _add(domain, "title", vm.role.description)
    _metadata(domain, vm)
    _add(domain, "memory", str(vm.flavor.memory // 1024), unit="KiB")
    _add(domain, "vcpu", str(vm.flavor.vcpus))
    _add(_add(domain, "os"), "type", "hvm", arch="x86_64", machine="pc-q35-7.2")
    features = _add(domain, "features")
    _add(features, "acpi")
    devices = _add(domain, "devices")
    _disks(devices, seed, plan, vm)
    nat = vm.role.project in ("dev", "ci")
    nic = _add(devices, "interface", type="network")
    _add(nic, "mac", address=mac(plan, vm.slot, nat))
    _add(nic, "source", network="default" if nat else "prod")
    _add(nic, "model", type="virtio")
    if vm.role.name == "k8s":
        nic = _add(devices, "interface", type="network")
        _add(nic, "mac", address=mac(plan, vm.slot + 1000, False))
        _add(nic, "source", network="storage")
        _add(nic, "model", type="virtio")
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    graphics = _add(devices, "graphics", type="vnc", port=str(5900 + vm.slot), autoport="no")
    _add(graphics, "listen", type="address", address="127.0.0.1")
    _add(devices, "memballoon", model="virtio")
    etree.SubElement(domain, f"{{{_TEST}}}runstate").text = str(vm.state)
    if vm.state == 5 and vm.slot % 4 == 1:
        etree.SubElement(domain, f"{{{_TEST}}}hasmanagedsave")
    for number in range(digest(seed, vm.name, "snapshots") % 4 - 1):
        _snapshot(domain, vm, number)


def _metadata(domain: _Element, vm: SimulatedVm) -> None:
    data = etree.SubElement(_add(domain, "metadata"), f"{{{_VM}}}vm", nsmap={"vm": _VM})
    words = [("project", vm.role.project), ("flavor", vm.flavor.name), ("group", vm.role.group)]
    words += [("tag", tag) for tag in vm.role.tags]
    if vm.role.priority is not None:
        words.append(("ha-priority", str(vm.role.priority)))
    for name, text in words:
        if text:
            etree.SubElement(data, f"{{{_VM}}}{name}").text = text
    if vm.role.protected:
        etree.SubElement(data, f"{{{_VM}}}protected")


def _snapshot(domain: _Element, vm: SimulatedVm, number: int) -> None:
    """With a definition of the domain as it was: libvirt logs a warning about one without."""
    snapshot = etree.SubElement(domain, f"{{{_TEST}}}domainsnapshot")
    _add(snapshot, "name", ("before-upgrade", "nightly")[number % 2])
    _add(snapshot, "state", "shutoff")
    _add(snapshot, "creationTime", str(1_718_000_000 + 86_400 * number))
    _add(snapshot, "active", "0")
    then = _add(snapshot, "domain", type="test")
    _add(then, "name", vm.name)
    _add(then, "uuid", vm.uuid)
    _add(then, "memory", str(vm.flavor.memory // 1024), unit="KiB")
    _add(then, "vcpu", str(vm.flavor.vcpus))
    _add(_add(then, "os"), "type", "hvm", arch="x86_64", machine="pc-q35-7.2")


def _disks(devices: _Element, seed: int, plan: HostPlan, vm: SimulatedVm) -> None:
    if _in_fast(plan, vm):
        disk = _add(devices, "disk", type="block", device="disk")
        _add(disk, "driver", name="qemu", type="raw")
        _add(disk, "source", dev=f"{_FAST}/{vm.name}")
    else:
        disk = _add(devices, "disk", type="file", device="disk")
        _add(disk, "driver", name="qemu", type="qcow2")
        _add(disk, "source", file=f"{_IMAGES}/{vm.name}.qcow2")
    _add(disk, "target", dev="vda", bus="virtio")
    number = _data_volume(plan, vm)
    if number is not None:
        name, _, _ = shared_volumes(seed, plan.cluster)[number]
        disk = _add(devices, "disk", type="network", device="disk")
        _add(disk, "driver", name="qemu", type="raw")
        source = _add(disk, "source", protocol="rbd", name=f"{plan.cluster}/{name}")
        for host in _monitors(plan):
            _add(source, "host", name=host, port="6789")
        _add(disk, "target", dev="vdb", bus="virtio")
    if vm.role.name == "dev":
        disk = _add(devices, "disk", type="file", device="cdrom")
        _add(disk, "source", file=f"/srv/isos/{_ISOS[0]}")
        _add(disk, "target", dev="sda", bus="sata")
        _add(disk, "readonly")


def _monitors(plan: HostPlan) -> list[str]:
    return [f"mon{number}.{plan.cluster}.demo" for number in (1, 2, 3)]


# ---------------------------------------------------------------- networks


def _networks(node: _Element, seed: int, plan: HostPlan) -> None:
    nat = _network(node, seed, plan, "default", "virbr0")
    _add(nat, "forward", mode="nat")
    dhcp = _add(_add(nat, "ip", address="192.168.122.1", netmask="255.255.255.0"), "dhcp")
    _add(dhcp, "range", start="192.168.122.2", end="192.168.122.254")
    _add(_network(node, seed, plan, "prod", "br-prod"), "forward", mode="bridge")
    isolated = _network(node, seed, plan, "storage", "virbr1")
    _add(isolated, "ip", address=f"172.16.{plan.number % 256}.1", prefix="24")


def _network(node: _Element, seed: int, plan: HostPlan, name: str, bridge: str) -> _Element:
    network = _add(node, "network")
    _add(network, "name", name)
    _add(network, "uuid", stable_uuid(seed, "network", plan.name, name))
    _add(network, "bridge", name=bridge)
    return network


# ---------------------------------------------------------------- pools


def _pools(node: _Element, seed: int, plan: HostPlan, vms: list[SimulatedVm]) -> None:
    images = _pool(node, seed, plan, "images", "dir")
    _add(_add(images, "target"), "path", _IMAGES)
    _volume(images, _BASE, "qcow2", f"{_IMAGES}/{_BASE}", 3 * GIB, 3 * GIB)
    fast: _Element | None = None
    if plan.ssd:
        fast = _pool(node, seed, plan, "fast", "logical")
        source = _add(fast, "source")
        _add(source, "name", "vg_fast")
        _add(source, "format", type="lvm2")
        _add(_add(fast, "target"), "path", _FAST)
    for vm in vms:
        size = vm.flavor.disk
        if fast is not None and _in_fast(plan, vm):
            _volume(fast, vm.name, "", f"{_FAST}/{vm.name}", size, size)
        else:
            path = f"{_IMAGES}/{vm.name}.qcow2"
            used = size * (15 + digest(seed, vm.name, "disk") % 80) // 100
            base = f"{_IMAGES}/{_BASE}" if digest(seed, vm.name, "base") % 2 else ""
            _volume(images, f"{vm.name}.qcow2", "qcow2", path, size, used, base)
    ceph = _pool(node, seed, plan, plan.cluster, "rbd")
    source = _add(ceph, "source")
    for host in _monitors(plan):
        _add(source, "host", name=host, port="6789")
    _add(source, "name", plan.cluster)
    for name, capacity, allocation in shared_volumes(seed, plan.cluster):
        _volume(ceph, name, "raw", f"{plan.cluster}/{name}", capacity, allocation)
    isos = _pool(node, seed, plan, "isos", "netfs")
    source = _add(isos, "source")
    _add(source, "host", name="nas1.demo")
    _add(source, "dir", path="/export/isos")
    _add(source, "format", type="nfs")
    _add(_add(isos, "target"), "path", "/srv/isos")
    for name in _ISOS:
        size = (650 + digest(seed, name) % 2000) * 1024**2
        _volume(isos, name, "iso", f"/srv/isos/{name}", size, size)


def _pool(node: _Element, seed: int, plan: HostPlan, name: str, kind: str) -> _Element:
    pool = _add(node, "pool", type=kind)
    _add(pool, "name", name)
    _add(pool, "uuid", stable_uuid(seed, "pool", plan.name, name))
    return pool


def _volume(
    pool: _Element, name: str, form: str, path: str, capacity: int, allocation: int, backing: str = ""
) -> None:
    volume = _add(pool, "volume")
    _add(volume, "name", name)
    _add(volume, "key", path)
    _add(volume, "capacity", str(capacity))
    _add(volume, "allocation", str(allocation))
    target = _add(volume, "target")
    _add(target, "path", path)
    if form:
        _add(target, "format", type=form)
    if backing:
        below = _add(volume, "backingStore")
        _add(below, "path", backing)
        _add(below, "format", type="qcow2")
