"""What a plan changes, in figures before and after."""

from __future__ import annotations

from virtfleet.model import HostView, Vm
from virtfleet.model.plan import Effect
from virtfleet.query.capacity import sane
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_PROMISED = "memory promised on "


def size(count: int | None) -> str:
    """Bytes as people read them."""
    return format_value(count, Unit.BYTES)


def free_memory(host: HostView) -> int | None:
    """What no VM and nothing else on the host uses now; None: it does not tell."""
    stats = host.stats
    if stats is None or stats.memory_total is None or stats.memory_used is None:
        return None
    return max(0, stats.memory_total - stats.memory_used)


def memory_promised(host: HostView, more: int) -> Effect:
    """What all its VMs may use at most, those that are off included."""
    before = sum(vm.info.memory_max for vm in host.vms)
    return Effect(
        what=f"{_PROMISED}{host.name}",
        unit="bytes",
        before=before,
        after=before + more,
        limit=host.stats.memory_total if host.stats is not None else None,
    )


def promise_of(effect: Effect) -> int:
    """How many bytes more the host has promised after it; of any other effect 0."""
    return int(effect.after - effect.before) if effect.what.startswith(_PROMISED) else 0


def vcpus_promised(host: HostView, more: int) -> Effect:
    """Of all its VMs. Without a limit: vCPUs share the CPUs of their host."""
    before = sum(vm.info.vcpus_max for vm in host.vms)
    return Effect(what=f"vCPUs promised on {host.name}", unit="vcpus", before=before, after=before + more)


def memory_free(host: HostView, less: int) -> list[Effect]:
    """Free memory once `less` bytes more are used (negative: fewer); nothing where the host does not tell."""
    free = free_memory(host)
    if free is None or not less:
        return []
    total = host.stats.memory_total if host.stats is not None else None
    after = max(0, free - less)
    return [
        Effect(
            what=f"memory free on {host.name}, about",
            unit="bytes",
            before=free,
            after=after if total is None else min(after, total),
            limit=total,
        )
    ]


def memory_held(vm: Vm) -> int:
    """What a VM that is on holds of its host, about."""
    if not vm.state.active:
        return 0
    held = vm.stats.memory_rss if vm.stats.memory_rss is not None else vm.stats.memory
    return held or vm.info.memory_max


def room(host: HostView, pool: str, less: int) -> list[Effect]:
    """What a pool has left once `less` bytes more are taken; nothing where it does not tell."""
    found = next((each for each in host.pools if each.name == pool), None)
    known = sane(found) if found is not None else None
    if known is None or known.available is None:
        return []
    return [
        Effect(
            what=f"free in pool {pool} on {host.name}, about",
            unit="bytes",
            before=known.available,
            after=min(max(0, known.available - less), known.capacity or known.available),
            limit=known.capacity,
        )
    ]


def state(vm: Vm, after: str) -> Effect:
    return Effect(what=f"{vm.name} state", unit="state", before=vm.state.value, after=after)
