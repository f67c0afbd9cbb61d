"""Fields: complete, unique, and never at a loss, also for objects of which nothing is known."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from unit.query_objects import GIB, NOW, fleet, host, large_fleet, pool, vm
from virtfleet.model import (
    CpuPin,
    Event,
    Freshness,
    GuestKind,
    HostFacts,
    HostState,
    HostStats,
    HostView,
    HugePages,
    Maintenance,
    Mark,
    Network,
    PciDevice,
    Pool,
    PoolState,
    Vm,
    VmDisk,
    VmGraphics,
    VmInfo,
    VmNic,
    VmState,
    VmStats,
    Volume,
)
from virtfleet.model.action import StartVm, VmRef
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan
from virtfleet.query import hosts, pools, vms
from virtfleet.query.clock import Clock, age_of, is_stale
from virtfleet.query.columns import default_columns
from virtfleet.query.field import Field, Unit, Value
from virtfleet.query.nouns import NOUNS, Noun, find_noun
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, Row, VmRow, VolumeRow

HOSTILE = "[red]x\x1b[2J\u202e" + "漢" * 250
CLOCK = Clock.at(NOW, 1_700_000_000.0)


def _minimal() -> dict[str, list[Any]]:
    """Rows of which next to nothing is known, in every state, and one of each with an evil name."""
    bare = HostView(name="", uri="")
    evil = HostView(
        name=HOSTILE,
        uri=HOSTILE,
        reason=HOSTILE,
        facts=HostFacts(),
        stats=HostStats(),
        maintenance=Maintenance(disabled=Mark(HOSTILE, math.nan, HOSTILE), problem=HOSTILE),
    )
    empty_vm = Vm(VmInfo(uuid="", name=""), VmStats(uuid="", state=VmState.NOSTATE))
    evil_vm = Vm(
        VmInfo(
            uuid=HOSTILE,
            name=HOSTILE,
            tags=(HOSTILE, ""),
            nics=(VmNic(mac="", addresses=("",)), VmNic(mac=HOSTILE)),
            disks=(VmDisk(target=""),),
            graphics=(VmGraphics(type=HOSTILE, port=-1),),
        ),
        VmStats(uuid=HOSTILE, state=VmState.PAUSED, reason=HOSTILE, cpu_pct=math.nan),
    )
    states = [HostView(name="h", uri="", state=state) for state in HostState]
    states += [HostView(name="h", uri="", maintenance=Maintenance(problem="odd"))]
    pool_rows = [
        PoolRow("", ((bare, Pool(uuid="", name=HOSTILE, type="", state=state, identity="")),))
        for state in PoolState
    ]
    absurd = Pool(
        uuid="", name="", type="", state=PoolState.RUNNING, identity="", capacity=-1, available=2**64
    )
    return {
        "host": [HostRow(each) for each in (bare, evil, *states)],
        "vm": [
            VmRow(on, each)
            for on in (bare, evil)
            for each in (
                empty_vm,
                evil_vm,
                *(Vm(VmInfo(uuid="", name=""), VmStats("", state)) for state in VmState),
            )
        ],
        "pool": [*pool_rows, PoolRow("", ((bare, absurd), (evil, absurd)))],
        "volume": [VolumeRow(bare, Volume(pool="", name=HOSTILE, capacity=0, allocation=1), "")],
        "network": [NetworkRow(bare, Network(uuid="", name=HOSTILE, active=False))],
        "event": [Event(time=0.0, host="", kind="", name=HOSTILE, what="")],
        "job": [
            Job(id="", plan=Plan(action=StartVm(vm=VmRef("", "")), title=HOSTILE, verb=""), state=state)
            for state in JobState
        ],
    }


MINIMAL = _minimal()


@pytest.mark.parametrize("noun", NOUNS.values(), ids=list(NOUNS))
def test_fields_are_well_declared(noun: Noun[Any]) -> None:
    clocked = noun.with_clock(CLOCK)
    names = [field.name for field in clocked.fields]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert all(field.doc.endswith(".") and field.title and field.width > 0 for field in clocked.fields)
    assert all(0 <= field.priority <= 9 for field in clocked.fields)
    assert {each.removeprefix("-") for each in noun.default_sort} <= set(names)
    assert all(noun.field(name) for name in noun.text_fields)
    assert all(clocked.field(short) for short in noun.short)
    assert not set(noun.short) & set(names)
    assert names[0] in ("name", "time", "id")
    assert len(default_columns(noun)) >= 5


def test_nouns_are_found_by_what_people_type() -> None:
    words = [word for noun in NOUNS.values() for word in noun.aliases]
    assert len(words) == len(set(words))
    for word in (
        "vm",
        "vms",
        "host",
        "hosts",
        "hv",
        "pool",
        "pools",
        "volume",
        "vol",
        "network",
        "net",
        "events",
    ):
        assert find_noun(f" {word.upper()} ") is not None
    assert find_noun("nothing") is None
    assert all(find_noun(noun.plural) is noun for noun in NOUNS.values())


@pytest.mark.parametrize("name", NOUNS)
def test_every_field_of_an_empty_object_has_a_value_of_its_unit(name: str) -> None:
    noun = NOUNS[name].with_clock(CLOCK)
    for row in MINIMAL[name]:
        for field in noun.fields:
            value, key = field.get(row), field.key(row)
            assert value is None or _fits(value, field), (field.name, value)
            assert key is None or isinstance(key, (*get_args(Value)[:4], tuple))
            assert field.glance is None or isinstance(field.glance(row), str)
            json.dumps(value)
        assert isinstance(noun.name_of(row), str)
        hash(noun.key_of(row))
        look = noun.look_of(row)
        assert look is None or (len(look.glyph) == 1 and look.word)


def _fits(value: Value, field: Field[Any]) -> bool:
    if field.unit is Unit.TEXT:
        # A member of an enumeration would confuse a YAML writer.
        return type(value) is str
    if field.unit is Unit.LIST:
        return type(value) is tuple and all(type(each) is str for each in value)
    if field.unit is Unit.BOOL:
        return type(value) is bool
    return type(value) in (int, float)


def _answered(noun: str, row: object) -> dict[str, Value]:
    return {field.name: field.get(row) for field in NOUNS[noun].with_clock(CLOCK).fields}


def test_everything_in_the_model_of_a_vm_has_a_field() -> None:
    elsewhere = {"disks", "nics", "graphics"}
    placement = {"cpuset", "kept_free", "emulator_cpus", "memory_cells", "cells", "page_size"}
    names = {field.name for field in vms.FIELDS}
    wanted = set(VmInfo.__struct_fields__) | set(VmStats.__struct_fields__)
    assert wanted - names == (elsewhere - names) | placement
    assert {"disks", "macs", "networks", "addresses", "displays"} <= names


def test_everything_in_the_model_of_a_host_has_a_field() -> None:
    names = {field.name for field in hosts.FIELDS}
    wanted = (
        set(HostFacts.__struct_fields__) | set(HostStats.__struct_fields__) | set(HostView.__struct_fields__)
    )
    renamed = {
        "memory_total": "memory",
        "numa": "numa_cells",
        "latency_p95": "latency_s",
        "interval": "interval_s",
        "guests": "machines",
    }
    placement = {"cpu_modes", "host_model", "cpu_models", "cpu_features", "pool_types"}
    wanted -= {"pools_interval", "volumes_interval", "networks_interval"}
    assert {renamed.get(name, name) for name in wanted} - names == {
        "facts",
        "stats",
        "freshness",
    } | placement


def test_everything_in_the_model_of_a_pool_has_a_field() -> None:
    names = {field.name for field in pools.FIELDS}
    assert set(Pool.__struct_fields__) - names == {"uuid"}
    assert "uuids" in names


def test_a_full_vm() -> None:
    made = Vm(
        VmInfo(
            uuid="u",
            name="db-1",
            disks=(VmDisk(target="vda", source="/images/db.qcow2"), VmDisk(target="sda", device="cdrom")),
            nics=(
                VmNic(mac="52:54:00:00:00:01", source="default", addresses=("10.0.0.7",)),
                VmNic(mac="52:54:00:00:00:02", source="default", addresses=("fd00::7",)),
            ),
            graphics=(
                VmGraphics("vnc", "127.0.0.1", 5900),
                VmGraphics("spice", "::1", 5901),
                VmGraphics("vnc", socket="/run/x"),
            ),
            project="web",
            pinned=(CpuPin((0, 1, 2, 5), (0, 1, 8)), CpuPin((3,), (9,))),
            pci=("0000:3b:00.0",),
        ),
        VmStats("u", VmState.RUNNING, "booted", vcpus=4, cpu_pct=12.5, memory=2 * GIB, memory_used=GIB),
    )
    got = _answered("vm", VmRow(host("hv1", zone="a"), made))
    assert got["disks"] == ("vda=/images/db.qcow2", "sda")
    assert got["networks"] == ("default",)
    assert got["macs"] == ("52:54:00:00:00:01", "52:54:00:00:00:02")
    assert got["addresses"] == ("10.0.0.7", "fd00::7")
    assert got["displays"] == ("vnc://127.0.0.1:5900", "spice://[::1]:5901", "vnc+unix:///run/x")
    assert (got["state"], got["host"], got["host_state"], got["zone"]) == ("running", "hv1", "up", "a")
    assert (got["memory_pct"], got["project"], got["fault"]) == (50.0, "web", None)
    assert (got["age_s"], got["stale"]) == (1.0, False)
    assert got["pinned"] == ("0-2,5=0-1,8", "3=9")
    assert got["pci"] == ("0000:3b:00.0",)


def test_a_full_host() -> None:
    view = host(
        since=1_699_999_990.0,
        facts=HostFacts(memory=64 * GIB, hugepages=(HugePages(2 << 20, 100, 40), HugePages(GIB, 2, 1))),
        stats=HostStats(memory_used=16 * GIB, cpu_pct=0.0),
        vms=(vm("a"), vm("b", VmState.SHUTOFF), vm("c", VmState.PAUSED)),
    )
    got = _answered("host", HostRow(view))
    assert (got["vms"], got["vms_running"], got["vcpus_promised"], got["memory_promised"]) == (
        3,
        2,
        4,
        2 * GIB,
    )
    assert (got["memory"], got["memory_pct"], got["cpu_pct"]) == (64 * GIB, 25.0, 0.0)
    assert got["hugepages"] == 100 * (2 << 20) + 2 * GIB
    assert got["hugepages_free"] == 40 * (2 << 20) + GIB
    assert got["state_s"] == 10.0


def test_what_a_host_offers() -> None:
    pc = GuestKind("x86_64", "hvm", ("kvm",), ("pc", "q35"))
    arm = GuestKind("aarch64", "hvm", ("qemu",), ("virt",))
    facts = HostFacts(arch="x86_64", guests=(arm, pc, pc), firmwares=("bios", "efi"))
    got = _answered("host", HostRow(host(facts=facts)))
    assert got["machines"] == ("pc", "q35")
    assert got["firmwares"] == ("bios", "efi")
    assert got["pci"] is None, "not read is not the same as having none"
    card = PciDevice("0000:3b:00.0", "10de", "1eb8")
    has = _answered("host", HostRow(host(facts=HostFacts(pci=(card,)))))
    assert has["pci"] == ("0000:3b:00.0 10de:1eb8",)
    assert _answered("host", HostRow(host(facts=HostFacts(pci=()))))["pci"] == ()


def test_the_state_of_a_hung_host_shows_its_age() -> None:
    view = host(state=HostState.HUNG, freshness=Freshness(stats=NOW - 14))
    field = NOUNS["host"].with_clock(CLOCK).field("state")
    assert field is not None
    assert field.glance is not None
    assert field.glance(HostRow(view)) == "✖ hung 14s"
    assert field.glance(HostRow(host(state=HostState.SLOW, latency_p95=2.1))) == "▲ slow 2.1s"
    assert field.glance(HostRow(host())) == "● up"


def test_what_a_host_never_told_is_unknown_and_not_none() -> None:
    never, empty = HostView("hv1", "test:///"), host("hv2", vms=())
    for name in ("vms", "vms_running", "vcpus_promised", "memory_promised"):
        field = NOUNS["host"].field(name)
        assert field is not None
        assert field.get(HostRow(never)) is None
        assert field.get(HostRow(empty)) == 0


def test_states_sort_by_urgency() -> None:
    state = NOUNS["host"].field("state")
    assert state is not None
    rows = sorted((HostRow(host(state=each)) for each in HostState), key=lambda row: state.key(row))  # type: ignore[arg-type, return-value]
    order = [row.host.state.value for row in rows]
    assert order == ["hung", "unreachable", "refused", "asking", "slow", "connecting", "up", "disabled"]


def test_ages() -> None:
    old = host(
        "old", freshness=Freshness(stats=NOW - 60, pools=NOW - 50, volumes=NOW - 40, networks=NOW - 30)
    )
    new, never = host("new"), host("never", freshness=Freshness())
    shared = PoolRow("x", ((old, pool()), (new, pool())))
    rows: dict[float | None, Row] = {
        60.0: HostRow(old),
        50.0: PoolRow("x", ((old, pool()),)),
        40.0: VolumeRow(old, Volume(pool="p", name="v"), "x"),
        30.0: NetworkRow(old, Network(uuid="", name="n", active=True)),
        1.0: shared,
        None: VmRow(never, vm()),
    }
    assert [age_of(row, NOW) for row in rows.values()] == list(rows)
    assert is_stale(HostRow(old), NOW)
    assert is_stale(rows[50.0], NOW)
    assert not is_stale(shared, NOW)
    assert is_stale(rows[None], NOW)
    assert is_stale(HostRow(host(state=HostState.HUNG)), NOW)


def test_each_group_of_values_is_stale_by_its_own_age() -> None:
    """Samples go on while a storage is dead, and volumes are no older than they are meant to be."""

    def rows(each: HostView) -> tuple[Row, Row, Row, Row]:
        return (
            HostRow(each),
            PoolRow("x", ((each, pool()),)),
            VolumeRow(each, Volume(pool="p", name="v"), "x"),
            NetworkRow(each, Network(uuid="", name="n", active=True)),
        )

    def stale(fresh: Freshness, state: HostState = HostState.UP) -> list[bool]:
        return [is_stale(row, NOW) for row in rows(host(state=state, freshness=fresh))]

    assert stale(Freshness(NOW, NOW - 20, NOW - 140, NOW - 70)) == [False] * 4
    assert stale(Freshness(NOW, NOW - 26, NOW - 151, NOW - 76)) == [False, True, True, True]
    assert stale(Freshness(NOW - 6, NOW, NOW, NOW)) == [True, False, False, False]
    assert stale(Freshness(NOW, NOW, NOW, NOW), HostState.HUNG) == [True] * 4
    assert stale(Freshness(NOW)) == [False] * 4, "it is being read for the first time"
    quick = host(freshness=Freshness(NOW, NOW - 20, NOW - 20, NOW - 20))
    quick = replace(quick, pools_interval=1.0, volumes_interval=1.0, networks_interval=1.0)
    assert [is_stale(row, NOW) for row in rows(quick)] == [False, True, True, True]


def test_what_was_not_read_yet_is_not_zero() -> None:
    unread, read = host(freshness=Freshness(NOW)), host(freshness=Freshness(NOW, NOW, NOW, NOW))
    for name in ("pools", "volumes", "networks"):
        field = NOUNS["host"].field(name)
        assert field is not None
        assert (field.get(HostRow(unread)), field.get(HostRow(read))) == (None, 0)
    field = NOUNS["host"].field("calls_per_s")
    assert field is not None
    assert field.get(HostRow(HostView("h", "test:///default"))) is None


def test_a_shared_storage_is_one_row_with_its_figures_once() -> None:
    first = host("hv1", pools=(pool("nfs", identity="netfs:s:/e"),))
    second = host(
        "hv2",
        freshness=Freshness(pools=NOW),
        pools=(pool("data", PoolState.DEGRADED, identity="netfs:s:/e", used=60.0),),
    )
    rows = list(NOUNS["pool"].rows(fleet(first, second)))
    assert len(rows) == 1
    got = _answered("pool", rows[0])
    assert (got["hosts"], got["names"], got["shared"]) == (("hv1", "hv2"), ("nfs", "data"), True)
    # The host that looked last knows best; the worst state counts.
    assert (got["capacity"], got["used_pct"]) == (1000 * GIB, 60.0)
    assert (got["state"], got["states"]) == ("degraded", ("running", "degraded"))


def test_values_of_a_large_fleet_can_be_written_as_json() -> None:
    snapshot = large_fleet(5, 4)
    for noun in NOUNS.values():
        clocked = noun.with_clock(CLOCK)
        rows = [{field.name: field.get(row) for field in clocked.fields} for row in clocked.rows(snapshot)]
        assert msgspec.json.decode(msgspec.json.encode(rows)) == json.loads(json.dumps(rows))
        assert (
            len(rows)
            == {"host": 5, "vm": 20, "pool": 11, "volume": 5, "network": 5, "event": 0, "job": 0}[noun.name]
        )
