"""The console on the real engine, over the demo fleet: real workers, real libvirt, simulated figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.console import console
from virtfleet.config.demo import demo_fleet
from virtfleet.engine import Engine


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_the_demo_fleet_is_all_there(tmp_path: Path, size: tuple[int, int]) -> None:
    engine = Engine(demo_fleet(hosts=3, vms=30))
    async with console(engine, tmp_path, size) as hands:
        await engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30)
        await hands.until("hosts 3/3")
        await hands.settle()
        overview = hands.overview
        assert overview.panel_of("hosts").grid.total == 3
        assert overview.panel_of("vms").grid.total == 30
        assert overview.panel_of("pools").grid.total > 0 or await hands.until("Pools")
        assert "demo, simulated" in hands.text.split("\n")[0]


async def test_xml_of_a_real_domain(tmp_path: Path) -> None:
    engine = Engine(demo_fleet(hosts=1, vms=3))
    async with console(engine, tmp_path) as hands:
        await engine.settled(timeout=30)
        await hands.settle()
        await hands.press("2", "y")
        await hands.until("<domain type='test'")
        await hands.press("escape", "enter")
        await hands.until("● running")
        for view, said in (
            ("volumes", "SIZE"),
            ("networks", "FORWARD"),
            ("events", "Events"),
            ("alerts", "Alerts"),
        ):
            await hands.command(view)
            await hands.until(said)
