"""`make screenshots`: the pictures under screenshots/, of the demo fleet and of a lab with faults in it.

Every picture is the real console over the real engine. Those of the lab need
root; without it they are left as they are and a note says so.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from lab.errors import LabError
from lab.fleet import Lab, Plan
from tui.console import Hands, console
from tui.picture import save_png
from virtfleet.config.demo import demo_fleet
from virtfleet.config.load import load
from virtfleet.config.settings import FleetSettings
from virtfleet.engine import Engine
from virtfleet.model import HostState
from virtfleet.model.action import (
    Action,
    CloneVm,
    CreateVm,
    RebootVm,
    ResumeVm,
    ShutdownVm,
    StartVm,
    SuspendVm,
    TagVm,
    VmRef,
)
from virtfleet.model.job import Job
from virtfleet_tui.screens.detail import Detail

FOLDER = Path(__file__).resolve().parents[2] / "screenshots"
SMALL, MIDDLE, LARGE = (80, 24), (120, 36), (200, 60)
_GROUPS = ("stats", "facts", "pools", "volumes", "networks")
_HISTORY = 75.0
"""Seconds of figures that the plots are to show."""
_WIDEST = 130
"""Columns from which a picture is drawn smaller: more than 300 KB is a burden for a repository."""
_PATIENCE = 60.0
"""Seconds until something that has to happen has not happened."""

Pose = Callable[[Hands], Awaitable[None]]
"""What an operator does before the picture is taken."""


class LastingEngine(Engine):
    """An engine that several consoles show, one after another: they neither start nor stop it."""

    async def start(self) -> None:
        """The consoles' start: it runs already."""

    async def stop(self) -> None:
        """The consoles' stop: it goes on."""


@asynccontextmanager
async def running(settings: FleetSettings) -> AsyncIterator[LastingEngine]:
    engine = LastingEngine(settings)
    await Engine.start(engine)
    try:
        await engine.settled(_GROUPS, timeout=_PATIENCE)
        yield engine
    finally:
        await Engine.stop(engine)


async def take(
    engine: Engine,
    name: str,
    pose: Pose | None = None,
    *,
    size: tuple[int, int] = MIDDLE,
    theme: str = "dark",
) -> None:
    """One picture, `name`.png, of a console with nobody's taste but its own."""
    with tempfile.TemporaryDirectory(prefix="virtfleet-pictures-") as folder:
        async with console(engine, Path(folder), size, theme=theme) as hands:
            await hands.settle()
            if pose is not None:
                await pose(hands)
            # The status line counts once a second, the strip waits until the cursor rests.
            await hands.pilot.pause(1.2)
            await hands.settle()
            path = save_png(hands.app, FOLDER / f"{name}.png", zoom=min(1.0, _WIDEST / size[0]))
    print(f"{path.relative_to(FOLDER.parent)}  {size[0]}x{size[1]}  {path.stat().st_size / 1024:.0f} KiB")


