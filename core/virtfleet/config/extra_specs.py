"""The extra specs of a flavor, in Nova's words, read into values: what its VMs need of a host besides space.

    capabilities:NAME       what the host must say of itself, with Nova's operators: ">= 8", "<in> Xeon"
    trait:NAME              required or forbidden
    hw:numa_nodes           NUMA cells of the guest, each on a host cell of its own
    hw:numa_cpus.N          vCPUs of the guest's cell N: 0-3,^2,6
    hw:numa_mem.N           its memory, in MiB or with a unit
    hw:cpu_policy           shared, or dedicated: each vCPU has a CPU of the host for itself
    hw:cpu_thread_policy    prefer, isolate or require the threads of one core
    hw:mem_page_size        small, large, any, or a size in KiB or with a unit
    pci_passthrough:alias   devices by the names of pci_aliases: gpu:2,nic:1
    hw:pci_numa_affinity_policy   legacy, required or preferred

Nova accepts any key and finds its mistakes when a VM is started, or never;
here every key and value is checked when the file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from virtfleet.config.guest_cells import LIMIT, PER_CELL, ExtraSpecError, GuestCell, guest_cells, size_in
from virtfleet.config.yamltree import shown

__all__ = [
    "CAPABILITIES",
    "OPERATORS",
    "Affinity",
    "ExtraSpecError",
    "GuestCell",
    "PageSize",
    "PciRequest",
    "Requirement",
    "Specs",
    "ThreadPolicy",
    "parse",
]

CAPABILITIES = (
    "cpu_info:arch",
    "cpu_info:model",
    "cpu_info:topology:cells",
    "cpu_info:topology:cores",
    "cpu_info:topology:sockets",
    "cpu_info:topology:threads",
    "cpu_info:vendor",
    "host",
    "hypervisor_hostname",
    "hypervisor_type",
    "hypervisor_version",
    "iommu",
    "kernel",
    "libvirt_version",
    "memory_mb",
    "os",
    "vcpus",
)
"""What `capabilities:` may ask about; the words of Nova where it has one."""

NUMERIC = frozenset({"=", "==", "!=", ">=", "<="})
TEXTUAL = frozenset({"s==", "s!=", "s<", "s<=", "s>", "s>="})
OPERATORS = ("=", "==", "!=", ">=", "<=", "s==", "s!=", "s<", "s<=", "s>", "s>=", "<in>", "<all-in>", "<or>")

_SUPPORTED = (
    "capabilities:NAME",
    "hw:cpu_policy",
    "hw:cpu_thread_policy",
    "hw:mem_page_size",
    "hw:numa_cpus.N",
    "hw:numa_mem.N",
    "hw:numa_nodes",
    "hw:pci_numa_affinity_policy",
    "pci_passthrough:alias",
    "trait:NAME",
)
_INSTEAD = {
    "aggregate_instance_extra_specs": "use a trait or a zone",
    "resources": "vCPUs, memory and disk are the flavor's own keys, devices pci_passthrough:alias",
    "quota": "",
    "hw": "",
    "hw_rng": "",
    "hw_video": "",
    "os": "",
    "accel": "",
    "vmware": "",
    "powervm": "",
    "group_policy": "",
    "hide_hypervisor_id": "",
}
"""Namespaces and keys that Nova knows and we don't carry out, with what to use."""
_NOVAS_CAPABILITIES = (
    "id uuid service_id memory_mb_used vcpus_used local_gb local_gb_used free_ram_mb free_disk_gb "
    "current_workload running_vms disk_available_least host_ip mapped cpu_allocation_ratio "
    "ram_allocation_ratio disk_allocation_ratio total_usable_ram_mb total_usable_disk_gb disk_mb_used "
    "free_disk_mb vcpus_total num_instances num_io_ops failed_builds aggregates cell_uuid updated cpu_info "
    "metrics stats numa_topology supported_hv_specs pci_device_pools nodename pci_stats "
    "supported_instances limits instances"
)
_TRAIT = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_NUMBER = re.compile(r"[-+]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,2})?")
_ALIAS = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9._-]{0,62})\s*:\s*([0-9]{1,6})\s*")


