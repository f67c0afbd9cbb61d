"""What the engine sees of real hypervisors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import watching
from virtfleet.model import HostState, HostView, PoolState, VmState
from virtfleet.query.rows import pool_rows

pytestmark = pytest.mark.lab


def _cpu(host: HostView) -> float | None:
    return host.stats.cpu_pct if host.stats is not None else None


async def test_everything_of_a_host_is_seen(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched:
        await watched.engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30)
        host = watched.host("hv1")
        assert host.state is HostState.UP
        assert host.facts is not None
        assert (host.facts.hypervisor, host.facts.hostname) == ("QEMU", "hv1")
        assert host.facts.kernel
        assert host.stats is not None
        await watched.until(lambda: _cpu(watched.host("hv1")) is not None, "CPU figures")
        running = {vm.name for vm in host.vms if vm.state is VmState.RUNNING}
        listed = set(hosts["hv1"].virsh("list --name").split())
        assert running == listed
        off = [vm for vm in host.vms if vm.state is VmState.SHUTOFF]
        assert len(off) == 1
        assert off[0].stats.cpu_pct is None
        network = next(net for net in host.networks if net.name == "default")
        assert (network.active, network.forward, network.dhcp) == (True, "nat", True)


async def test_a_guests_figures_and_address_are_its_own(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab, networks_interval=2.0) as watched:
        vm = watched.vm("hv1", "hv1-vm1")
        await watched.until(lambda: watched.vm("hv1", "hv1-vm1").stats.disk_read is not None, "disk figures")
        await watched.until(lambda: watched.vm("hv1", "hv1-vm1").info.addresses != (), "an address")
        vm = watched.vm("hv1", "hv1-vm1")
        leases = hosts["hv1"].virsh("net-dhcp-leases default")
        assert vm.info.addresses[0] in leases
        assert vm.info.nics[0].address_source == "lease"
        assert vm.stats.memory > 0
        assert vm.stats.memory_rss is not None
        assert vm.stats.vcpus == 1


async def test_containers_are_vms_too(lab: Lab) -> None:
    async with watching(lab) as watched:
        [container] = watched.host("lx1").vms
        assert container.state is VmState.RUNNING
        assert container.info.os_type == "exe"
        await watched.until(lambda: watched.host("lx1").vms[0].stats.cpu_pct is not None, "CPU figures")


async def test_a_shared_pool_is_one_and_local_ones_are_many(lab: Lab) -> None:
    async with watching(lab) as watched:
        engine = watched.engine
        await engine.settled(("pools",), timeout=30)

        def shared() -> list[tuple[str, set[str]]]:
            return [
                (row.members[0][1].name, {host.name for host, _ in row.members})
                for row in pool_rows(engine.snapshot)
                if row.identity.startswith("probe:")
            ]

        await watched.until(lambda: shared() != [] and len(shared()[0][1]) >= 3, "one shared pool")
        assert [name for name, _ in shared()] == ["shared"]
        assert {"hv1", "hv2", "hv3"} <= shared()[0][1]
        local = [row for row in pool_rows(engine.snapshot) if row.members[0][1].name == "local"]
        assert all(len(row.members) == 1 for row in local), "equal names and paths prove nothing"
        assert len({row.identity for row in local}) == len(local)


async def test_read_only_leaves_no_probe_behind(lab: Lab, hosts: dict[str, LabHost]) -> None:
    [target] = [
        line.split("<path>")[1].split("<")[0]
        for line in hosts["hv1"].virsh("pool-dumpxml shared").splitlines()
        if "<path>" in line
    ]
    hosts["hv1"].exec(["rm", "-f", f"{target}/.virtfleet-storage-id"])
    from virtfleet.config.load import load
    from virtfleet.engine import Engine

    engine = Engine(load(lab.fleet_file), read_only=True, interactive=False)
    await engine.start()
    try:
        await engine.settled(("stats", "pools"), timeout=30)
        pool = next(pool for pool in engine.snapshot.hosts["hv1"].pools if pool.name == "shared")
        assert pool.state is PoolState.RUNNING
        assert pool.identity.startswith("local:hv1:")
        listing = hosts["hv1"].exec(["ls", "-A", target]).stdout
        assert ".virtfleet" not in listing
    finally:
        await engine.stop()


async def test_a_start_is_seen_at_once_and_as_an_event(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab, interval=5.0) as watched:
        name = "hv2-vm3"
        assert watched.vm("hv2", name).state is VmState.SHUTOFF
        events = watched.engine.events
        await asyncio.to_thread(hosts["hv2"].virsh, f"start {name}")
        await watched.until(lambda: watched.vm("hv2", name).state is VmState.RUNNING, "running")
        await asyncio.to_thread(hosts["hv2"].virsh, f"destroy {name}")
        await watched.until(lambda: watched.vm("hv2", name).state is VmState.SHUTOFF, "shut off")
        await watched.until(
            lambda: any(e.what == "stopped" for e in events.recent(50, name=name)), "the stop"
        )
        told = [(event.what, event.detail) for event in events.recent(50, name=name)]
        assert ("started", "") in told
        assert ("stopped", "powered off") in told


async def test_a_client_that_defines_and_undefines_in_a_loop_disturbs_nobody(
    lab: Lab, hosts: dict[str, LabHost]
) -> None:
    """Twenty VMs come and go as fast as libvirt can; in the end the picture is the host's."""
    xml = (
        "<domain type='qemu'><name>churn-{n}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64'>hvm</type></os><devices/></domain>"
    )

    def churn() -> None:
        for number in range(20):
            path = hosts["hv3"].inside(f"/srv/churn-{number}.xml")
            path.write_text(xml.format(n=number))
            hosts["hv3"].virsh(
                f"define /srv/churn-{number}.xml",
                f"start churn-{number}",
                f"destroy churn-{number}",
                f"undefine churn-{number}",
            )
            path.unlink()

    async with watching(lab, interval=1.0) as watched:
        work = asyncio.ensure_future(asyncio.to_thread(churn))
        worst = 0.0
        while not work.done():
            await asyncio.sleep(0.05)
            age = watched.host("hv1").age(time.monotonic())
            worst = max(worst, age if age is not None else 99.0)
        await work
        print(f"oldest sample of another host meanwhile: {worst:.1f} s")
        await watched.until(
            lambda: not any(vm.name.startswith("churn") for vm in watched.host("hv3").vms), "they are gone"
        )
        await watched.until_fresh("hv3")
        assert HostState.UP in watched.states["hv3"]
        assert HostState.UNREACHABLE not in watched.states["hv3"]
        seen = {event.name for event in watched.engine.events.recent(500, host="hv3", kind="vm")}
        assert {f"churn-{number}" for number in range(20)} <= seen


