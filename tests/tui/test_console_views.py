"""From view to view: commands, history, object pages, XML, events, alerts, help, palette."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tui.console import console
from tui.feeder import Feeder, event, host, small_fleet, vm
from virtfleet.config.settings import FleetSettings, UiSettings
from virtfleet.errors import ConfigError, DeadlineError
from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.dialogs.columns import ColumnsDialog
from virtfleet_tui.screens.detail import Detail
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.screens.overview import Overview
from virtfleet_tui.screens.xml import XmlScreen
from virtfleet_tui.styles.themes import check


async def test_command_mode_opens_filtered_views(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("vm cpu>30")
        assert hands.shows(OneList)
        assert "3 of 20, filter cpu>30" in hands.text
        await hands.command("volumes")
        assert "disk-0.qcow2" in hands.text
        await hands.command("networks")
        assert "virbr0" in hands.text
        await hands.press("escape")
        assert hands.shows(Overview)


async def test_a_wrong_command_stays_to_be_mended(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("xyzzy")
        assert "no command 'xyzzy'" in hands.text
        assert hands.screen.input_bar.is_open
        await hands.press("escape")
        await hands.command("sort nosuch")
        assert "no field 'nosuch'" in hands.text


async def test_completion(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press(":", *"netw", "tab")
        assert hands.screen.input_bar.line.value == "networks"
        await hands.press("enter")
        assert "virbr0" in hands.text


async def test_history_goes_back_and_forth(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("vms")
        await hands.command("pools")
        await hands.press("[")
        assert hands.screen.title_text == "VMs"
        await hands.press("[")
        assert hands.shows(Overview)
        await hands.press("]", "]")
        assert hands.screen.title_text == "Pools"
        await hands.press("]")
        assert "no view after this one" in hands.text


async def test_into_a_vm_and_out(tmp_path: Path) -> None:
    feeder = small_fleet()
    feeder.happen(event("hv01", "crashed", "vm-00001", 1))
    feeder.happen(event("hv01", "started", "vm-00002", 2))
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "enter")
        assert hands.shows(Detail)
        text = hands.text
        for said in ("vm-00001 on hv01", "● running", "10.0.0.2", "/var/lib/vm/1.qcow2", "Memory", "crashed"):
            assert said in text
        assert "vm-00002" not in text
        await hands.press("escape")
        assert hands.shows(Overview)
        assert hands.overview.panel_of("vms").grid.has_focus


async def test_a_hosts_page_has_its_vms_and_its_trouble(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        hands.overview.panel_of("hosts").grid.select("hv03")
        await hands.press("enter")
        text = hands.text
        assert "libvirtd has not answered for 14 s" in text
        assert "try: Look at the host: systemctl status libvirtd" in text
        assert "VMs on hv03" in text
        assert hands.names("vms") == [f"vm-000{n}" for n in range(21, 27)]
        await hands.press("R")
        assert feeder.reconnected == ["hv03"]
        assert "connecting hv03 anew" in hands.text
        hands.screen.query_one("#vms").focus()
        await hands.press("enter")
        assert hands.screen.place.subject.name == "vm-00021"
        await hands.press("escape", "escape")
        assert hands.shows(Overview)


async def test_an_object_that_goes_away_says_so(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "enter")
        feeder.change("hv01", vms=(vm(2),))
        await hands.settle()
        await hands.until("vm-00001 on hv01 is no longer there")


async def test_pool_page(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("3", "enter")
        text = hands.text
        assert "Seen by" in text
        assert "Volumes in default" in text
        assert hands.screen.query_one("#volumes").total == 3


async def test_xml_with_search(tmp_path: Path) -> None:
    feeder = small_fleet()
    feeder.answer = "<domain>\n" + "  <a b='1'/>\n" * 60 + "  <uuid>[red]x[/red]\x1b[2J</uuid>\n</domain>"
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "y")
        assert hands.shows(XmlScreen)
        await hands.until("<domain>")
        assert feeder.requests == [("hv01", "vm.xml", {"uuid": vm(1).uuid})]
        assert "uuid" not in hands.text
        await hands.press("/", *"UUID", "enter")
        assert "[red]x[/red]�[2J" in hands.text
        assert "1 of 2" in hands.text
        await hands.press("n")
        assert "2 of 2" in hands.text
        await hands.press("escape", "escape")
        assert hands.shows(Overview)


async def test_xml_that_cannot_be_had(tmp_path: Path) -> None:
    feeder = small_fleet()
    feeder.answer = DeadlineError("hv01 did not answer in 10 s", cure="wait, or reconnect it")
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "y")
        await hands.until("✖ hv01 did not answer in 10 s")
        assert "try: wait, or reconnect it" in hands.text
        feeder.answer = "<now/>"
        await hands.press("y")
        await hands.until("<now/>")


async def test_events(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("6")
        assert "Nothing has happened in the fleet" in hands.text
        feeder.happen(event("hv01", "started", "web"))
        feeder.happen(event("hv02", "crashed", "db"))
        await hands.settle()
        assert "✖" in await hands.until("crashed")
        await hands.press("/", *"web", "enter")
        assert "crashed" not in hands.text
        assert "1 of 2, filter web" in hands.text
        await hands.press("escape", "o")
        assert "Sort Events by" in hands.text


async def test_events_are_a_list_newest_first_that_leads_to_the_objects(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        for number in range(1, 5):
            feeder.happen(event("hv01", "started", f"vm-{number:05d}", number))
        await hands.command("events what=started")
        rows = [row.name for row in hands.screen.panel.grid.rows]
        assert rows == ["vm-00004", "vm-00003", "vm-00002", "vm-00001"]
        feeder.happen(event("hv01", "crashed", "vm-00005", 5))
        feeder.happen(event("hv01", "started", "vm-00006", 6))
        await hands.until("vm-00006")
        assert hands.screen.panel.grid.rows[0].name == "vm-00006"
        assert hands.screen.panel.grid.shown == 5
        await hands.press("f")
        assert "faults only" in hands.text
        await hands.press("f", "j", "enter")
        assert hands.screen.title_text == "vm vm-00004 on hv01"
        await hands.press("e")
        assert "Events of vm-00004 on hv01" in hands.text
        assert hands.screen.panel.grid.shown == 1


async def test_alerts_can_be_filtered(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("7", "/", *"kind=hung", "enter")
        assert [row.alert.host for row in hands.screen.panel.grid.rows] == ["hv03"]
        assert "1 of 3, filter kind=hung" in hands.text
        await hands.press("escape")
        await hands.command("alerts severity=warning")
        assert [row.alert.host for row in hands.screen.panel.grid.rows] == ["hv02"]
        await hands.command("alerts nonsense=1")
        assert "no field" in hands.text


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_alerts_say_what_to_try_and_lead_there(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(small_fleet(), tmp_path, size) as hands:
        await hands.press("7")
        text = await hands.until("try: Look at the host")
        assert text.index("hv03") < text.index("hv02")
        assert "TROUBLE" in text
        assert "HOST" in text
        assert "✖ hv03: libvirtd does not answer: libvirtd has not answered for 14 s" in text
        await hands.press("enter")
        assert hands.screen.title_text == "host hv03"


async def test_help_tells_the_keys_of_here(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path, (120, 50)) as hands:
        await hands.press("?")
        assert "Keys in overview" in hands.text
        assert "shift-tab" in hands.text
        await hands.press("escape", "2", "y", "?")
        assert "Keys in XML" in hands.text
        assert "Choose what to sort by" not in hands.text


async def test_help_explains_the_signs_of_what_is_seen(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path, (120, 120)) as hands:
        await hands.command("vms")
        await hands.press("?")
        assert "States of VMs" in hands.text
        assert "✖ monitor stuck" in hands.text
        assert "States of hosts" not in hands.text
        await hands.press("escape", "7", "?")
        assert "How bad it is" in hands.text
        assert "States of VMs" not in hands.text


async def test_palette_runs_commands_by_name(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("ctrl+p")
        await hands.write("theme light")
        await hands.pilot.pause(0.3)
        await hands.press("enter")
        await hands.pilot.pause(0.2)
        assert hands.app.theme == "virtfleet-light"
        await hands.press("C", "ctrl+p")
        assert hands.shows(ColumnsDialog)


async def test_only_themes_that_fit_our_styles(tmp_path: Path) -> None:
    settings = FleetSettings(hosts={}, name="test", ui=UiSettings(theme="light"))
    feeder = Feeder(host("hv1"), settings=settings)
    async with console(feeder, tmp_path) as hands:
        assert hands.app.theme == "virtfleet-light"
        await hands.command("theme solarized-dark")
        assert "no theme 'solarized-dark': dark or light" in hands.text
        await hands.press("escape")
        await hands.command("theme dark")
        assert hands.app.theme == "virtfleet-dark"
        assert "the fleet file asks for light at each start" in hands.text
    async with console(feeder, tmp_path) as hands:
        assert hands.app.theme == "virtfleet-light"
    async with console(feeder, tmp_path, theme="Dark") as hands:
        assert hands.app.theme == "virtfleet-dark"


def test_a_wrong_theme_is_named_with_its_place() -> None:
    check("", "--theme")
    check("Light", "--theme")
    with pytest.raises(ConfigError, match=r"^--theme: no theme 'nord'"):
        check("nord", "--theme")


async def test_sort(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2")
        await hands.command("sort cpu")
        assert hands.names("vms")[0] == "vm-00008"
        assert "by cpu ▾" in hands.text
        await hands.press("O")
        assert "by cpu ▴" in hands.text
        await hands.press("o")
        assert "Sort VMs by" in hands.text
        await hands.press("k", "k", "k", "k", "enter")
        assert hands.overview.panel_of("vms").grid.sort[0] == "name"


@pytest.mark.parametrize("opens", ["o", "C", "?"])
async def test_a_key_that_repeats_answers_a_dialog_once(tmp_path: Path, opens: str) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2", opens)
        for key in ("enter", "enter", "escape"):
            hands.app.simulate_key(key)
        await hands.pilot.pause(0.2)
        assert hands.app.is_running
        assert not isinstance(hands.screen, Dialog)


async def test_taste_is_kept(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("theme light")
        await hands.press("2")
        await hands.command("columns name cpu state")
        assert hands.overview.panel_of("vms").grid.columns == ("name", "cpu_pct", "state")
        await hands.press("C", "+", "J", "enter")
        assert hands.overview.panel_of("vms").grid.columns == ("cpu_pct", "name", "state")
    async with console(small_fleet(), tmp_path) as hands:
        assert hands.app.theme == "virtfleet-light"
        grid = hands.overview.panel_of("vms").grid
        assert grid.columns == ("cpu_pct", "name", "state")
        await hands.press("2", "C", "0")
        assert len(grid.columns) > 3


async def test_leaving_the_column_dialog_changes_nothing(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        grid = hands.overview.panel_of("vms").grid
        before = grid.columns
        await hands.press("2", "C", "space", "J")
        assert grid.columns != before
        await hands.press("escape")
        assert grid.columns == before


async def test_figures_of_a_silent_host_are_not_called_now(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("j", "j", "enter")
        assert re.search(r"Last seen \d+ seconds ago", await hands.until("Last seen"))


async def test_an_identifier_is_never_broken(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2", "enter")
        assert vm(1).uuid in await hands.until("uuid")


async def test_a_dragged_width_is_kept(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("vms")
        grid = hands.screen.panel.grid
        column = next(each for each in grid._columns if each.field.name == "host")
        edge = column.x + column.width
        await hands.pilot.mouse_down(grid, offset=(edge, 0))
        await hands.pilot.hover(grid, offset=(edge + 5, 0))
        await hands.pilot.mouse_up(grid, offset=(edge + 5, 0))
        await hands.pilot.pause()
    async with console(small_fleet(), tmp_path) as hands:
        await hands.command("vms")
        [again] = [each for each in hands.screen.panel.grid._columns if each.field.name == "host"]
        assert again.width == column.width + 5


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_list_ends_above_the_line_that_is_typed(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(small_fleet(), tmp_path, size) as hands:
        await hands.press("2", *("z" if size[0] >= 100 else ""), "/", "v", "m")
        panel = hands.overview.panel
        assert panel.region.bottom == hands.screen.input_bar.region.y
        await hands.press("escape")
        assert panel.region.bottom == hands.screen.query_one("#key-bar").region.y
