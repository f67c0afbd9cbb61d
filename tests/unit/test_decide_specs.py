"""Extra specs as they are written, each mistake with what a person reads, and Nova's operators."""

from __future__ import annotations

import operator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.config.extra_specs import (
    CAPABILITIES,
    OPERATORS,
    ExtraSpecError,
    GuestCell,
    PciRequest,
    Requirement,
    Specs,
    parse,
    requirement,
)
from virtfleet.config.load import load
from virtfleet.decide.operators import Value, host_value, match, version_number
from virtfleet.errors import ConfigError
from virtfleet.model import HostFacts, HostView, NumaCell

MIB = 1024**2
GIB = 1024**3


def test_every_key_in_its_place() -> None:
    found = parse(
        {
            "capabilities:vcpus": ">= 8",
            "capabilities:cpu_info:vendor": "<or> Intel <or> AMD",
            "trait:ssd": "required",
            "trait:HW_CPU_X86_AVX2": "forbidden",
            "hw:numa_nodes": 2,
            "hw:numa_cpus.0": "0-3,^2",
            "hw:numa_cpus.1": "2",
            "hw:numa_mem.0": 3072,
            "hw:numa_mem.1": "1GiB",
            "hw:cpu_policy": "dedicated",
            "hw:cpu_thread_policy": "isolate",
            "hw:mem_page_size": "2MB",
            "hw:pci_numa_affinity_policy": "required",
            "pci_passthrough:alias": "gpu:2, nic:1,gpu:1",
        },
        4,
        4 * GIB,
    )
    assert found == Specs(
        capabilities=(
            ("vcpus", Requirement(">=", ("8",))),
            ("cpu_info:vendor", Requirement("<or>", ("Intel", "AMD"))),
        ),
        traits_required=("ssd",),
        traits_forbidden=("HW_CPU_X86_AVX2",),
        cells=(GuestCell((0, 1, 3), 3 * GIB), GuestCell((2,), GIB)),
        dedicated=True,
        thread_policy="isolate",
        page_size=2 * MIB,
        pci=(PciRequest("gpu", 3), PciRequest("nic", 1)),
        pci_affinity="required",
    )


