"""Cancelled in each phase, a creation leaves nothing: no VM, volume, seed or claim."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, begun, is_done, job_site
from virtfleet.config.settings import JobLimits
from virtfleet.model.action import CloneVm, CreateSnapshot
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    """On which the image is already."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with job_site(small_lab) as made:
        primed = await made.do(made.creation("first"))
        assert primed.state is JobState.DONE, primed.error
        await made.shown("hv1-vm1", "first")
        await made.watched.until(
            lambda: any(each.name == "first-seed.iso" for each in made.watched.host("hv1").volumes),
            "its seed",
        )
        yield made
    small_lab.heal()


async def cancelled(site: JobSite, job: Job) -> None:
    """It ends so, and by itself."""
    ended = await site.engine.jobs.wait(job.id)
    assert (ended.state, ended.error) == (JobState.CANCELLED, "")


async def test_while_it_waits_for_its_turn_nothing_is_begun(site: JobSite) -> None:
    before = site.left()
    jobs = site.engine.jobs
    jobs._gates = type(jobs._gates)(JobLimits(total=1))
    plans = [await site.plan(site.creation(name)) for name in ("a", "b")]
    first, second = [await jobs.submit(plan) for plan in plans]
    jobs.cancel(second.id)
    await cancelled(site, second)
    assert all(record.began is None for record in jobs.get(second.id).records)
    jobs.cancel(first.id)
    await cancelled(site, first)
    assert site.left() == before


class SlowImage:
    """A web server that begins to send an image and does not go on until it is told to."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.go_on = threading.Event()
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._head(200, len(outer.content))

            def do_GET(self) -> None:
                given = self.headers.get("Range", "")
                first, _, last = given.removeprefix("bytes=").partition("-")
                start = int(first or 0)
                end = min(int(last), len(outer.content) - 1) if last else len(outer.content) - 1
                body = outer.content[start : end + 1]
                if given:
                    self._head(206, len(body), f"bytes {start}-{end}/{len(outer.content)}")
                else:
                    self._head(200, len(body))
                with contextlib.suppress(OSError):
                    self.wfile.write(body[: 2 << 20])
                    if len(body) > 2 << 20:
                        outer.asked += 1
                        outer.go_on.wait(60)
                        self.wfile.write(body[2 << 20 :])

            def _head(self, status: int, length: int, span: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", '"same"')
                if span:
                    self.send_header("Content-Range", span)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/image.qcow2"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


async def test_in_a_download(site: JobSite, tmp_path: Path) -> None:
    before = site.left()
    web = SlowImage(site.lab.image.read_bytes() + bytes(1 << 20))
    try:
        job = await site.begin(site.creation("web", image=web.url))
        jobs = site.engine.jobs
        await site.watched.until(lambda: jobs.get(job.id).progress.done > 0, "bytes came")
        jobs.cancel(job.id)
        await cancelled(site, job)
        assert site.left() == before
        # And what had come is no obstacle for the next.
        web.go_on.set()
        again = await site.do(site.creation("web", image=web.url))
        assert again.state is JobState.DONE, again.error
    finally:
        web.close()


async def test_in_an_upload(site: JobSite, tmp_path: Path) -> None:
    before = site.left()
    other = tmp_path / "other.qcow2"
    other.write_bytes(site.lab.image.read_bytes() + bytes(1 << 20))
    site.host.slow_link(20_000)
    job = await site.begin(site.creation("slow", image=str(other)))
    jobs = site.engine.jobs
    await site.watched.until(lambda: jobs.get(job.id).progress.done > 0, "bytes move")
    jobs.cancel(job.id)
    await cancelled(site, job)
    site.host.slow_link(None)
    assert site.left() == before


@pytest.mark.parametrize("copy", [False, True])
async def test_between_any_two_steps_and_in_the_middle_of_each(site: JobSite, copy: bool) -> None:
    before = site.left()
    jobs = site.engine.jobs

    plan = await site.plan(site.creation("new", copy=copy, autostart=True))
    moments = [(step.id, moment(step.id)) for step in plan.steps for moment in (begun, is_done)]
    for step, occasion in moments[:-1]:  # after the last there is nothing to cancel
        number: list[str] = []
        site.when(occasion, lambda: jobs.cancel(number[0]))  # noqa: B023 - it is called in this turn
        job = await jobs.submit(plan)
        number.append(job.id)
        await cancelled(site, job)
        assert site.left() == before, step


async def held(site: JobSite) -> int:
    """The host's program that copies disks, stopped in the middle; its number."""
    found: list[int] = []

    def hold() -> bool:
        found.extend(site.host.pids("qemu-img"))
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        return bool(found)

    await site.watched.until(hold, "the host copies")
    return found[0]


