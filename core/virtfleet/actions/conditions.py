"""Whether what a plan was built on still holds: pure, over a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from virtfleet.actions import pool_conditions, storage
from virtfleet.model import FleetSnapshot, HostView, Maintenance, Vm, Volume
from virtfleet.model.plan import Condition
from virtfleet.query.numbers import ranges

Check = Callable[[Condition, FleetSnapshot], str]


def check(
    conditions: Iterable[Condition], snapshot: FleetSnapshot, now: float, *, stale_ok: bool = False
) -> list[str]:
    """What no longer holds, in sentences. `now` is CLOCK_MONOTONIC. One of an unknown kind never holds."""
    found: list[str] = []
    for condition in conditions:
        if condition.kind == "host-answers":
            problem = _host_answers(condition, snapshot, now, stale_ok)
        elif condition.kind in CHECKS:
            problem = CHECKS[condition.kind](condition, snapshot)
        else:
            problem = f"{condition.text or condition.kind} can't be checked"
        if problem and problem not in found:
            found.append(problem)
    return found


def _host_answers(condition: Condition, snapshot: FleetSnapshot, now: float, stale_ok: bool) -> str:
    host = snapshot.hosts.get(condition.host)
    if host is None:
        return f"{condition.host} is no longer in the fleet"
    if not host.state.answers:
        return f"{host.name} is {host.state.value}: {host.reason or 'it does not answer'}"
    if host.is_stale(now) and not stale_ok:
        return f"{host.name} has not been heard for {host.age(now) or 0:.0f} s"
    return ""


def _host(condition: Condition, snapshot: FleetSnapshot) -> HostView | None:
    return snapshot.hosts.get(condition.host)


def _vm(condition: Condition, snapshot: FleetSnapshot) -> Vm | None:
    host = _host(condition, snapshot)
    return next((vm for vm in host.vms if vm.uuid == condition.uuid), None) if host is not None else None


def _vm_is(condition: Condition, snapshot: FleetSnapshot) -> str:
    vm = _vm(condition, snapshot)
    if vm is None:
        return f"{condition.name or condition.uuid} is no longer on {condition.host}"
    if condition.name and vm.name != condition.name:
        return f"{condition.name} is now called {vm.name}"
    return ""


def _vm_active(condition: Condition, snapshot: FleetSnapshot) -> str:
    vm = _vm(condition, snapshot)
    if vm is None:
        return f"{condition.name or condition.uuid} is no longer on {condition.host}"
    if vm.state.active != condition.value:
        return f"{vm.name} is {vm.state.value}, and was {'on' if condition.value else 'off'}"
    return ""


def _vm_protected(condition: Condition, snapshot: FleetSnapshot) -> str:
    vm = _vm(condition, snapshot)
    return f"{vm.name} is protected now" if vm is not None and vm.info.protected else ""


def _vm_keeps(condition: Condition, snapshot: FleetSnapshot) -> str:
    """A number of snapshots that is not known is no obstacle."""
    vm = _vm(condition, snapshot)
    if vm is None:
        return ""  # told by another condition
    before, after = condition.value["snapshots"], vm.info.snapshots
    if before is not None and after is not None and before != after:
        return f"{vm.name} has {after} snapshots, and had {before}"
    if vm.info.managed_save != condition.value["saved"]:
        return f"{vm.name} has {'a' if vm.info.managed_save else 'no'} saved state now"
    return ""


def _vm_name_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = _host(condition, snapshot)
    if host is None:
        return f"{condition.host} is no longer in the fleet"
    taken = any(vm.name == condition.name for vm in host.vms)
    return f"a VM called {condition.name} is on {condition.host} now" if taken else ""


def _vm_sources(condition: Condition, snapshot: FleetSnapshot) -> str:
    vm = _vm(condition, snapshot)
    if vm is None:
        return ""  # told by another condition
    sources = [disk.source for disk in vm.info.disks]
    return "" if sources == list(condition.value) else f"the disks of {vm.name} are others now"


def _volume_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = _host(condition, snapshot)
    taken = host is not None and any(
        (each.pool, each.name) == (condition.value, condition.name) for each in host.volumes
    )
    return (
        f"a volume called {condition.name} is in {condition.value} on {condition.host} now" if taken else ""
    )


def _volume_unused(condition: Condition, snapshot: FleetSnapshot) -> str:
    """No other VM than `uuid` has the volume at the path `value`, and no volume stands on it, on any host."""
    host = _host(condition, snapshot)
    volume = next((each for each in host.volumes if each.path == condition.value), None) if host else None
    if host is None or volume is None:
        return f"there is no volume {condition.name} at {condition.value} on {condition.host} any more"
    user = storage.user_of(volume, host, condition.uuid, snapshot)
    return f"{user.text} stands on {volume.pool}/{volume.name} now" if user is not None else ""


def _volume_run_by(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: the volume's path, and the hosts on which VMs that have it run."""
    host = _host(condition, snapshot)
    volume = _at(host, condition.value["path"])
    if host is None or volume is None:
        return f"there is no volume {condition.name} on {condition.host} any more"
    running = [each for each in storage.vms_on(volume, host, snapshot) if each[1].state.active]
    if {seer.name for seer, _ in running} == set(condition.value["hosts"]):
        return ""
    names = ", ".join(f"{vm.name}@{seer.name}" for seer, vm in running) or "no VM that runs"
    return f"{names} has {condition.name} now"


