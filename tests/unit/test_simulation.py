"""The demo fleet: libvirt takes its node files, its figures are believable and the same for the same seed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from virtfleet.config.demo import FLAVORS, demo_fleet
from virtfleet.config.settings import HostSettings
from virtfleet.errors import ConfigError
from virtfleet.hypervisor import simulated_world as world
from virtfleet.hypervisor.simulated_demo import furnish, open_uri, plan_of
from virtfleet.hypervisor.simulation import CHURN_PERIOD, Simulation
from virtfleet.hypervisor.states import vm_state
from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.hypervisor.views.network import network
from virtfleet.hypervisor.views.pool import pool
from virtfleet.hypervisor.views.volume import volume
from virtfleet.hypervisor.wire import WorkerSettings
from virtfleet.model import HostFacts, Pool, PoolState, VmState, VmStats

GIB = 1024**3


def worker(host: HostSettings) -> WorkerSettings:
    return WorkerSettings(host.name, host.uri, simulate=host.simulate)


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, libvirt.virConnect]]:
    found = {}
    for host in demo_fleet().hosts.values():
        connection = libvirt.open(open_uri(worker(host), tmp_path_factory.mktemp(host.name)))
        furnish(connection, worker(host))
        found[host.name] = connection
    yield found
    for connection in found.values():
        connection.close()


def samples(simulation: Simulation, plan: world.HostPlan, now: float) -> list[VmStats]:
    return [
        simulation.vm_stats(vm.uuid, vm.name, vm_state(vm.state), vm.flavor.vcpus, vm.flavor.memory, now)
        for vm in world.virtual_machines(7, plan)
    ]


def test_demo_fleet() -> None:
    fleet = demo_fleet()
    assert fleet.demo
    assert list(fleet.hosts) == [f"hv{n:02d}" for n in range(1, 9)]
    assert Counter(host.zone for host in fleet.hosts.values()) == {"a": 4, "b": 4}
    assert {host.traits for host in fleet.hosts.values()} == {("ssd",), ()}
    assert all(host.simulate is not None and host.uri.startswith("test:///") for host in fleet.hosts.values())
    plans = [plan_of(host.name, host.uri) for host in fleet.hosts.values()]
    assert [plan.vms for plan in plans] == [15] * 8
    assert {plan.cluster for plan in plans} == {"ceph-a", "ceph-b"}
    assert fleet == demo_fleet()


def test_names_and_addresses_are_unique_in_a_large_fleet() -> None:
    plans = [plan_of(host.name, host.uri) for host in demo_fleet(500, 10_007).hosts.values()]
    assert sum(plan.vms for plan in plans) == 10_007
    vms = [(plan, vm) for plan in plans for vm in world.virtual_machines(7, plan)]
    assert len({vm.name for _, vm in vms}) == len({vm.uuid for _, vm in vms}) == 10_007
    macs = {world.mac(plan, vm.slot, nat=False) for plan, vm in vms}
    assert len(macs) == len({world.address(mac) for mac in macs}) == 10_007
    assert max(Counter(plan.cluster for plan in plans).values()) == world.CLUSTER


@pytest.mark.parametrize(("hosts", "vms"), [(0, 5), (3, -1)])
def test_impossible_fleets(hosts: int, vms: int) -> None:
    with pytest.raises(ValueError, match="demo fleet"):
        demo_fleet(hosts, vms)


def test_flavors_of_the_fleet_are_those_of_the_vms() -> None:
    used = (world.SMALL, world.MEDIUM, world.LARGE, world.XLARGE, world.MEMORY)
    assert {name: (each.vcpus, each.memory, each.disk) for name, each in FLAVORS.items()} == {
        each.name: (each.vcpus, each.memory, each.disk) for each in used
    }


def test_the_driver_has_what_the_plan_says(connections: dict[str, libvirt.virConnect]) -> None:
    states: Counter[VmState] = Counter()
    projects = set()
    for host in demo_fleet().hosts.values():
        plan = plan_of(host.name, host.uri)
        expected = {vm.uuid: vm for vm in world.virtual_machines(7, plan)}
        domains = {domain.UUIDString(): domain for domain in connections[host.name].listAllDomains()}
        assert domains.keys() == expected.keys()
        for uuid, domain in domains.items():
            info = vm_info(domain.XMLDesc())
            vm = expected[uuid]
            assert (info.name, info.vcpus_max, info.memory_max) == (
                vm.name,
                vm.flavor.vcpus,
                vm.flavor.memory,
            )
            assert (info.project, info.flavor) == (vm.role.project, vm.flavor.name)
            assert (info.tags, info.protected) == (vm.role.tags, vm.role.protected)
            assert info.ha_priority == vm.role.priority
            assert bool(domain.autostart()) == (vm.role.priority is not None)
            assert all(world.address(nic.mac) for nic in info.nics)
            state = vm_state(domain.state()[0])
            assert state is vm_state(vm.state)
            states[state] += 1
            projects.add(info.project)
    assert states[VmState.RUNNING] > 90
    assert states[VmState.SHUTOFF] >= 3
    assert states[VmState.PAUSED] >= 1
    assert projects == set(demo_fleet().projects)


def test_pools_volumes_and_networks(connections: dict[str, libvirt.virConnect]) -> None:
    identities: dict[str, set[str]] = {}
    for host, connection in connections.items():
        paths = set()
        simulation = Simulation(7, host)
        for each in connection.listAllStoragePools():
            view = pool(each.XMLDesc(), host=host, state=int(each.info()[0]))
            assert view.state is PoolState.RUNNING
            identities.setdefault(view.identity, set()).add(host)
            volumes = [volume(one.XMLDesc(), view.name) for one in each.listAllVolumes()]
            paths |= {one.path for one in volumes}
            full = simulation.pool(view, 1000.0)
            assert sum(one.allocation or 0 for one in volumes) <= (full.allocation or 0)
        disks = [disk for each in connection.listAllDomains() for disk in vm_info(each.XMLDesc()).disks]
        assert {disk.source.removeprefix("rbd:") for disk in disks} <= paths
        assert 20 <= len(paths) <= 45
        networks = [network(each.XMLDesc(), active=True) for each in connection.listAllNetworks()]
        assert {each.name: each.forward for each in networks} == {
            "default": "nat",
            "prod": "bridge",
            "storage": "",
        }
    shared = {identity: hosts for identity, hosts in identities.items() if len(hosts) > 1}
    assert {identity: len(hosts) for identity, hosts in shared.items()} == {
        "netfs:nas1.demo:/export/isos": 8,
        "rbd:mon1.ceph-a.demo,mon2.ceph-a.demo,mon3.ceph-a.demo/ceph-a": 4,
        "rbd:mon1.ceph-b.demo,mon2.ceph-b.demo,mon3.ceph-b.demo/ceph-b": 4,
    }


def test_shared_pools_are_equally_full_on_all_hosts_and_one_is_nearly_full() -> None:
    ceph = Pool("u", "ceph-a", "rbd", PoolState.RUNNING, "rbd:mon1/ceph-a")
    one, two = (Simulation(7, name).pool(ceph, 5000.0) for name in ("hv01", "hv02"))
    assert one == two
    assert one.capacity is not None
    assert one.allocation is not None
    assert one.available == one.capacity - one.allocation
    off = Simulation(7, "hv01").pool(Pool("u", "p", "dir", PoolState.INACTIVE, "local:x"), 0.0)
    assert off.capacity is None
    locals_ = [
        Simulation(7, host).pool(Pool("u", "p", "dir", PoolState.RUNNING, f"local:{host}:{path}"), 0.0)
        for host in demo_fleet().hosts
        for path in ("/var/lib/libvirt/images", "/dev/vg_fast")
    ]
    assert any((each.allocation or 0) > 0.9 * (each.capacity or 0) for each in locals_)


@pytest.mark.parametrize("now", [0.0, 17.5, 40_000.0, 1e6])
def test_figures_are_possible_and_follow_from_seed_and_time(now: float) -> None:
    plan = world.HostPlan("hv02", 1, 8, 1, "a", 20)
    first, second = Simulation(7, "hv02"), Simulation(7, "hv02")
    samples(first, plan, now - 300.0)
    vms = samples(first, plan, now)
    assert vms == samples(second, plan, now)
    for each in vms:
        if not each.state.active:
            assert each == VmStats(each.uuid, each.state, "", each.vcpus)
            continue
        assert each.cpu_pct is not None
        assert 0 <= each.cpu_pct <= 100
        assert each.memory_used is not None
        assert each.memory_rss is not None
        assert 0 < each.memory_used <= each.memory_rss <= each.memory
        moved = (each.disk_read, each.disk_write, each.disk_read_iops, each.net_rx, each.net_tx)
        assert all(figure is not None and figure >= 0 for figure in moved)
        if each.state is VmState.PAUSED:
            assert (each.cpu_pct, each.net_rx) == (0.0, 0)
    host = first.host_stats(now)
    assert host == second.host_stats(now)
    cores = sum((each.cpu_pct or 0) / 100 * each.vcpus for each in vms)
    box = world.machine(7, plan)
    assert host.cpu_pct == pytest.approx(100 * cores / box.cpus, abs=3)
    assert host.memory_total == box.memory
    assert sum(each.memory_rss or 0 for each in vms) < (host.memory_used or 0) < box.memory


def test_figures_are_smooth() -> None:
    plan = world.HostPlan("hv03", 2, 8, 2, "a", 20)
    simulation = Simulation(7, "hv03")
    before = samples(simulation, plan, 1000.0)
    after = samples(simulation, plan, 1000.5)
    jumps = [abs((b.cpu_pct or 0) - (a.cpu_pct or 0)) for a, b in zip(before, after, strict=True)]
    assert max(jumps) < 30
    assert before != after


def test_a_host_has_no_load_before_its_vms_were_looked_at() -> None:
    plan = world.HostPlan("hv01", vms=15)
    simulation = Simulation(7, "hv01")
    assert simulation.host_stats(10.0).cpu_pct is None
    samples(simulation, plan, 10.1)
    busy = simulation.host_stats(12.0)
    assert (busy.cpu_pct or 0) > 5
    empty = simulation.host_stats(14.0)
    assert (empty.cpu_pct or 0) < 3


def test_facts_name_the_driver_and_the_made_up_hardware() -> None:
    found = Simulation(7, "hv01").facts(
        HostFacts(hostname="laptop", hypervisor="TEST", libvirt_version="9.0.0")
    )
    box = world.machine(7, world.HostPlan("hv01"))
    assert (found.hostname, found.hypervisor, found.libvirt_version) == ("hv01.demo", "TEST", "9.0.0")
    assert (found.cpus, found.memory) == (box.cpus, box.memory)
    assert sum(cell.cpus for cell in found.numa) == box.cpus


def test_addresses() -> None:
    simulation = Simulation(7, "hv02")
    plan = world.HostPlan("hv02", 1)
    assert simulation.addresses(world.mac(plan, 3, nat=False)) == ("10.0.16.13",)
    assert simulation.addresses(world.mac(plan, 3, nat=True)) == ("192.168.16.13",)
    assert simulation.addresses("aa:bb:cc:dd:ee:ff") == simulation.addresses("no mac") == ()


def test_churn_can_be_carried_out(connections: dict[str, libvirt.virConnect]) -> None:
    host = demo_fleet().hosts["hv02"]
    connection = connections["hv02"]
    simulation = Simulation(7, "hv02")
    verbs: Counter[str] = Counter()
    calls = {"start": "create", "shutdown": "shutdown", "suspend": "suspend", "resume": "resume"}
    after = {"start": 1, "shutdown": 5, "suspend": 3, "resume": 1}
    critical = {
        vm.uuid for vm in world.virtual_machines(7, plan_of(host.name, host.uri)) if vm.role.protected
    }
    for step in range(60):
        now = step * CHURN_PERIOD
        for domain in connection.listAllDomains():
            simulation.vm_stats(domain.UUIDString(), domain.name(), vm_state(domain.state()[0]), 1, GIB, now)
        action = simulation.churn(now)
        assert simulation.churn(now) is None
        if action is None:
            continue
        assert action.uuid not in critical
        domain = connection.lookupByUUIDString(action.uuid)
        getattr(domain, calls[action.verb])()
        assert int(domain.state()[0]) == after[action.verb]
        verbs[action.verb] += 1
    assert sum(verbs.values()) == 59
    assert verbs["start"] > 10
    assert verbs["shutdown"] > 10
    assert len([domain for domain in connection.listAllDomains() if domain.isActive()]) > 8


def test_churn_of_a_host_without_vms_does_nothing() -> None:
    simulation = Simulation(7, "hv01")
    assert [simulation.churn(now * CHURN_PERIOD) for now in range(5)] == [None] * 5


def test_a_real_host_is_never_simulated(tmp_path: Path) -> None:
    for settings in (
        WorkerSettings("hv1", "qemu:///system", simulate=7),
        WorkerSettings("t", "test:///default"),
    ):
        with pytest.raises(ValueError, match="not a simulated host"):
            open_uri(settings, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("query", ["vms=many", "vms=-1", "vms=100000", "hosts=0"])
def test_odd_uris(query: str) -> None:
    with pytest.raises(ConfigError, match="simulated"):
        plan_of("x", f"test:///demo?{query}")


def test_folder_names_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "with space & %41"
    folder.mkdir()
    host = demo_fleet(1, 3).hosts["hv01"]
    connection = libvirt.open(open_uri(worker(host), folder))
    assert len(connection.listAllDomains()) == 3
    connection.close()


def test_a_worker_needs_no_numpy() -> None:
    code = "import sys; import virtfleet.hypervisor.simulation; print('numpy' in sys.modules)"
    source = str(Path(world.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    assert done.stdout.strip() == "False"