class Requirement(msgspec.Struct, frozen=True):
    """What a value must be; carried out by `decide.operators`."""

    operator: str
    """One of OPERATORS; empty: exactly this text."""
    words: tuple[str, ...]

    def __str__(self) -> str:
        if self.operator == "<or>":
            return " ".join(f"<or> {word}" for word in self.words)
        return " ".join((self.operator, *self.words)).strip()


class PciRequest(msgspec.Struct, frozen=True):
    alias: str
    count: int


ThreadPolicy = Literal["", "prefer", "isolate", "require"]
PageSize = int | Literal["", "small", "large", "any"]
"""Bytes, or which of the sizes that a host has: the smallest, any but that, any. Empty: no wish."""
Affinity = Literal["legacy", "required", "preferred"]


class Specs(msgspec.Struct, frozen=True, kw_only=True):
    """The extra specs of one flavor, complete and checked against its vCPUs and memory."""

    capabilities: tuple[tuple[str, Requirement], ...] = ()
    traits_required: tuple[str, ...] = ()
    traits_forbidden: tuple[str, ...] = ()
    cells: tuple[GuestCell, ...] = ()
    """The guest's NUMA cells; empty: it may be anywhere on the host."""
    dedicated: bool = False
    """Each vCPU has a CPU of the host for itself."""
    thread_policy: ThreadPolicy = ""
    page_size: PageSize = ""
    pci: tuple[PciRequest, ...] = ()
    pci_affinity: Affinity = "legacy"
    """How near to the guest's cells its devices must be."""


def parse(specs: Mapping[str, str | int | float | bool], vcpus: int, memory: int) -> Specs:
    """The extra specs of a flavor of `vcpus` and `memory` bytes. ExtraSpecError: the first mistake."""
    capabilities: list[tuple[str, Requirement]] = []
    traits: dict[str, list[str]] = {"required": [], "forbidden": []}
    texts: dict[str, str] = {}
    for key, value in specs.items():
        text = _text(key, value)
        space, _, name = key.partition(":")
        if space == "capabilities" and name:
            _check_capability(key, name)
            capabilities.append((name, requirement(key, text)))
        elif space == "trait" and name:
            if not _TRAIT.fullmatch(name):
                raise ExtraSpecError(key, "accepted in a trait: letters, digits, dot, dash and underscore")
            traits[_one_of(key, text, ("required", "forbidden"))].append(name)
        elif key in _SUPPORTED or PER_CELL.fullmatch(key):
            texts[key] = text
        else:
            raise _unknown(key)
    thread_policy = _choice(texts, "hw:cpu_thread_policy", ("prefer", "isolate", "require"))
    dedicated = _choice(texts, "hw:cpu_policy", ("shared", "dedicated")) == "dedicated"
    if thread_policy and not dedicated:
        raise ExtraSpecError("hw:cpu_thread_policy", "needs hw:cpu_policy dedicated")
    page_size = _page_size(texts)
    cells = guest_cells(texts, vcpus, memory, dedicated or page_size != "")
    if isinstance(page_size, int) and any(cell.memory % page_size for cell in cells):
        raise ExtraSpecError(
            "hw:mem_page_size", f"the memory of a NUMA cell is no multiple of {page_size // 1024} KiB"
        )
    affinity = _choice(texts, "hw:pci_numa_affinity_policy", ("legacy", "required", "preferred"))
    return Specs(
        capabilities=tuple(capabilities),
        traits_required=tuple(traits["required"]),
        traits_forbidden=tuple(traits["forbidden"]),
        cells=cells,
        dedicated=dedicated,
        thread_policy=thread_policy,  # type: ignore[arg-type]  # _choice has checked it
        page_size=page_size,
        pci=_aliases(texts),
        pci_affinity=affinity or "legacy",  # type: ignore[arg-type]
    )