async def test_in_a_copy_that_the_host_can_not_stop(site: JobSite) -> None:
    """It is waited for, and then taken away. Undisturbed it takes its time, and is well."""
    big = site.host.inside("/srv/local/big.img")
    big.write_bytes(os.urandom(1 << 20) * 160)
    site.host.virsh("pool-refresh local")
    await site.watched.until(
        lambda: any(each.name == "big.img" for each in site.watched.host("hv1").volumes), "the volume"
    )
    before = site.left()
    jobs = site.engine.jobs
    job = await site.begin(site.creation("new", image="local/big.img", copy=True))
    pid = await held(site)
    jobs.cancel(job.id)
    await site.watched.until(lambda: "waiting for what was" in jobs.get(job.id).progress.text, "it waits")
    os.kill(pid, signal.SIGCONT)
    await cancelled(site, job)
    assert site.left() == before
    job = await site.begin(site.creation("new", image="local/big.img", copy=True))
    pid = await held(site)
    await asyncio.sleep(1.2)  # longer than between two looks at how far it is
    os.kill(pid, signal.SIGCONT)
    ended = await jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.error


async def test_in_a_clone_that_copies(site: JobSite) -> None:
    before = site.left()
    jobs = site.engine.jobs
    plan = await site.plan(CloneVm(vm=site.ref("first"), name="copy"))
    for step in plan.steps[:-1]:
        number: list[str] = []
        site.when(begun(step.id), lambda: jobs.cancel(number[0]))  # noqa: B023 - it is called in this turn
        job = await jobs.submit(plan)
        number.append(job.id)
        await cancelled(site, job)
        assert site.left() == before, step.id


async def test_while_it_waits_for_its_guest(site: JobSite) -> None:
    """A guest without a network is never ready."""
    site.host.virsh("net-destroy default", "net-start default")
    before = site.left()
    action = site.creation("new", start=True, ready="ssh", ready_within=200.0)
    job = await site.begin(action)
    jobs = site.engine.jobs
    await site.watched.until(
        lambda: "waiting for" in jobs.get(job.id).progress.text and jobs.get(job.id).progress.total == 200,
        "it waits for its guest",
    )
    assert "running" in site.host.virsh("domstate new")
    jobs.cancel(job.id)
    await cancelled(site, job)
    assert site.left() == before
    assert site.host.pids("qemu-system-x86_64") == []


async def test_cancelled_by_another_process_in_the_middle(site: JobSite, small_lab: Lab) -> None:
    """Who has the journal can cancel what another process runs."""
    before = site.left()
    job = await site.begin(site.creation("new", start=True, ready="ssh", ready_within=200.0))
    jobs = site.engine.jobs
    await site.watched.until(lambda: jobs.get(job.id).progress.total == 200, "it waits for its guest")
    async with job_site(small_lab) as other:
        await other.engine.jobs.open()
        assert other.engine.jobs.get(job.id).state is JobState.RUNNING
        other.engine.jobs.cancel(job.id)
        ended = await other.engine.jobs.wait(job.id)
    assert ended.state is JobState.CANCELLED
    await cancelled(site, job)
    assert site.left() == before


async def test_a_snapshot_cancelled_in_the_middle_is_none(site: JobSite) -> None:
    jobs = site.engine.jobs
    for occasion in (begun("snapshot"), is_done("snapshot")):
        number: list[str] = []
        site.when(occasion, lambda: jobs.cancel(number[0]))  # noqa: B023 - it is called in this turn
        job = await jobs.submit(await site.plan(CreateSnapshot(vm=site.ref("first"), name="s")))
        number.append(job.id)
        await cancelled(site, job)
        assert site.host.virsh("snapshot-list first --name").split() == []