async def until(condition: Callable[[], bool], what: str) -> None:
    """TimeoutError, saying `what`, if it does not come true."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110 - nothing tells of it: the condition is over a snapshot
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"never: {what}") from None


# ---- the demo fleet


def _pressing(*keys: str) -> Pose:
    async def pose(hands: Hands) -> None:
        await hands.press(*keys)

    return pose


async def _page_of_a_busy_vm(hands: Hands) -> None:
    await hands.press("2")
    hands.overview.panel_of("vms").grid.sort_by("-cpu_pct")
    await hands.press("g", "enter")


async def _page_of_a_host(hands: Hands) -> None:
    hands.overview.panel_of("hosts").grid.select("hv01")
    await hands.press("enter")


async def _filtering(hands: Hands) -> None:
    await hands.press("2", "z", "/", *"state=running cpu>20 !project=ci")


async def _xml_of_a_vm(hands: Hands) -> None:
    await hands.press("2", "j", "y")
    await hands.until("<domain")


async def _creating(hands: Hands) -> None:
    await hands.press("2", "ctrl+n")
    given = {
        "name": "web-%02d",
        "count": "3",
        "image": "images/debian-12-base.qcow2",
        "flavor": "small",
        "host": "hv06",
        "tags": "web test",
        "project": "web",
    }
    for name, value in given.items():
        hands.screen.query_one(f"#create-{name}").value = value
    await hands.until("memory promised")


async def _deleting(hands: Hands) -> None:
    await hands.press("2", "D", "space", "tab", "space", "tab", "enter")
    await hands.until("Type the name")


async def _capacity(hands: Hands) -> None:
    await hands.press("9")
    await hands.until("N+1 holds")


async def _projects(hands: Hands) -> None:
    await hands.press("0")
    await hands.until("● within")
    hands.screen.query_one("#projects").select("web")


async def _groups(hands: Hands) -> None:
    await hands.command("groups")
    await hands.until("! not met")


async def _placement(hands: Hands) -> None:
    """Of a new VM that is so large, and so bound, that most hosts refuse it, each for its own reason."""
    await hands.press("2", "ctrl+n")
    given = {"name": "db-09", "vcpus": "16", "memory": "140GiB", "disk": "200GiB", "project": "web"}
    for name, value in given.items():
        hands.screen.query_one(f"#create-{name}").value = value
    await hands.press("ctrl+o")
    await hands.until("● chosen")
    hands.screen.query_one("#cases").action_cursor_end()
    await hands.until("refused by")


async def _events(hands: Hands) -> None:
    await hands.press("6")


async def _lively(engine: Engine) -> None:
    """So that events have something to tell."""
    vms = _named(engine, "cache")
    for action in (SuspendVm(vm=vms[0]), RebootVm(vm=vms[1]), ShutdownVm(vm=vms[2])):
        await _do(engine, action)
        await asyncio.sleep(1.5)
    await _do(engine, ResumeVm(vm=vms[0]))
    await _do(engine, StartVm(vm=_named(engine, "worker-08")[0]))


async def demo() -> None:
    async with running(demo_fleet()) as engine:
        await _lively(engine)
        await asyncio.sleep(_HISTORY)
        for size in (SMALL, MIDDLE, LARGE):
            await take(engine, f"overview-{size[0]}x{size[1]}", size=size)
        await take(engine, "overview-light", theme="light")
        await take(engine, "vm", _page_of_a_busy_vm)
        await take(engine, "host", _page_of_a_host)
        await take(engine, "help", _pressing("question_mark"))
        await take(engine, "help-jobs", _pressing("8", "question_mark"))
        await take(engine, "filter", _filtering)
        await take(engine, "create", _creating)
        await take(engine, "delete", _deleting)
        await take(engine, "events", _events)
        await placement(engine)
        await take(engine, "xml", _xml_of_a_vm)


async def placement(engine: Engine) -> None:
    """What the scheduler knows, as views."""
    await take(engine, "capacity", _capacity)
    await take(engine, "projects", _projects)
    await take(engine, "groups", _groups)
    for size in (SMALL, LARGE):
        await take(engine, f"placement-{size[0]}x{size[1]}", _placement, size=size)


# ---- the lab


async def _at_the_hung_host(hands: Hands) -> None:
    hands.overview.panel_of("hosts").grid.select("hv2")
    await hands.pilot.pause()
    await hands.press("escape")  # what it narrowed widens again


async def _page_of_the_hung_host(hands: Hands) -> None:
    await _at_the_hung_host(hands)
    await hands.press("enter")
    assert hands.shows(Detail)


async def _do(engine: Engine, action: Action, *, cancel: bool = False) -> Job:
    """The job, at its end."""
    job = await engine.apply(await engine.plan(action), origin="console")
    if cancel:
        engine.jobs.cancel(job.id)
    return await engine.jobs.wait(job.id)


async def _jobs(engine: Engine, lab: Lab) -> None:
    """Jobs done, failed, cancelled and under way, on real hosts; and the console of a real guest."""
    small = 16 << 20  # too small for its system: it never answers when it is asked to shut down
    for number, host in enumerate(("hv1", "hv2", "hv3"), 1):
        action = CreateVm(
            name=f"web-{number:02}", image=str(lab.image), memory=small, host=host, pool="local"
        )
        await _do(engine, action)
    await until(lambda: len(_named(engine, "web")) == 3, "the new VMs are seen")
    web = _named(engine, "web")
    await _do(engine, TagVm(vm=web[0], add=("web", "test")))
    await _do(engine, RebootVm(vm=web[1]))
    await _do(engine, ShutdownVm(vm=web[1], wait=2.0))
    clone = CloneVm(vm=_named(engine, "hv3-vm3")[0], name="copy-1", start=False)
    await _do(engine, clone, cancel=True)
    going = [
        await engine.apply(await engine.plan(ShutdownVm(vm=vm, wait=300.0)), origin="console") for vm in web
    ]
    await until(lambda: all(engine.jobs.get(job.id).progress.step for job in going), "they are under way")
    for size in (SMALL, MIDDLE, LARGE):
        await take(engine, f"jobs-{size[0]}x{size[1]}", _pressing("8"), size=size)
    for job in going:
        engine.jobs.cancel(job.id)
        await engine.jobs.wait(job.id)

    async def talk(hands: Hands) -> None:
        await hands.command("console hv1-vm1@hv1")
        await hands.until("● open")
        for typed, answer in (
            ("", "login:"),
            ("root", "Password:"),
            ("lab", "#"),
            ("uname -sr; ls /", "etc"),
        ):
            await hands.press(*typed, "enter")
            await until(partial(_says, hands, answer), f"the guest says {answer!r}")
            await hands.pilot.pause(1.0)

    await take(engine, "console", talk)


def _says(hands: Hands, text: str) -> bool:
    return text in hands.text


def _named(engine: Engine, start: str) -> list[VmRef]:
    return [
        VmRef(view.name, vm.uuid, vm.name)
        for view in engine.snapshot.hosts.values()
        for vm in view.vms
        if vm.name.startswith(start)
    ]


async def faults(lab: Lab) -> None:
    """A host that hangs, a VM whose monitor does, and a host whose key nobody knows."""
    settings = load(lab.fleet_file)
    async with running(settings) as engine:
        await asyncio.sleep(_HISTORY / 2)
        await _jobs(engine, lab)
        vm = "hv1-vm1"
        await asyncio.to_thread(lab.host("hv1").freeze_vm, vm)
        await until(
            lambda: any(
                each.name == vm and each.stats.monitor_stuck for each in engine.snapshot.hosts["hv1"].vms
            ),
            "the monitor is stuck",
        )

        async def select(hands: Hands) -> None:
            row = next(each for each in engine.snapshot.hosts["hv1"].vms if each.name == vm)
            await hands.press("2")
            hands.overview.panel_of("vms").grid.select(("hv1", row.uuid))

        await take(engine, "vm-monitor-stuck", select)
        await asyncio.to_thread(lab.host("hv1").thaw_vm, vm)
        await asyncio.to_thread(lab.host("hv2").freeze_libvirtd)
        await until(lambda: engine.snapshot.hosts["hv2"].state is HostState.HUNG, "hv2 hangs")
        await asyncio.sleep(10.0)  # its rows are then visibly old
        await take(engine, "host-hung-overview", _at_the_hung_host)
        await take(engine, "host-hung", _page_of_the_hung_host)
        await asyncio.to_thread(lab.host("hv2").thaw_libvirtd)
    await _unknown_key(lab, settings)


async def _unknown_key(lab: Lab, settings: FleetSettings) -> None:
    strange = settings.hosts["hv3"]
    ssh = msgspec.structs.replace(strange.ssh, known_hosts=(str(lab.folder / "known_hosts"),))
    hosts = {**settings.hosts, "hv3": msgspec.structs.replace(strange, ssh=ssh)}
    engine = LastingEngine(msgspec.structs.replace(settings, hosts=hosts))
    await Engine.start(engine)
    try:
        await until(lambda: bool(engine.prompts.pending), "a question about the key of hv3")
        others = [name for name in hosts if name != strange.name]
        # Not `settled`: it waits as long as a person is asked.
        await until(lambda: all(engine.snapshot.hosts[name].vms for name in others), "rows of the others")
        await asyncio.sleep(5.0)
        await take(engine, "host-key-prompt")
    finally:
        await Engine.stop(engine)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="virtfleet-pictures-") as folder:
        os.environ["XDG_STATE_HOME"] = folder  # whose jobs these are is nobody's business
        return _all()


def _all() -> int:
    asyncio.run(demo())
    try:
        lab = Lab.start(Plan())
    except LabError as reason:
        print(f"no pictures of faults: {reason}", file=sys.stderr)
        return 0
    with lab:
        asyncio.run(faults(lab))
    return 0


if __name__ == "__main__":
    sys.exit(main())