def requirement(key: str, text: str) -> Requirement:
    """`text` as a requirement. ExtraSpecError: an operator without, or with too many or too bad, words."""
    words = text.split()
    operator = words[0] if words else ""
    if operator not in OPERATORS:
        if operator.startswith("<") and operator.endswith(">"):
            raise ExtraSpecError(key, f"unknown operator {shown(operator)}; accepted: {', '.join(OPERATORS)}")
        return Requirement("", (text,))
    given = words[1:]
    if not given:
        raise ExtraSpecError(key, f"nothing stands after {operator}")
    if operator == "<or>":
        if len(given) % 2 == 0 or any(word != "<or>" for word in given[1::2]):
            raise ExtraSpecError(key, f"found {shown(text)}; accepted: <or> this <or> that, each one word")
        given = given[::2]
    elif operator != "<all-in>" and len(given) > 1:
        raise ExtraSpecError(key, f"found {len(given)} words after {operator}; accepted: one")
    if operator in NUMERIC and not _NUMBER.fullmatch(given[0]):
        raise ExtraSpecError(key, f"found {shown(given[0])} after {operator}; accepted: a number")
    return Requirement(operator, tuple(given))


def _text(key: str, value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if not text.isprintable() or len(text) > 1000:
        raise ExtraSpecError(key, f"found {shown(text)}; accepted: printable text of at most 1000 characters")
    return text


def _unknown(key: str) -> ExtraSpecError:
    space = key.partition(":")[0]
    # Nova's numbered groups: resources1:VCPU, trait_NET:SRIOV
    grouped = re.fullmatch(r"(resources|trait|in_tree|member_of|required)([0-9]+|_[A-Za-z0-9_-]+)?", space)
    if grouped and ":" in key and key != "trait:":
        space = "resources" if grouped[1] == "resources" else "trait"
        instead = _INSTEAD["resources"] if space == "resources" else "write trait:NAME"
    elif space in _INSTEAD and (":" in key or space in ("group_policy", "hide_hypervisor_id")):
        instead = _INSTEAD[space]
    else:
        why = "; what a host must say of itself is asked with capabilities:NAME" if ":" not in key else ""
        return ExtraSpecError(key, f"unknown key{why} (accepted: {', '.join(_SUPPORTED)})")
    return ExtraSpecError(
        key,
        "a key of Nova that is not supported here"
        + (f"; {instead}" if instead else "")
        + f" (accepted: {', '.join(_SUPPORTED)})",
    )


def _check_capability(key: str, name: str) -> None:
    if name in CAPABILITIES:
        return
    known = name.partition(":")[0] in _NOVAS_CAPABILITIES.split()
    problem = "a capability of Nova that is not supported here" if known else "unknown capability"
    raise ExtraSpecError(key, f"{problem} (accepted: {', '.join(CAPABILITIES)})")


def _one_of(key: str, text: str, accepted: Iterable[str]) -> str:
    if text in accepted:
        return text
    raise ExtraSpecError(key, f"found {shown(text)}; accepted: {', '.join(accepted)}")


def _choice(texts: Mapping[str, str], key: str, accepted: Iterable[str]) -> str:
    if key not in texts:
        return ""
    novas = {"hw:cpu_policy": "mixed", "hw:pci_numa_affinity_policy": "socket"}
    if texts[key] == novas.get(key):
        raise ExtraSpecError(
            key, f"{texts[key]} is Nova's and not supported here; accepted: {', '.join(accepted)}"
        )
    return _one_of(key, texts[key], accepted)


def _page_size(texts: Mapping[str, str]) -> PageSize:
    key = "hw:mem_page_size"
    text = texts.get(key, "")
    if key not in texts:
        return ""
    if text in ("small", "large", "any"):
        return text  # type: ignore[return-value]  # mypy does not narrow by a tuple of texts
    words = "small, large, any, or a power of two from 4KiB, like 2048 (KiB), 2MiB, 1GiB"
    size = size_in(key, text, 1024, words)
    if size & (size - 1) or size < 4096:
        raise ExtraSpecError(key, f"found {shown(text)}; accepted: {words}")
    return size


def _aliases(texts: Mapping[str, str]) -> tuple[PciRequest, ...]:
    key = "pci_passthrough:alias"
    if key not in texts:
        return ()
    counts: dict[str, int] = {}
    for part in texts[key].split(","):
        match = _ALIAS.fullmatch(part)
        if not match or not 1 <= int(match[2]) <= LIMIT:
            raise ExtraSpecError(key, f"found {shown(part)}; accepted: aliases with a number: gpu:2,nic:1")
        counts[match[1]] = counts.get(match[1], 0) + int(match[2])
    return tuple(PciRequest(alias, count) for alias, count in counts.items())
