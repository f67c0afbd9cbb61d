"""One fault per test: what the console says of it, that the other hosts never notice, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import Watched, watching
from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.model import HostState, PromptKind

pytestmark = pytest.mark.lab


@asynccontextmanager
async def undisturbed(watched: Watched, *names: str) -> AsyncIterator[None]:
    """These hosts go on answering, and their samples stay fresh."""
    for name in names:
        watched.states[name].clear()
    yield
    for name in names:
        assert watched.host(name).state.answers
        assert not {HostState.HUNG, HostState.UNREACHABLE} & set(watched.states[name]), watched.states
        assert not watched.host(name).is_stale(time.monotonic())


async def do(work: object, *args: object) -> None:
    """A verb of the lab, outside the engine's loop."""
    assert callable(work)
    await asyncio.to_thread(work, *args)


async def test_frozen_libvirtd_is_hung_and_thaws(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        rows = watched.host("hv2").vms
        await do(hosts["hv2"].freeze_libvirtd)
        view = await watched.until_state("hv2", HostState.HUNG)
        assert view.reason == "libvirtd does not answer, the host does"
        assert "systemctl restart libvirtd" in view.cure
        assert [vm.name for vm in view.vms] == [vm.name for vm in rows], "its rows stay, as stale"
        assert view.is_stale(time.monotonic())
        await do(hosts["hv2"].thaw_libvirtd)
        await watched.until_fresh("hv2")
        assert HostState.UNREACHABLE not in watched.states["hv2"]


async def test_a_long_freeze_frees_the_lanes_and_still_recovers(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        await do(hosts["hv2"].freeze_libvirtd)
        await watched.until_state("hv2", HostState.HUNG)
        await asyncio.sleep(14)  # past the hard deadline: the lane is cut and opened anew
        assert watched.host("hv2").state is HostState.HUNG
        await do(hosts["hv2"].thaw_libvirtd)
        await watched.until_fresh("hv2")
        await do(hosts["hv2"].virsh, "suspend hv2-vm1")  # events are heard on the new connection
        await watched.until(
            lambda: any(e.what == "suspended" for e in watched.engine.events.recent(50, name="hv2-vm1")),
            "event",
        )
        await do(hosts["hv2"].virsh, "resume hv2-vm1")


async def test_frozen_from_the_first_moment(lab: Lab, hosts: dict[str, LabHost]) -> None:
    hosts["hv3"].freeze_libvirtd()
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv2"):
        view = await watched.until_state("hv3", HostState.HUNG)
        assert view.freshness.stats is None
        await do(hosts["hv3"].thaw_libvirtd)
        await watched.until_fresh("hv3")
        assert watched.vm("hv3", "hv3-vm1")


async def test_one_stuck_qemu_is_one_stuck_vm(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv2", "hv3"):
        await watched.until(lambda: watched.vm("hv1", "hv1-vm2").stats.disk_read is not None, "disk figures")
        await do(hosts["hv1"].freeze_vm, "hv1-vm1")
        await watched.until(lambda: watched.vm("hv1", "hv1-vm1").stats.monitor_stuck, "monitor stuck", 60)
        stuck = watched.vm("hv1", "hv1-vm1").stats
        assert (stuck.disk_read, stuck.cpu_pct) == (None, None)
        well = watched.vm("hv1", "hv1-vm2").stats
        assert not well.monitor_stuck
        assert watched.host("hv1").state.answers
        assert any(e.what == "monitor stuck" for e in watched.engine.events.recent(50, name="hv1-vm1"))
        await do(hosts["hv1"].thaw_vm, "hv1-vm1")
        await watched.until(
            lambda: not watched.vm("hv1", "hv1-vm1").stats.monitor_stuck, "it is well again", 60
        )
        await watched.until(lambda: watched.vm("hv1", "hv1-vm1").stats.disk_read is not None, "figures again")


async def test_killed_libvirtd_is_awaited_on_the_same_connection(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv2"):
        sessions = _sshd_sessions(hosts["hv3"])
        await do(hosts["hv3"].kill_libvirtd)
        view = await watched.until_state("hv3", HostState.UNREACHABLE)
        await watched.until(lambda: "virt-ssh-helper" in watched.host("hv3").reason, "the reason")
        assert view.vms
        await do(hosts["hv3"].start_libvirtd)
        await watched.until_fresh("hv3")
        assert _sshd_sessions(hosts["hv3"]) & sessions, "no new login for a daemon that was restarted"


async def test_killed_sshd_is_unreachable_and_found_again(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        await do(hosts["hv2"].kill_sshd)
        await watched.until_state("hv2", HostState.UNREACHABLE)
        await watched.until(lambda: "connection refused" in watched.host("hv2").reason, "the reason")
        await do(hosts["hv2"].start_sshd)
        await watched.until_state("hv2", HostState.UP, HostState.SLOW, timeout=60)
        await watched.until_fresh("hv2")


async def test_a_cut_link_is_silent_and_mends(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        await do(hosts["hv2"].cut_link)
        view = await watched.until_state("hv2", HostState.UNREACHABLE)
        assert view.reason == "nothing answers on the link"
        assert HostState.HUNG not in watched.states["hv2"]
        await do(hosts["hv2"].mend_link)
        await watched.until_fresh("hv2")


async def test_power_off_and_on(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv2"):
        await do(hosts["hv3"].power_off)
        view = await watched.until_state("hv3", HostState.UNREACHABLE)
        assert [vm.name for vm in view.vms], "what was there is still shown, as stale"
        await do(hosts["hv3"].power_on)
        watched.engine.reconnect("hv3")
        await watched.until_state("hv3", HostState.UP, timeout=90)
        await watched.until_fresh("hv3")


async def test_a_changed_host_key_is_refused_loudly_and_not_retried(
    lab: Lab, hosts: dict[str, LabHost]
) -> None:
    hosts["hv2"].change_host_key()
    before = lab.known_hosts.read_bytes()
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        view = watched.host("hv2")
        assert view.state is HostState.REFUSED
        assert "HOST KEY CHANGED" in view.reason
        assert str(lab.known_hosts) in view.reason
        await asyncio.sleep(5)
        assert watched.states["hv2"][-1] is HostState.REFUSED
        assert lab.known_hosts.read_bytes() == before
        await do(hosts["hv2"].restore_host_key)
        watched.engine.reconnect("hv2")
        await watched.until_fresh("hv2")


async def test_a_password_is_asked_for_and_a_wrong_one_again(lab: Lab, hosts: dict[str, LabHost]) -> None:
    for host in hosts.values():
        host.set_auth_methods("password")
    engine = Engine(load(lab.fleet_file), interactive=True)
    watched = Watched(engine)
    await engine.start()
    try:
        await watched.until(lambda: len(engine.prompts.pending) >= 1, "a question")
        prompt = engine.prompts.pending[0]
        assert (prompt.kind, prompt.secret) == (PromptKind.PASSWORD, True)
        await watched.until_state(prompt.host, HostState.ASKING)
        engine.prompts.answer(prompt.id, "wrong")
        asked = {prompt.id}

        def again() -> bool:
            return any(p.host == prompt.host and p.id not in asked for p in engine.prompts.pending)

        await watched.until(again, "asked again")
        deadline = time.monotonic() + 60
        while not all(engine.snapshot.hosts[name].state is HostState.UP for name in hosts):
            for pending in engine.prompts.pending:
                engine.prompts.answer(pending.id, lab.record.password)
            assert time.monotonic() < deadline, {n: h.state for n, h in engine.snapshot.hosts.items()}
            await asyncio.sleep(0.05)
        assert lab.record.password not in repr(engine.prompts)
    finally:
        await engine.stop()


async def test_without_a_person_a_password_is_refused_at_once(lab: Lab, hosts: dict[str, LabHost]) -> None:
    hosts["hv2"].set_auth_methods("password")
    async with watching(lab) as watched, undisturbed(watched, "hv1", "hv3"):
        view = watched.host("hv2")
        assert view.state is HostState.REFUSED
        assert "password" in view.reason


def _sshd_sessions(host: LabHost) -> set[int]:
    """PIDs of sshd's processes, the listening one included: a new login would add one and end another."""
    return set(host.pids("sshd"))
