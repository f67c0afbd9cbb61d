"""Pools on real hosts: a folder, GlusterFS by QEMU and mounted, a SAN with and without a password."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from lab.fleet import Lab, Plan
from lab.host import LabHost
from lab.san import CLOSED, OPEN, USER, San
from lab.watching import Watched, watching
from virtfleet.errors import RefusedError
from virtfleet.model import HostState, Pool
from virtfleet.model.action_storage import (
    CreatePool,
    DeletePool,
    PoolAction,
    PoolAuth,
    PoolRef,
    PoolSource,
    RefreshPool,
    ResizePool,
    StartPool,
    StopPool,
)
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
GROUPS = ("stats", "facts", "pools", "volumes", "networks")
PASSWORD = "correct-horse-of-the-lab"


@pytest.fixture(scope="module")
def built(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(Plan(hosts=2, guests=0, off=1, containers=0, shared=True, empty=True)) as made:
        yield made


@pytest.fixture(scope="module")
def san(built: Lab) -> San:
    made = San(built.hosts["hv1"], PASSWORD)
    made.start()
    return made


@pytest_asyncio.fixture
async def site(
    built: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Lab, Watched]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LAB_CHAP", PASSWORD)
    monkeypatch.setenv("LAB_WRONG", "not-that-one-at-all")
    async with watching(built, volumes_interval=1.0, pools_interval=1.0) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        yield built, watched


async def do(watched: Watched, action: PoolAction) -> Job:
    engine = watched.engine
    return await engine.jobs.wait((await engine.apply(await engine.plan(action))).id)


async def done(watched: Watched, action: PoolAction) -> Job:
    job = await do(watched, action)
    assert job.state is JobState.DONE, job.error
    return job


def refs(watched: Watched, name: str, *hosts: str) -> tuple[PoolRef, ...]:
    return tuple(PoolRef(host, pool_of(watched, name, host).uuid, name) for host in hosts)


def pool_of(watched: Watched, name: str, host: str) -> Pool:
    return next(pool for pool in watched.host(host).pools if pool.name == name)


async def seen(watched: Watched, name: str, *hosts: str, volumes: int = 0) -> None:
    """Until the engine knows the pool on these hosts, and as many volumes there."""

    def are() -> bool:
        return all(
            any(pool.name == name for pool in watched.host(host).pools)
            and sum(each.pool == name for each in watched.host(host).volumes) == volumes
            for host in hosts
        )

    await watched.until(are, f"pool {name} with {volumes} volumes on {hosts}")


def folder(name: str, *hosts: str, target: str = "") -> CreatePool:
    return CreatePool(name=name, hosts=hosts, type="dir", target=target or f"/srv/{name}/deep/er")


def target_of(san: San, iqn: str, name: str, *hosts: str, secret: str = "") -> CreatePool:
    auth = PoolAuth(user=USER, secret=secret) if secret else None
    source = PoolSource(hosts=(san.address,), devices=(iqn,), initiator="iqn.2026-01.lab:hosts")
    return CreatePool(name=name, hosts=hosts, type="iscsi-direct", source=source, auth=auth)


def names(host: LabHost) -> set[str]:
    return set(host.virsh("pool-list --all --name").split())


def uses(host: LabHost, name: str, path: str) -> None:
    """A VM that is off, with that disk."""
    file = host.inside(f"/tmp/{name}.xml")
    file.write_text(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os>"
        f"<devices><disk type='file'><source file='{path}'/><target dev='vda'/></disk></devices></domain>"
    )
    host.virsh(f"define /tmp/{name}.xml")


async def test_a_folder_on_two_hosts_and_back(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    one, two = lab.hosts["hv1"], lab.hosts["hv2"]
    assert {"dir", "netfs", "iscsi-direct", "gluster"} <= set(watched.host("hv1").facts.pool_types)  # type: ignore[union-attr]
    await done(watched, folder("data", "hv1", "hv2"))
    await seen(watched, "data", "hv1", "hv2")
    for host in (one, two):
        info = dict(line.split(":", 1) for line in host.virsh("pool-info data").splitlines() if ":" in line)
        assert (info["State"].strip(), info["Autostart"].strip()) == ("running", "yes")
    with pytest.raises(RefusedError, match="data on hv1 is at /srv/data/deep/er already"):
        await watched.engine.plan(folder("other", "hv1", target="/srv/data/deep/er/"))
    one.virsh("vol-create-as data a.qcow2 1M --format qcow2", "vol-create-as data b.img 1M")
    await seen(watched, "data", "hv1", volumes=2)
    with pytest.raises(RefusedError, match=r"data@hv1 has 2 volumes: a\.qcow2, b\.img"):
        await watched.engine.plan(DeletePool(pools=refs(watched, "data", "hv1")))
    await done(watched, DeletePool(pools=refs(watched, "data", "hv1", "hv2"), volumes="delete"))
    for host in (one, two):
        assert "data" not in names(host)
        assert not host.inside("/srv/data/deep/er").exists()


async def test_a_folder_that_hosts_share_is_one_pool_and_all_see_what_is_made(
    site: tuple[Lab, Watched],
) -> None:
    lab, watched = site
    one, two = lab.hosts["hv1"], lab.hosts["hv2"]
    await done(watched, folder("both", "hv1", "hv2", target="/srv/shared/both"))

    def is_one() -> bool:
        found = [pool.identity for host in ("hv1", "hv2") for pool in watched.host(host).pools
                 if pool.name == "both"]  # fmt: skip
        return len(found) == 2 and found[0] == found[1] and found[0].startswith("probe:")

    await watched.until(is_one, "the two are one storage")
    one.virsh("vol-create-as both disk.img 1M")
    assert "disk.img" not in two.virsh("vol-list both")
    await done(watched, RefreshPool(pools=refs(watched, "both", "hv1")))
    assert "disk.img" in two.virsh("vol-list both")
    await seen(watched, "both", "hv1", "hv2", volumes=1)

    # Who has it on another host keeps it from being deleted, and from being deleted by an old plan.
    delete = DeletePool(pools=refs(watched, "both", "hv1"), volumes="delete")
    plan = await watched.engine.plan(delete)
    assert any("hv2 has this storage too" in reason.text for reason in plan.reasons)
    uses(two, "user", "/srv/shared/both/disk.img")
    await watched.until(lambda: any(vm.name == "user" for vm in watched.host("hv2").vms), "the VM is seen")
    with pytest.raises(RefusedError, match="user@hv2 uses what is in both@hv1"):
        await watched.engine.plan(delete)
    with pytest.raises(RefusedError, match="user@hv2 uses what is in both now"):
        await watched.engine.apply(plan)
    two.virsh("undefine user")

    # On its own host the worker looks once more, whatever the plan said.
    uses(one, "late", "/srv/shared/both/disk.img")
    job = await watched.engine.jobs.wait((await watched.engine.jobs.submit(plan)).id)
    assert "late uses /srv/shared/both/disk.img: nothing was deleted" in job.error
    assert "disk.img" in one.virsh("vol-list both")
    one.virsh("undefine late")
    assert "both" in names(one)
    gone = {"user", "late"}
    await watched.until(
        lambda: not any(vm.name in gone for host in ("hv1", "hv2") for vm in watched.host(host).vms),
        "both go",
    )
    await done(watched, DeletePool(pools=refs(watched, "both", "hv1", "hv2"), volumes="delete"))
    assert not one.inside("/srv/shared/both/disk.img").exists()


async def test_half_done_is_taken_back(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    one, two = lab.hosts["hv1"], lab.hosts["hv2"]
    before = names(one)
    plan = await watched.engine.plan(folder("half", "hv1", "hv2"))
    two.virsh("pool-define-as half dir --target /srv/elsewhere")  # somebody was quicker
    job = await watched.engine.jobs.wait((await watched.engine.jobs.submit(plan)).id)
    assert (job.state, "there is a pool half already" in job.error) == (JobState.FAILED, True)
    assert names(one) == before
    assert not one.inside("/srv/half").exists()
    assert "/srv/elsewhere" in two.virsh("pool-dumpxml half")
    two.virsh("pool-undefine half")


async def test_killed_in_mid_create(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    one, book = lab.hosts["hv1"], watched.engine.jobs
    await book.open()
    start, kills = names(one), 0
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("core", "tui", "tests"))
    }
    action = msgspec.json.encode(folder("torn", "hv1")).decode()
    for number in range(3, 40, 2):
        known = {each.id for each in book.jobs}
        when = "after" if number % 4 == 3 else "before"
        words = ["-m", "lab.crashing", str(lab.fleet_file), action, str(number), when]
        ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)  # noqa: ASYNC221
        await book.open()
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        (job,) = [each for each in book.jobs if each.id not in known]
        kills += 1
        forward = number % 4 == 1
        await (book.resume(job.id) if forward else book.roll_back(job.id))
        job = await book.wait(job.id)
        if forward:
            assert (job.state, names(one)) == (JobState.DONE, start | {"torn"}), job.error
            assert one.inside("/srv/torn/deep/er").is_dir()
            one.virsh("pool-destroy torn; pool-undefine torn")
            one.exec(["rm", "-r", "/srv/torn"], check=True)
        else:
            assert (job.state, names(one)) == (JobState.CANCELLED, start), job.error
            assert not one.inside("/srv/torn").exists(), number
    assert kills >= 4
    one.virsh("pool-destroy torn; pool-undefine torn")
    one.exec(["rm", "-r", "/srv/torn"], check=True)


async def test_a_san_without_a_password(site: tuple[Lab, Watched], san: San) -> None:
    _, watched = site
    asked = {"type": "iscsi-direct", "source": {"hosts": [san.address]}}
    found = await watched.engine.request("hv2", "pool.sources", asked, 20.0)
    assert [each["devices"] for each in found] == [[OPEN], [CLOSED]]
    await done(watched, target_of(san, OPEN, "san", "hv1", "hv2"))
    await seen(watched, "san", "hv1", "hv2", volumes=2)  # a LUN, and the controller, which libvirt lists too
    assert pool_of(watched, "san", "hv1").identity == pool_of(watched, "san", "hv2").identity
    assert pool_of(watched, "san", "hv1").identity == found[0]["identity"]
    with pytest.raises(RefusedError, match="pool san on hv1 is that storage already"):
        await watched.engine.plan(target_of(san, OPEN, "again", "hv1"))
    with pytest.raises(RefusedError, match="libvirt can't delete what is in a pool of type iscsi-direct"):
        await watched.engine.plan(DeletePool(pools=refs(watched, "san", "hv1"), volumes="delete"))

    # A SAN that is frozen: its pool waits, the host's samples go on.
    job = None
    san.freeze()
    try:
        plan = await watched.engine.plan(RefreshPool(pools=refs(watched, "san", "hv2")))
        job = await watched.engine.apply(plan)
        for _ in range(3):
            await watched.until_fresh("hv2")
        assert watched.engine.jobs.get(job.id).state is JobState.RUNNING
        assert watched.host("hv2").state is HostState.UP
        assert set(watched.states["hv2"]) <= {HostState.CONNECTING, HostState.UP}
    finally:
        san.thaw()
    assert (await watched.engine.jobs.wait(job.id)).state is JobState.DONE
    await done(watched, DeletePool(pools=refs(watched, "san", "hv1", "hv2")))


async def test_a_san_with_a_password_that_nobody_sees(
    site: tuple[Lab, Watched], san: San, tmp_path: Path
) -> None:
    lab, watched = site
    two = lab.hosts["hv2"]
    wrong = await do(watched, target_of(san, CLOSED, "vault", "hv2", secret="env:LAB_WRONG"))
    assert (wrong.state, "Authentication failure" in wrong.error) == (JobState.FAILED, True), wrong.error
    missing = await do(watched, target_of(san, CLOSED, "vault", "hv2", secret="env:LAB_NOT_SET"))
    assert "LAB_NOT_SET is not set" in missing.error
    assert "vault" not in names(two)
    assert two.virsh("secret-list").strip() == ""
    job = await done(watched, target_of(san, CLOSED, "vault", "hv2", secret="env:LAB_CHAP"))
    await seen(watched, "vault", "hv2", volumes=2)
    assert len(two.virsh("secret-list").splitlines()) == 1
    uuid = job.records[0].result["uuid"]
    assert "private" in two.exec(["virsh", "secret-get-value", uuid]).stderr
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert PASSWORD.encode() not in file.read_bytes(), file
    await done(watched, StopPool(pools=refs(watched, "vault", "hv2")))
    await watched.until(lambda: pool_of(watched, "vault", "hv2").state.value == "inactive", "it is off")
    await done(watched, StartPool(pools=refs(watched, "vault", "hv2")))
    await done(watched, DeletePool(pools=refs(watched, "vault", "hv2")))
    assert two.virsh("secret-list").strip() == ""


async def test_gluster_by_qemu_and_mounted(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    server, two = lab.hosts["hv1"].address, lab.hosts["hv2"]
    asked: dict[str, Any] = {"type": "gluster", "source": {"hosts": [server]}}
    (found,) = await watched.engine.request("hv2", "pool.sources", asked, 60.0)
    assert (found["name"], found["identity"]) == ("shared", f"gluster:{server}:shared")
    native = PoolSource(hosts=(server,), name="shared")
    await done(watched, CreatePool(name="native", hosts=("hv2",), type="gluster", source=native))
    await watched.until(
        lambda: any(pool.identity == found["identity"] for pool in watched.host("hv2").pools), "it is seen"
    )
    mounted = PoolSource(hosts=(server,), path="shared", format="glusterfs")
    with pytest.raises(RefusedError, match="pool native on hv2 is that storage already"):
        await watched.engine.plan(
            CreatePool(name="again", hosts=("hv2",), type="netfs", target="/srv/m", source=mounted)
        )
    await done(watched, DeletePool(pools=refs(watched, "native", "hv2")))
    await watched.until(lambda: "native" not in {p.name for p in watched.host("hv2").pools}, "it is gone")
    await done(watched, CreatePool(name="mnt", hosts=("hv2",), type="netfs", target="/srv/m", source=mounted))
    assert " /srv/m fuse.glusterfs " in two.exec(["cat", "/proc/mounts"]).stdout
    await watched.until(lambda: "mnt" in {p.name for p in watched.host("hv2").pools}, "it is seen")
    await done(watched, DeletePool(pools=refs(watched, "mnt", "hv2")))
    assert " /srv/m " not in two.exec(["cat", "/proc/mounts"]).stdout


async def test_what_can_not_grow_says_why(site: tuple[Lab, Watched]) -> None:
    _, watched = site
    job = await do(watched, ResizePool(pools=refs(watched, "shared", "hv2")))
    assert (job.state, "is on fuse.glusterfs, which can't be grown here" in job.error) == (
        JobState.FAILED,
        True,
    )
    with pytest.raises(RefusedError, match="only a volume group can be given a device more"):
        await watched.engine.plan(ResizePool(pools=refs(watched, "local", "hv2"), device="/dev/sdz"))


async def test_a_password_that_a_person_is_asked_for(site: tuple[Lab, Watched], san: San) -> None:
    lab, _ = site
    asked: list[tuple[str, bool]] = []
    action = target_of(san, CLOSED, "asked", "hv1", "hv2", secret="prompt")
    async with watching(lab, interactive=True) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        prompts = watched.engine.prompts

        def answer() -> None:
            for prompt in prompts.pending:
                asked.append((prompt.text, prompt.secret))
                prompts.answer(prompt.id, PASSWORD)

        prompts.subscribe(answer)
        await done(watched, action)
        assert asked == [(f"Secret of {USER} at {san.address}", True)]  # once for both hosts
        await seen(watched, "asked", "hv1", "hv2", volumes=2)
        await done(watched, DeletePool(pools=refs(watched, "asked", "hv1", "hv2")))
    async with watching(lab, interactive=False) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        job = await do(watched, action)
        assert f"the secret of {USER} at {san.address} was not given" in job.error
        assert (job.state, "asked" in names(lab.hosts["hv1"])) == (JobState.FAILED, False)
