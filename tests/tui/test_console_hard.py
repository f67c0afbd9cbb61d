"""What the demo can't show: hostile names, hung hosts, ten thousand rows."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tui.console import console
from tui.feeder import Feeder, event, host, pool, small_fleet, vm
from virtfleet.model import Freshness, HostState, PoolState

LONG = "x" * 250
HOSTILE = [
    "[red]x\ufffd[2J",
    "[/]",
    "[link=file:///etc/passwd]a[/link]",
    "漢字の名前" * 6,
    LONG,
    "{{$(reboot)}}",
    "&lt;b&gt;",
]


async def test_hostile_names_are_shown_and_break_nothing(tmp_path: Path) -> None:
    vms = [vm(n, name=name, title=name, description=name, tags=(name,)) for n, name in enumerate(HOSTILE, 1)]
    feeder = Feeder(host("[bold]hv[/bold]", vms, reason="[blink]why", state=HostState.SLOW))
    for name in HOSTILE:
        feeder.happen(event("[bold]hv[/bold]", "[red]started", name))
    async with console(feeder, tmp_path) as hands:
        text = hands.text
        assert "[red]x�[2J" in text
        assert "[bold]hv[/bold]" in text
        assert "[link=file:///e" in text
        assert all(len(line) <= 120 for line in text.split("\n"))
        await hands.press("2")
        for _ in vms:
            await hands.press("j", "enter")
            assert "[bold]hv[/bold]" in hands.text
            await hands.press("y", "escape", "escape")
        await hands.press("7", "escape", "6")
        assert "[red]started" in hands.text
        await hands.press("escape", "2", "/", *"[red", "enter")
        assert "filter [red" in hands.text
        assert hands.overview.panel_of("vms").grid.shown >= 1


async def test_a_host_that_hangs_turns_stale_and_the_rest_goes_on(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path, (200, 60)) as hands:
        old = feeder.snapshot.hosts["hv01"]
        late = time.monotonic() - 30
        feeder.change(
            "hv01",
            state=HostState.HUNG,
            reason="libvirtd is stopped",
            cure="systemctl restart libvirtd",
            freshness=type(old.freshness)(late, late, late, late),
        )
        feeder.push(host("hv02", [vm(11, name="fresh-one", cpu=99)]))
        await hands.settle()
        await hands.until("fresh-one")
        lines = hands.text.split("\n")
        row = next(line for line in lines if "vm-00001" in line)
        assert " 30s" in row or " 31s" in row
        await hands.until("hosts 1/4")
        fresh = next(line for line in lines if "fresh-one" in line)
        assert "30s" not in fresh


async def test_what_changes_seldom_is_not_stale_for_that(tmp_path: Path) -> None:
    feeder = small_fleet()
    old = time.monotonic() - 8
    feeder.change("hv01", freshness=Freshness(old, old, old, old))
    async with console(feeder, tmp_path) as hands:
        # A sample of load alone: the pools are those of before, but their host answers.
        feeder.push(
            msgspec.structs.replace(
                feeder.snapshot.hosts["hv01"], freshness=Freshness(time.monotonic(), old, old, old)
            ),
            frozenset({"stats"}),
        )
        await hands.settle()
        pools = hands.overview.panel_of("pools")
        stale = pools.noun.stale_in(feeder)
        ages = {row.members[0][0].name: stale(row) for row in pools.grid.rows}
        assert ages["hv01"] is None
        assert ages["hv03"] is not None


async def test_a_shared_pool_is_one_row_and_an_inactive_one_says_so(tmp_path: Path) -> None:
    shared = [pool(name, "nfs", "netfs:srv:/a") for name in ("hv01", "hv02")]
    off = pool("hv02", "old", state=PoolState.INACTIVE)
    feeder = Feeder(host("hv01", pools=(shared[0],)), host("hv02", pools=(shared[1], off)))
    feeder.change(
        "hv02", pools=(shared[1], type(off)(off.uuid, "old", "dir", PoolState.INACTIVE, "local:hv02:/old"))
    )
    async with console(feeder, tmp_path) as hands:
        assert hands.overview.panel_of("pools").grid.total == 2
        assert "inactive on hv02" in hands.text
        await hands.press("3", "/", *"nfs", "enter", "enter")
        assert "hv01" in hands.text
        assert "hv02" in hands.text


async def test_ten_thousand_rows(tmp_path: Path) -> None:
    hosts = [host(f"hv{h:03d}", [vm(h * 20 + n, cpu=n) for n in range(20)]) for h in range(500)]
    feeder = Feeder(*hosts)
    async with console(feeder, tmp_path) as hands:
        grid = hands.overview.panel_of("vms").grid
        assert grid.total == 10_000
        assert "VMs 10,000/10,000" in hands.text.split("\n")[0]
        await hands.press("2", "G")
        key = grid.selected_key
        for number in range(0, 500, 5):
            feeder.push(host(f"hv{number:03d}", [vm(number * 20 + n, cpu=50 + n) for n in range(20)]))
        await hands.settle()
        assert grid.selected_key == key
        first = grid.get(("hv000", vm(3).uuid))
        assert first is not None
        assert first.vm.stats.cpu_pct == 53
        await hands.press("/", *"cpu>60", "enter")
        assert grid.shown == 100 * 9