def _volume_users(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: the volume's path, and the VMs that had it."""
    host = _host(condition, snapshot)
    volume = _at(host, condition.value["path"])
    if host is None or volume is None:
        return f"there is no volume {condition.name} on {condition.host} any more"
    users = sorted(f"{vm.name}@{seer.name}" for seer, vm in storage.vms_on(volume, host, snapshot))
    if users == list(condition.value["users"]):
        return ""
    return f"{', '.join(users) or 'nobody'} has {condition.name} now"


def _volume_written_by(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = _host(condition, snapshot)
    volume = _at(host, condition.value["path"])
    if host is None or volume is None:
        return f"there is no volume {condition.name} on {condition.host} any more"
    names = [f"{vm.name}@{seer.name}" for seer, vm in storage.writers(volume, host, snapshot)]
    return f"{', '.join(names)} runs and writes to {condition.name} now" if names else ""


def _volume_size(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: its pool and its size."""
    host = _host(condition, snapshot)
    volume = storage.volume_named(host, condition.value["pool"], condition.name) if host is not None else None
    if volume is None:
        return f"there is no volume {condition.name} on {condition.host} any more"
    if volume.capacity == condition.value["size"]:
        return ""
    return f"{condition.name} has {volume.capacity or 0} bytes now, and had {condition.value['size']}"


def _at(host: HostView | None, path: str) -> Volume | None:
    return next((each for each in host.volumes if each.path == path), None) if host is not None else None


def _pool_active(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: bytes that must be available; unknown room is no obstacle."""
    host = _host(condition, snapshot)
    pool = next((each for each in host.pools if each.name == condition.name), None) if host else None
    if pool is None:
        return f"there is no pool {condition.name} on {condition.host} any more"
    if pool.state.value != "running":
        return f"pool {condition.name} on {condition.host} is {pool.state.value}"
    if condition.value and pool.available is not None and pool.available < condition.value:
        return f"pool {condition.name} on {condition.host} has {pool.available >> 20} MiB left"
    return ""


def _network_active(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = _host(condition, snapshot)
    network = next((each for each in host.networks if each.name == condition.name), None) if host else None
    if network is None:
        return f"there is no network {condition.name} on {condition.host} any more"
    return "" if network.active else f"network {condition.name} on {condition.host} is not active"


def _memory_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: bytes that the host must have free, as far as it tells."""
    host = _host(condition, snapshot)
    stats = host.stats if host is not None else None
    if stats is None or stats.memory_total is None or stats.memory_used is None:
        return ""
    free = stats.memory_total - stats.memory_used
    return "" if free >= condition.value else f"{condition.host} has only {free >> 20} MiB of memory free"


def _cpus_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    """No other VM than `uuid` has one of the CPUs `value` for itself."""
    host = _host(condition, snapshot)
    wanted = frozenset(condition.value)
    for vm in host.vms if host is not None else ():
        if vm.uuid != condition.uuid and (taken := sorted(wanted.intersection(vm.info.dedicated))):
            return f"{vm.name} has CPU {ranges(taken)} of {condition.host} for itself now"
    return ""


def _devices_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    """Nobody but the VM `uuid` has one of the devices `value`, or what can't be parted from it."""
    from virtfleet.decide.host_cells import host_devices
    from virtfleet.decide.pci import HOST

    host = _host(condition, snapshot)
    if host is None:
        return f"{condition.host} is no longer in the fleet"
    vms = {vm.uuid: vm for vm in host.vms if vm.uuid != condition.uuid}
    devices = host_devices(host.facts, (vm.info for vm in vms.values()))
    users = {device.address: device.user for device in devices or ()}
    for address in condition.value:
        if address not in users:
            return f"there is no device {address} on {condition.host} any more"
        if user := users[address]:
            name = vms[user].name if user in vms else f"{condition.host} itself"
            return f"{name} has device {address} now" if user != HOST else f"{name} drives {address} now"
    return ""


def _host_marks(condition: Condition, snapshot: FleetSnapshot) -> str:
    """`value`: the word for what operators have said of it, and who has; see actions/hosts.py."""
    host = _host(condition, snapshot)
    if host is None:
        return f"{condition.host} is no longer in the fleet"
    if marks_of(host) == list(condition.value):
        return ""
    return f"{host.name} is {host.closed}" if host.closed else f"{host.name} takes new VMs again"


def marks_of(host: HostView) -> list[Any]:
    """What operators have said of it, as a condition keeps it."""
    said = host.maintenance or Maintenance()
    return [
        [mark.by, mark.since] if mark is not None else None for mark in (said.disabled, said.draining)
    ] + [said.problem]


def _host_open(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = _host(condition, snapshot)
    return f"{host.name} is {host.closed}" if host is not None and host.closed else ""


CHECKS: Mapping[str, Check] = {
    "vm-is": _vm_is,
    "vm-active": _vm_active,
    "vm-not-protected": _vm_protected,
    "vm-keeps": _vm_keeps,
    "vm-name-free": _vm_name_free,
    "vm-sources": _vm_sources,
    "volume-free": _volume_free,
    "volume-unused": _volume_unused,
    "volume-run-by": _volume_run_by,
    "volume-users": _volume_users,
    "volume-written-by": _volume_written_by,
    "volume-size": _volume_size,
    "pool-active": _pool_active,
    "network-active": _network_active,
    "memory-free": _memory_free,
    "cpus-free": _cpus_free,
    "devices-free": _devices_free,
    "host-marks": _host_marks,
    "host-open": _host_open,
    **pool_conditions.CHECKS,
}
"""By `Condition.kind`; besides these, `host-answers`."""