def test_what_asks_for_a_cell_without_saying_so() -> None:
    one = (GuestCell((0, 1), GIB),)
    assert parse({}, 2, GIB) == Specs()
    assert parse({"hw:cpu_policy": "shared"}, 2, GIB).cells == ()
    assert parse({"hw:cpu_policy": "dedicated"}, 2, GIB).cells == one
    assert parse({"hw:mem_page_size": "any"}, 2, GIB).cells == one
    assert parse({"hw:numa_nodes": 1}, 2, GIB).cells == one
    assert parse({"hw:numa_nodes": 2}, 2, GIB).cells == (
        GuestCell((0,), GIB // 2),
        GuestCell((1,), GIB // 2),
    )


@pytest.mark.parametrize(
    ("written", "bytes_"),
    [
        (2048, 2 * MIB),
        ("2048", 2 * MIB),
        ("2MiB", 2 * MIB),
        ("2MB", 2 * MIB),
        ("2m", 2 * MIB),
        ("1GB", GIB),
        (4, 4096),
    ],
)
def test_page_sizes_are_kibibytes_without_a_unit(written: str | int, bytes_: int) -> None:
    assert parse({"hw:mem_page_size": written}, 1, GIB).page_size == bytes_


@pytest.mark.parametrize("word", ["small", "large", "any"])
def test_page_sizes_by_word(word: str) -> None:
    assert parse({"hw:mem_page_size": word}, 1, GIB).page_size == word


MISTAKES: dict[str, tuple[dict[str, str | int | float | bool], str]] = {
    "unknown key": (
        {"hw_numa_nodes": 2},
        "hw_numa_nodes: unknown key; what a host must say of itself is asked",
    ),
    "unknown space": ({"foo:bar": 1}, "foo:bar: unknown key (accepted: capabilities:NAME, hw:cpu_policy"),
    "Nova's, of hw": ({"hw:cpu_sockets": 2}, "hw:cpu_sockets: a key of Nova that is not supported here (acc"),
    "Nova's quota": ({"quota:disk_read_iops_sec": 9}, "quota:disk_read_iops_sec: a key of Nova that is not"),
    "Nova's resources": (
        {"resources:VCPU": 2},
        "resources:VCPU: a key of Nova that is not supported here; vCPUs, memory and disk are the flavor's",
    ),
    "Nova's groups": ({"resources1:VGPU": 2}, "resources1:VGPU: a key of Nova that is not supported here"),
    "Nova's trait group": ({"trait1:ssd": "required"}, "not supported here; write trait:NAME"),
    "Nova's aggregates": (
        {"aggregate_instance_extra_specs:ssd": "true"},
        "a key of Nova that is not supported here; use a trait or a zone",
    ),
    "Nova's without a space": ({"hide_hypervisor_id": True}, "hide_hypervisor_id: a key of Nova that is not"),
    "Nova's capability": (
        {"capabilities:free_ram_mb": ">= 5"},
        "capabilities:free_ram_mb: a capability of Nova that is not supported here (accepted: cpu_info:arch",
    ),
    "unknown capability": (
        {"capabilities:colour": "red"},
        "capabilities:colour: unknown capability (accepted:",
    ),
    "no capability": ({"capabilities:": "red"}, "capabilities:: unknown key"),
    "trait, other word": (
        {"trait:ssd": True},
        'trait:ssd: found "true"; accepted: required, forbidden',
    ),
    "trait, bad name": ({"trait:a b": "required"}, "trait:a b: accepted in a trait: letters"),
    "no trait": ({"trait:": "required"}, "trait:: unknown key"),
    "cells, not a number": (
        {"hw:numa_nodes": "two"},
        'hw:numa_nodes: found "two"; accepted: a whole number from 1',
    ),
    "cells, zero": ({"hw:numa_nodes": 0}, 'hw:numa_nodes: found "0"; accepted: a whole number from 1'),
    "cells, negative": ({"hw:numa_nodes": -1}, 'found "-1"; accepted: a whole number'),
    "cells, a fraction": ({"hw:numa_nodes": 1.5}, 'found "1.5"; accepted: a whole number'),
    "cells, too many": ({"hw:numa_nodes": 8}, "hw:numa_nodes: 8 cells for 4 vCPUs"),
    "cells, not equal": ({"hw:numa_nodes": 3}, "hw:numa_nodes: 4 vCPUs are not 3 equal parts"),
    "one cell of two": (
        {"hw:numa_nodes": 2, "hw:numa_cpus.0": "0-3"},
        "hw:numa_cpus.1: is missing: with one cell described, all need hw:numa_cpus.N and hw:numa_mem.N",
    ),
    "CPUs without memory": ({"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-3"}, "hw:numa_mem.0: is missing"),
    "a cell too far": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-3", "hw:numa_cpus.1": "3"},
        "hw:numa_cpus.1: there are 1 cells, the last is 0",
    ),
    "cells without their number": ({"hw:numa_cpus.0": "0-3"}, "hw:numa_cpus.0: needs hw:numa_nodes"),
    "CPU twice": (
        {
            "hw:numa_nodes": 2,
            "hw:numa_cpus.0": "0-2",
            "hw:numa_cpus.1": "2-3",
            "hw:numa_mem.0": 1,
            "hw:numa_mem.1": 1,
        },
        "hw:numa_cpus.1: vCPU 2 is in another cell, too",
    ),
    "CPU in no cell": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": 4096},
        "hw:numa_cpus.0: vCPU 3 is in no cell",
    ),
    "CPU that there is not": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-4", "hw:numa_mem.0": 4096},
        "there is no vCPU 4, the last is 3",
    ),
    "CPUs backwards": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "3-0", "hw:numa_mem.0": 4096},
        "the range 3-0 runs backwards",
    ),
    "CPUs, nonsense": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "all", "hw:numa_mem.0": 4096},
        'hw:numa_cpus.0: found "all": accepted: numbers and ranges',
    ),
    "CPUs, none left": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0,^0", "hw:numa_mem.0": 4096},
        "no vCPU is left",
    ),
    "memory that does not add up": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": 1024},
        "hw:numa_mem.0: the cells have 1024 MiB together, the flavor 4096 MiB",
    ),
    "memory, nonsense": (
        {"hw:numa_nodes": 1, "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "much"},
        'hw:numa_mem.0: found "much"; accepted: MiB, or a size like 2GiB',
    ),
    "policy": (
        {"hw:cpu_policy": "exclusive"},
        'hw:cpu_policy: found "exclusive"; accepted: shared, dedicated',
    ),
    "Nova's policy": ({"hw:cpu_policy": "mixed"}, "hw:cpu_policy: mixed is Nova's and not supported here"),
    "thread policy": (
        {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "avoid"},
        'hw:cpu_thread_policy: found "avoid"; accepted: prefer, isolate, require',
    ),
    "thread policy of shared CPUs": (
        {"hw:cpu_thread_policy": "isolate"},
        "hw:cpu_thread_policy: needs hw:cpu_policy dedicated",
    ),
    "page, nonsense": (
        {"hw:mem_page_size": "huge"},
        'hw:mem_page_size: found "huge"; accepted: small, large, any',
    ),
    "page, no power of two": ({"hw:mem_page_size": 3000}, 'hw:mem_page_size: found "3000"'),
    "page, too small": ({"hw:mem_page_size": 2}, 'hw:mem_page_size: found "2"'),
    "page, negative": ({"hw:mem_page_size": -2048}, 'hw:mem_page_size: found "-2048"'),
    "page, larger than the cell": (
        {"hw:mem_page_size": "8GiB"},
        "hw:mem_page_size: the memory of a NUMA cell is no multiple of 8388608 KiB",
    ),
    "device without a number": (
        {"pci_passthrough:alias": "gpu"},
        'found "gpu"; accepted: aliases with a number',
    ),
    "no device": ({"pci_passthrough:alias": "gpu:0"}, 'found "gpu:0"; accepted'),
    "device, bad number": ({"pci_passthrough:alias": "gpu:-1"}, 'found "gpu:-1"; accepted'),
    "device, half a list": ({"pci_passthrough:alias": "gpu:1,"}, 'found ""; accepted'),
    "affinity": ({"hw:pci_numa_affinity_policy": "near"}, "accepted: legacy, required, preferred"),
    "Nova's affinity": ({"hw:pci_numa_affinity_policy": "socket"}, "socket is Nova's and not supported here"),
    "control characters": ({"trait:ssd": "required\x1b[2J"}, "accepted: printable text"),
    "operator without a word": ({"capabilities:vcpus": ">="}, "capabilities:vcpus: nothing stands after >="),
    "two words": ({"capabilities:cpu_info:model": "s== Xeon Gold"}, "found 2 words after s==; accepted: one"),
    "or without or": ({"capabilities:host": "<or> a b"}, 'found "<or> a b"; accepted: <or> this <or> that'),
    "or at the end": ({"capabilities:host": "<or> a <or>"}, "accepted: <or> this <or> that"),
    "unknown operator": ({"capabilities:host": "<not> a"}, 'unknown operator "<not>"; accepted: =, ==, !='),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    specs, message = MISTAKES[name]
    with pytest.raises(ExtraSpecError) as caught:
        parse(specs, 4, 4 * GIB)
    assert message in str(caught.value)
    assert str(caught.value).startswith(caught.value.key + ": ")


@pytest.mark.parametrize("kind", ["=", "==", "!=", ">=", "<="])
@pytest.mark.parametrize("word", ["many", "8GB", "nan", "inf", "0x10", "--1", "1e999"])
def test_numbers_after_numeric_operators(kind: str, word: str) -> None:
    with pytest.raises(ExtraSpecError) as caught:
        parse({"capabilities:vcpus": f"{kind} {word}"}, 1, GIB)
    assert str(caught.value) == f'capabilities:vcpus: found "{word}" after {kind}; accepted: a number'


def flavor_error(path: Path, specs: str, more: str = "") -> str:
    file = path / "fleet.yaml"
    file.write_text(
        f"hosts: {{}}\n{more}\nflavors:\n  big:\n    vcpus: 4\n    memory: 4GiB\n    extra_specs:\n{specs}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value).replace(str(file), "FILE")


def test_the_fleet_file_names_flavor_key_and_line(tmp_path: Path) -> None:
    assert flavor_error(tmp_path, "      trait:ssd: required\n      hw:numa_nodes: two") == (
        'FILE:9: flavors.big.extra_specs.hw:numa_nodes: found "two"; accepted: a whole number from 1 to 64'
    )
    # A key that is missing has no line of its own.
    assert flavor_error(tmp_path, "      hw:numa_nodes: 1\n      hw:numa_cpus.0: 0-3").startswith(
        "FILE:7: flavors.big.extra_specs.hw:numa_mem.0: is missing"
    )
    assert flavor_error(tmp_path, '      "hw:\\e[2J": 1').startswith(
        "FILE:8: flavors.big.extra_specs.'hw:\\x1b[2J': a key of Nova that is not supported here"
    )


def test_devices_are_those_of_pci_aliases(tmp_path: Path) -> None:
    said = flavor_error(tmp_path, "      pci_passthrough:alias: gpu:1")
    assert (
        said
        == 'FILE:8: flavors.big.extra_specs.pci_passthrough:alias: "gpu" is not in pci_aliases (there: none)'
    )
    aliases = "pci_aliases: {nic: {vendor: '8086', product: '1572'}}"
    assert "(there: nic)" in flavor_error(tmp_path, "      pci_passthrough:alias: gpu:1", aliases)
    file = tmp_path / "good.yaml"
    file.write_text(
        f"hosts: {{}}\n{aliases}\n"
        "flavors: {f: {vcpus: 1, memory: 1GiB, extra_specs: {'pci_passthrough:alias': 'nic:2'}}}\n"
    )
    assert load(file).flavors["f"].extra_specs == {"pci_passthrough:alias": "nic:2"}


# Host's value, requirement, whether it is met.
OPERATIONS: list[tuple[Value | None, str, bool]] = [
    (8, "= 8", True), (9, "= 8", True), (7, "= 8", False),
    (8, "== 8.0", True), (9, "== 8", False),
    (9, "!= 8", True), (8, "!= 8", False),
    (8, ">= 8", True), (7.9, ">= 8", False),
    (8, "<= 8", True), (8.1, "<= 8", False),
    ("16", ">= 9", True), ("many", ">= 1", False), ("many", "!= 1", False), ("nan", "!= 1", False),
    (frozenset({"9"}), ">= 1", False),
    ("Xeon", "s== Xeon", True), ("xeon", "s== Xeon", False),
    ("AMD", "s!= Intel", True), ("Intel", "s!= Intel", False),
    ("10", "s< 9", True), ("9", "s< 9", False),
    ("9", "s<= 9", True), ("91", "s<= 9", False),
    ("9", "s> 10", True), ("9", "s> 9", False),
    ("9", "s>= 9", True), ("10", "s>= 9", False),
    ("Xeon Gold", "<in> Gold", True), ("Xeon", "<in> Gold", False), ("AMD", "<in> amd", False),
    (frozenset({"aes", "mmx"}), "<in> aes", True), (frozenset({"aes-ni"}), "<in> aes", False),
    (frozenset({"aes", "mmx"}), "<all-in> aes mmx", True), (frozenset({"aes"}), "<all-in> aes mmx", False),
    ("aes mmx sse", "<all-in> sse aes", True),
    ("AMD", "<or> Intel <or> AMD", True), ("AMDx", "<or> Intel <or> AMD", False), ("a", "<or> a", True),
    ("QEMU", "QEMU", True), ("QEMU", "qemu", False), ("a b", "a b", True), (8, "8", True),
    (True, "true", True), (True, "false", False), (None, "s!= x", False), (None, "!= 1", False),
    (None, "x", False), (None, "<or> x", False), ("", "", True),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text", "met"), OPERATIONS)
def test_operators(value: Value | None, text: str, met: bool) -> None:
    assert match(value, requirement("k", text)) is met


def test_every_operator_has_a_case_for_yes_and_for_no() -> None:
    seen = {(requirement("k", text).operator, met) for _, text, met in OPERATIONS}
    assert seen == {(kind, met) for kind in ("", *OPERATORS) for met in (True, False)}


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_numbers_compare_as_numbers(value: int, wanted: int) -> None:
    meant = {"=": operator.ge, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le}
    for kind, compare in meant.items():
        for told in (value, str(value), float(value)):
            assert match(told, requirement("k", f"{kind} {wanted}")) is compare(value, wanted)


WORDS = st.text(st.sampled_from("abcXYZ019._-"), min_size=1, max_size=4)


@given(WORDS, WORDS, WORDS)
def test_texts_compare_as_texts(value: str, one: str, two: str) -> None:
    assert match(value, requirement("k", f"s< {one}")) is (value < one)
    assert match(value, requirement("k", f"s>= {one}")) is (value >= one)
    assert match(value, requirement("k", f"<or> {one} <or> {two}")) is (value in (one, two))
    assert match(value, requirement("k", f"<all-in> {one} {two}")) is (one in value and two in value)


@given(st.text(max_size=30))
def test_a_requirement_is_read_or_refused(text: str) -> None:
    try:
        found = requirement("k", text)
    except ExtraSpecError:
        return
    assert requirement("k", str(found)) == found or found.operator == ""
    assert match("text", found) in (True, False)


def test_what_a_host_says_of_itself() -> None:
    facts = HostFacts(
        hostname="hv1.example", hypervisor="QEMU", hypervisor_version="9.2.1", libvirt_version="10.0.0",
        arch="x86_64", cpu_model="EPYC", cpu_vendor="AMD", cpus=16, sockets=2, cores=4, threads=2,
        memory=32 * GIB, numa=(NumaCell(0, GIB, 8), NumaCell(1, GIB, 8)), iommu=False,
        kernel="6.1", os="Debian",
    )  # fmt: skip
    view = HostView("hv1", "qemu:///system", facts=facts)
    assert {name: host_value(view, name) for name in CAPABILITIES} == {
        "cpu_info:arch": "x86_64", "cpu_info:model": "EPYC", "cpu_info:topology:cells": 2,
        "cpu_info:topology:cores": 4, "cpu_info:topology:sockets": 2, "cpu_info:topology:threads": 2,
        "cpu_info:vendor": "AMD", "host": "hv1", "hypervisor_hostname": "hv1.example",
        "hypervisor_type": "QEMU", "hypervisor_version": 9002001, "iommu": False, "kernel": "6.1",
        "libvirt_version": 10000000, "memory_mb": 32768, "os": "Debian", "vcpus": 16,
    }  # fmt: skip
    silent = HostView("hv1", "qemu:///system", facts=HostFacts())
    assert {host_value(silent, name) for name in CAPABILITIES if name != "host"} == {None}
    assert host_value(HostView("hv1", "u"), "vcpus") is None


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9000000), ("9.2", 9002000), ("", 0), ("9.x", 0), ("1.2.3.4", 0), ("٣", 0)]
)
def test_versions_are_libvirts_numbers(text: str, number: int) -> None:
    assert version_number(text) == number