async def test_few_calls_however_many_vms(lab: Lab) -> None:
    """In the steady state at most 3 libvirt calls per host and refresh."""
    async with watching(lab, interval=0.5, pools_interval=2.0) as watched:
        await asyncio.sleep(12)
        for name in ("hv1", "hv2", "hv3"):
            calls_per_refresh = (watched.host(name).calls_per_s or 0.0) * 0.5
            assert 0 < calls_per_refresh <= 3, f"{name}: {calls_per_refresh:.2f}"


async def test_a_door_leads_another_client_to_the_host(lab: Lab, hosts: dict[str, LabHost]) -> None:
    """A client of its own speaks libvirt over the worker's one SSH connection."""
    import libvirt

    async with watching(lab) as watched:
        before = set(hosts["hv2"].pids("sshd"))
        path = await watched.engine.request("hv2", "host.door", {"number": 1})

        def ask() -> tuple[str, int]:
            assert Path(path).parent.stat().st_mode & 0o077 == 0, "nobody else gets in"
            conn = libvirt.open(f"qemu+unix:///system?socket={path}")
            try:
                return conn.getHostname(), len(conn.listAllDomains())
            finally:
                conn.close()

        assert await asyncio.to_thread(ask) == ("hv2", len(watched.host("hv2").vms))
        assert set(hosts["hv2"].pids("sshd")) == before, "no second login"


async def test_thousands_of_volumes_stall_nothing(lab: Lab, hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    target = "/srv/local"
    host.exec(["sh", "-c", f"cd {target} && seq -f many-%g.img 3000 | xargs touch"])
    try:
        await asyncio.to_thread(host.virsh, "pool-refresh local", timeout=120)
        async with watching(lab, interval=1.0) as watched:
            worst = 0.0

            def listed() -> int:
                return sum(volume.name.startswith("many-") for volume in watched.host("hv1").volumes)

            deadline = time.monotonic() + 90
            while listed() < 3000:
                assert time.monotonic() < deadline, listed()
                await asyncio.sleep(0.05)
                worst = max(worst, watched.host("hv1").age(time.monotonic()) or 0.0)
            print(f"oldest sample meanwhile: {worst:.1f} s")
            assert not watched.host("hv1").is_stale(time.monotonic())
    finally:
        host.exec(["sh", "-c", f"cd {target} && seq -f many-%g.img 3000 | xargs rm -f"])
        await asyncio.to_thread(host.virsh, "pool-refresh local", timeout=120)


async def test_volumes_come_in_parts_over_a_slow_link(lab: Lab, hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    target = "/srv/local"
    host.exec(["sh", "-c", f"cd {target} && seq -f many-%g.img 1000 | xargs touch"])
    try:
        await asyncio.to_thread(host.virsh, "pool-refresh local", timeout=120)
        await asyncio.to_thread(host.slow_link, 1000)
        async with watching(lab) as watched:
            seen: list[tuple[int, bool]] = []
            pools: set[float] = set()
            samples: set[float] = set()

            def note(_: object) -> None:
                view = watched.host("hv1")
                seen.append((len(view.volumes), view.freshness.volumes is not None))
                pools.add(view.freshness.pools or 0.0)
                samples.add(view.freshness.stats or 0.0)

            watched.engine.subscribe(note)
            await watched.until(lambda: watched.host("hv1").freshness.volumes is not None, "all volumes", 120)
            assert len(watched.host("hv1").volumes) >= 1000
            before = {count for count, complete in seen if not complete and count}
            assert len(before) >= 3, "parts are shown before all is known"
            assert len(pools) >= 2, "the pools' figures are read meanwhile"
            assert len(samples) >= 4, "and the VMs'"
    finally:
        await asyncio.to_thread(host.slow_link, None)
        host.exec(["sh", "-c", f"cd {target} && seq -f many-%g.img 1000 | xargs rm -f"])
        await asyncio.to_thread(host.virsh, "pool-refresh local", timeout=120)
