"""`:capacity`, `:projects`, `:groups`, placement explained, broken rules: on small and large screens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tui.console import console
from tui.feeder import GIB, Feeder, host, vm
from virtfleet.config.demo import demo_fleet
from virtfleet.config.settings import (
    AllocationRatio,
    Flavor,
    FleetSettings,
    GroupSettings,
    HostSettings,
    Project,
    Quota,
)
from virtfleet.engine import Engine
from virtfleet.model import HostState, Vm
from virtfleet.model.action import CreateVm
from virtfleet_tui.dialogs.create import CreateDialog
from virtfleet_tui.dialogs.plan import PlanDialog
from virtfleet_tui.panels import decided
from virtfleet_tui.screens.decided import CapacityScreen, GroupsScreen, ProjectsScreen
from virtfleet_tui.screens.detail import Detail
from virtfleet_tui.screens.placement import PlacementScreen

SIZES = pytest.mark.parametrize("size", [(80, 24), (200, 60)])
SMALL, LARGE = (80, 24), (200, 60)
FLAVORS = {"small": Flavor(vcpus=1, memory=GIB), "big": Flavor(vcpus=8, memory=30 * GIB)}


def _vm(number: int, memory: int = 4, vcpus: int = 4, **info: Any) -> Vm:
    return vm(number, memory_max=memory * GIB, vcpus_max=vcpus, **info)


def _settings(names: tuple[str, ...] = ("hv01", "hv02", "hv03"), **more: object) -> FleetSettings:
    ratio = AllocationRatio(cpu=1.0)
    hosts = {
        name: HostSettings(name=name, uri="", zone="b" if name == "hv03" else "a", allocation_ratio=ratio)
        for name in names
    }
    return FleetSettings(**({"name": "test", "hosts": hosts, "flavors": FLAVORS} | more))  # type: ignore[arg-type]


def _fleet(**more: object) -> Feeder:
    """Three hosts of 16 CPUs and 64 GiB: one nearly empty, one half full, one with a VM that fills it."""
    return Feeder(
        host("hv01", [_vm(1)]),
        host("hv02", [_vm(2, memory=16), _vm(3, memory=16)]),
        host("hv03", [_vm(4, memory=62, vcpus=1, name="giant")]),
        settings=_settings(**more),  # type: ignore[arg-type]
    )


# ---- room


@SIZES
async def test_capacity_tells_how_many_more_fit_and_what_a_death_would_mean(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with console(_fleet(), tmp_path, size) as hands:
        await hands.command("capacity")
        await hands.until("giant")
        assert hands.shows(CapacityScreen)
        found = {row.key: row for row in hands.screen.query_one("#capacity").rows}
        # By memory 60, 32 and 2 GiB are left, by CPUs 12, 8 and 15.
        assert [found["host", name].fits["small"] for name in ("hv01", "hv02", "hv03")] == [12, 8, 2]
        assert [found["host", name].fits["big"] for name in ("hv01", "hv02", "hv03")] == [1, 1, 0]
        assert found["fleet", "now"].fits == {"small": 22, "big": 2}
        assert (found["zone", "a"].fits, found["zone", "b"].fits) == (
            {"small": 20, "big": 2},
            {"small": 2, "big": 0},
        )
        # If hv03 died, its VM would find no place: no more may be added.
        assert found["N+1", "any host dies"].fits == {"small": 0, "big": 0}
        assert [found["host", name].homeless for name in ("hv01", "hv02", "hv03")] == [0, 0, 1]
        lines = hands.text.split("\n")
        assert "N+1 broken: 1 VM of 1 host homeless" in lines[1]
        assert "capacity, N+1 broken" in lines[0]
        assert any("hv03" in line and "✖ 1 VM" in line for line in lines)
        assert any("hv01" in line and "● borne" in line and " 12 " in line for line in lines)
        assert any("giant" in line and "hv03" in line and "62.0G" in line for line in lines)
        if size == LARGE:
            assert any("hv03" in line and "97 %" in line for line in lines)
        await hands.press("tab", "enter")  # the VM that would be left
        assert hands.shows(Detail)
        assert hands.screen.title_text == "vm giant on hv03"


async def test_capacity_filters_sorts_and_goes_to_hosts(tmp_path: Path) -> None:
    async with console(_fleet(), tmp_path, SMALL) as hands:
        await hands.press("9")
        await hands.until("● borne")
        await hands.command("filter where=host small>5")
        assert [row.name for row in hands.screen.query_one("#capacity").rows] == ["hv01", "hv02"]
        await hands.command("sort small")
        assert [row.name for row in hands.screen.query_one("#capacity").rows] == ["hv01", "hv02"]
        await hands.press("O")
        assert [row.name for row in hands.screen.query_one("#capacity").rows] == ["hv02", "hv01"]
        await hands.press("enter")
        assert hands.screen.title_text.startswith("host hv0")


async def test_capacity_follows_the_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "_EVERY", 0.05)
    fleet = _fleet()
    async with console(fleet, tmp_path, SMALL) as hands:
        await hands.command("capacity")
        await hands.until("N+1 broken")
        fleet.change("hv03", vms=(_vm(4, memory=2, name="giant"),))
        await hands.until("N+1 holds: any host may die")
        await hands.until("Every VM would find a place")
        row = hands.screen.query_one("#capacity").get(("N+1", "any host dies"))
        assert row.fits["big"] == 2  # hv03 takes one now; the worst death is that of a host with one


async def test_without_flavors_n_plus_1_is_told_all_the_same(tmp_path: Path) -> None:
    async with console(_fleet(flavors={}), tmp_path, SMALL) as hands:
        await hands.command("capacity")
        assert "✖ 1 VM" in await hands.until("giant")


@SIZES
async def test_a_hosts_page_says_how_many_more_fit(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(_fleet(), tmp_path, size) as hands:
        await hands.press("enter")
        assert hands.shows(Detail)
        for _ in range(100):
            text = str(hands.screen.query_one("#facts").query_one("Static").content)
            if "Room for more VMs" in text:
                break
            await hands.pilot.pause(0.02)
        lines = text.split("\n")
        at = lines.index("Room for more VMs")
        assert [line.split() for line in lines[at + 1 : at + 3]] == [["small", "12"], ["big", "1"]]


# ---- projects and groups

PROJECTS = {
    "web": Project(quota=Quota(vcpus=4, memory=100 * GIB)),
    "ci": Project(quota=Quota(vcpus=8, vms=20)),
    "idle": Project(quota=Quota(vms=0)),
}


@SIZES
async def test_projects_show_used_and_limit_and_who_is_over(tmp_path: Path, size: tuple[int, int]) -> None:
    # vm() gives every third VM to web, ci and db.
    fleet = _fleet(projects=PROJECTS)
    async with console(fleet, tmp_path, size) as hands:
        await hands.press("0")
        await hands.until("● within")
        assert hands.shows(ProjectsScreen)
        lines = hands.text.split("\n")

        def line(name: str) -> str:
            return next(
                each for each in lines if f" {name} " in each and ("within" in each or "over" in each)
            )

        # ci: 1 and 4 of 4 and 1 vCPUs; web: 3 alone; db: 2, which the fleet file does not know.
        assert "● within" in line("ci")
        assert "5/8" in line("ci")
        assert "● within" in line("web")
        assert "4/4" in line("web")
        assert "16.0G/100G" in line("web")
        assert "4 " in line("db")
        assert "/" not in line("db")
        fleet.change("hv01", vms=(_vm(1), _vm(6, memory=1)))
        hands.screen.panel._next = 0.0
        hands.screen.panel.show_fleet(fleet.snapshot, None)
        await hands.until("! over")
        lines = hands.text.split("\n")
        assert "8/4" in line("web")
        await hands.press("f")  # only those in trouble
        assert [row.name for row in hands.screen.query_one("#projects").rows] == ["web"]
        await hands.until("over its quota of vcpus")
        await hands.press("enter")
        assert sorted(hands.names("vms")) == ["vm-00003", "vm-00006"]


async def test_the_default_project_is_that_of_vms_that_name_none(tmp_path: Path) -> None:
    fleet = Feeder(
        host("hv01", [_vm(1, project=""), _vm(2, project="default"), _vm(3)]), settings=_settings(("hv01",))
    )
    async with console(fleet, tmp_path, SMALL) as hands:
        await hands.command("projects default")
        await hands.until("● within")
        await hands.press("enter")
        assert sorted(hands.names("vms")) == ["vm-00001", "vm-00002"]


GROUPS = {
    "pair": GroupSettings(policy="anti-affinity"),
    "wish": GroupSettings(policy="soft-affinity"),
    "fine": GroupSettings(policy="affinity"),
}


def _grouped() -> Feeder:
    return Feeder(
        host(
            "hv01",
            [_vm(1, group="pair", name="db-1"), _vm(2, group="pair", name="db-2"), _vm(3, group="wish")],
        ),
        host("hv02", [_vm(4, group="wish"), _vm(5, group="fine"), _vm(6, group="other")]),
        settings=_settings(("hv01", "hv02"), groups=GROUPS),
    )


@SIZES
async def test_groups_show_what_is_broken(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(_grouped(), tmp_path, size) as hands:
        await hands.command("groups")
        await hands.until("✖ broken")
        assert hands.shows(GroupsScreen)
        names = [row.name for row in hands.screen.query_one("#groups").rows]
        assert names == ["pair", "wish", "other", "fine"]  # the worst first
        lines = hands.text.split("\n")
        for name, word in (
            ("pair", "✖ broken"),
            ("wish", "! not met"),
            ("other", "○ unknown"),
            ("fine", "● kept"),
        ):
            assert any(f" {name} " in line and word in line for line in lines), name
        await hands.until("2 of them on hv01, at most 1: db-1, db-2")
        await hands.press("enter")
        assert hands.names("vms") == ["db-1", "db-2"]


@SIZES
async def test_broken_rules_are_alerts_and_counted(tmp_path: Path, size: tuple[int, int]) -> None:
    fleet = _grouped()
    async with console(fleet, tmp_path, size) as hands:
        await hands.until("✖ alerts 2")
        await hands.press("7")
        rows = hands.screen.query_one("#alerts").rows
        assert [(row.alert.severity, row.alert.kind, row.alert.host) for row in rows] == [
            ("error", "group-broken", "hv01"),
            ("warning", "group-not-met", "hv02"),
        ]
        await hands.until("anti-affinity of group pair is broken: 2 of them on hv01, at most 1: db-1")
        await hands.until("try: w shows where else db-2 could be")
        await hands.press("w")
        assert hands.shows(PlacementScreen)
        await hands.until("Hosts for db-2")
        await hands.command("alerts")
        fleet.change("hv01", vms=(_vm(1, group="pair", name="db-1"),))
        await hands.until("All is well")


# ---- placement explained


def _explained() -> Feeder:
    return Feeder(
        host("hv01", [_vm(1, name="web-1", memory=8)]),
        host("hv02", [_vm(2, memory=60)]),
        host(
            "hv03", [_vm(3)], state=HostState.HUNG, reason="libvirtd does not answer", cure="look at the host"
        ),
        host("hv04", [_vm(5, vcpus=1, memory=1)]),
        settings=_settings(("hv01", "hv02", "hv03", "hv04")),
    )


@SIZES
async def test_placement_of_a_vm_is_explained(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(_explained(), tmp_path, size) as hands:
        await hands.press("2")
        hands.overview.panel_of("vms").grid.select(("hv01", _vm(1).uuid))
        await hands.press("w")
        assert hands.shows(PlacementScreen)
        await hands.until("● chosen")
        rows = hands.screen.query_one("#cases").rows
        assert [(row.host, row.fits) for row in rows][:2] == [("hv04", True), ("hv01", True)]
        assert {row.host for row in rows[2:]} == {"hv02", "hv03"}
        lines = hands.text.split("\n")
        assert "2 fit, best hv04" in lines[1]
        assert any("hv01 here" in line for line in lines)
        assert any("hv02" in line and "✖ refused" in line for line in lines)
        head = next(line for line in lines if "ANSWER" in line)
        assert ("MEMORY" in head and "NETWORKS" in head) == (size == LARGE)
        assert ("FILTERS" in head) == (size == SMALL)
        hands.screen.query_one("#cases").select("hv02")
        shown = await hands.until("refused by 1 of")
        assert "memory: needs 8.0G, free 4.0G of 64.0G" in shown
        assert "try: take 4.0G" in shown
        hands.screen.query_one("#cases").select("hv03")
        shown = await hands.until("try: look at the host")
        assert "libvirtd does not answer" in shown
        await hands.command("filter giant")  # words are looked for in names and reasons
        assert hands.screen.query_one("#cases").rows == []
        await hands.command("filter refused_by:memory")
        assert [row.host for row in hands.screen.query_one("#cases").rows] == ["hv02"]
        await hands.press("escape", "enter")
        assert hands.screen.title_text.startswith("host ")
        await hands.press("escape", "escape")
        assert not hands.shows(PlacementScreen)


async def test_a_vm_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    fleet = _explained()
    async with console(fleet, tmp_path, SMALL) as hands:
        await hands.command("placement web-1")
        await hands.until("● chosen")
        fleet.change("hv01", vms=())
        hands.screen.panel._next = 0.0
        hands.screen.panel.show_fleet(fleet.snapshot, None)
        await hands.until("web-1 is no longer there")


async def test_placement_needs_a_vm(tmp_path: Path) -> None:
    async with console(_explained(), tmp_path, SMALL) as hands:
        await hands.command("placement")
        assert "which VM's placement?" in hands.text
        await hands.press("escape")
        await hands.press("w")  # a host is selected
        assert not hands.shows(PlacementScreen)


@SIZES
async def test_the_form_of_new_vms_explains_what_it_says_now(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(_explained(), tmp_path, size) as hands:
        await hands.press("ctrl+n")
        assert hands.shows(CreateDialog)
        await hands.write("new")
        hands.screen.query_one("#create-vcpus").value = "1"
        hands.screen.query_one("#create-memory").value = "60GiB"
        await hands.press("ctrl+o")
        assert hands.shows(PlacementScreen)
        await hands.until("1 fit, best hv04")
        hands.screen.query_one("#cases").select("hv01")
        await hands.until("needs 60.0G, free 56.0G of 64.0G")
        await hands.press("1", "enter", ":")  # nothing leads away from the form below
        assert hands.shows(PlacementScreen)
        await hands.press("escape")
        assert hands.shows(CreateDialog)
        assert hands.screen.query_one("#create-memory").value == "60GiB"
        hands.screen.query_one("#create-memory").value = "64TiB"
        await hands.press("ctrl+o")
        await hands.until("no valid host")
        assert all(not row.fits for row in hands.screen.query_one("#cases").rows)
        await hands.press("escape")
        hands.screen.query_one("#create-memory").value = "many"
        await hands.press("ctrl+o")
        assert hands.shows(CreateDialog)
        assert "many" in hands.text


async def test_a_plan_of_new_vms_explains_where_they_go(tmp_path: Path) -> None:
    async with console(_explained(), tmp_path, SMALL) as hands:
        large = CreateVm(name="large", vcpus=1, memory=100 * GIB)
        hands.overview.plan_and_do([("large", large)])  # refused, so that there is something to ask
        await hands.until("w which host and why")
        assert hands.shows(PlanDialog)
        await hands.press("w")
        assert hands.shows(PlacementScreen)
        await hands.until("no valid host")
        await hands.press("escape")
        assert hands.shows(PlanDialog)


async def test_views_without_a_key_are_in_the_palette(tmp_path: Path) -> None:
    async with console(_grouped(), tmp_path, SMALL) as hands:
        await hands.press("ctrl+p", *"groups")
        await hands.until(":groups")
        await hands.press("enter")
        await hands.until("✖ broken")
        assert hands.shows(GroupsScreen)


async def test_five_hundred_hosts_are_explained_and_counted(tmp_path: Path) -> None:
    hosts = [
        host(f"hv{number:03d}", [_vm(number, memory=64 if number % 2 else 4)] if number < 400 else ())
        for number in range(500)
    ]
    names = tuple(each.name for each in hosts)
    async with console(Feeder(*hosts, settings=_settings(names)), tmp_path, SMALL) as hands:
        await hands.command("placement vm-00002")
        await hands.until("● chosen")
        assert "300 fit" in hands.text
        rows = hands.screen.query_one("#cases").rows
        assert [row.fits for row in rows] == [True] * 300 + [False] * 200
        await hands.command("filter memory_ok=no host~^hv00")
        assert [row.host for row in hands.screen.query_one("#cases").rows] == [
            f"hv00{n}" for n in (1, 3, 5, 7, 9)
        ]
        await hands.command("capacity")
        await hands.until("N+1 holds")
        row = hands.screen.query_one("#capacity").get(("fleet", "now"))
        assert row.fits["big"] == 200 + 2 * 100  # by CPUs one beside a VM of 4, two on an empty host


# ---- the demo


async def test_the_demo_has_a_nearly_full_quota_and_a_wish_that_is_not_met(tmp_path: Path) -> None:
    engine = Engine(demo_fleet())
    async with console(engine, tmp_path, LARGE) as hands:
        await engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=60)
        await hands.settle()
        await hands.command("projects")
        await hands.until("210/224")
        shown = hands.text
        assert "100/160" in shown
        assert "588G/640G" in shown
        assert "440G of 768G" in shown
        assert "over" not in {row.name for row in hands.screen.query_one("#projects").rows if row.over}
        await hands.command("groups")
        await hands.until("! not met")
        states = {
            row.name: (len(row.members), bool(row.problems)) for row in hands.screen.query_one("#groups").rows
        }
        assert states["db"] == (8, False)
        assert states["web-front"] == (24, False)
        assert states["api"] == (16, True)
        await hands.command("alerts kind=group-not-met")
        await hands.until("soft-anti-affinity of group api is not met")
        await hands.command("capacity")
        await hands.until("N+1 holds")
        assert await hands.until("XLARGE")
        await hands.press("question_mark")
        await hands.until("Room")
