"""The first view: what it shows at each size, how hosts narrow it, and how every step goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.console import console
from tui.feeder import Feeder, host, small_fleet, vm
from virtfleet_tui.panels.strip import Strip

SIZES = [(80, 24), (120, 36), (200, 60), (250, 70)]


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_shows_what_matters(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(small_fleet(), tmp_path, size) as hands:
        text = hands.text
        lines = text.split("\n")
        assert len(lines) == size[1]
        assert "hosts 2/4" in lines[0]
        assert "alerts 3" in lines[0]
        assert "✖ hung" in text
        assert "? help" in lines[-1]
        assert "enter open" in lines[-1]
        single = size[0] < 100
        assert ("1 Hosts   2 VMs   3 Pools" in text) == single
        assert ("─ VMs" in text) != single
        assert ("─ Pools" in text) != single


async def test_wide_screens_get_more_columns(tmp_path: Path) -> None:
    shown = {}
    for size in SIZES[1:]:
        async with console(small_fleet(), tmp_path / str(size), size) as hands:
            shown[size] = len(hands.overview.panel_of("vms").grid.columns)
    assert shown[120, 36] < shown[200, 60] <= shown[250, 70]


async def test_small_screens_show_one_panel_at_a_time(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path, (80, 24)) as hands:
        assert "vm-00001" not in hands.text
        await hands.press("2")
        assert "vm-00001" in hands.text
        assert "✖ hung" not in hands.text
        await hands.press("tab")
        assert "● default" in hands.text
        await hands.press("shift+tab", "1")
        assert "✖ hung" in hands.text


async def test_a_host_in_trouble_says_why(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        line = next(each for each in hands.text.split("\n") if "✖ refused" in each)
        assert "the host key changed" in line
        assert "never" in line
        await hands.press("j", "j")
        text = await hands.until("try: Look at the host")
        assert "libvirtd has not answered for 14 s" in text


@pytest.mark.parametrize(("size", "zoomed"), [((80, 24), False), ((110, 31), False), ((120, 36), True)])
async def test_where_there_is_no_room_for_plots_trouble_is_still_told(
    tmp_path: Path, size: tuple[int, int], zoomed: bool
) -> None:
    async with console(small_fleet(), tmp_path, size) as hands:
        if zoomed:
            await hands.press("z")
        assert not hands.overview.query_one(Strip).display
        await hands.press("j", "j")
        text = await hands.until("try: Look at the host")
        assert "libvirtd has not answered for 14 s" in text
        assert "no samples" not in text
        assert "CPU  ━" not in text
        await hands.press("k", "k")
        await hands.pilot.pause(0.2)
        assert not hands.overview.query_one(Strip).display
        if zoomed:
            await hands.press("z")
            await hands.until("CPU  ━")


async def test_faults_first_is_asked_for_and_kept(tmp_path: Path) -> None:
    rest = ["hv01", "hv02", "hv03", "hv04"]
    async with console(small_fleet(), tmp_path) as hands:
        assert hands.names("hosts") == rest
        assert "faults first" not in hands.text
        await hands.press("F")
        assert hands.names("hosts") == ["hv02", "hv03", "hv04", "hv01"]
        assert "4, faults first, by name" in hands.text
        assert not hands.overview.panel_of("vms").grid.faults_first
    async with console(small_fleet(), tmp_path) as hands:
        assert hands.names("hosts") == ["hv02", "hv03", "hv04", "hv01"]
        await hands.command("faults first")
        assert hands.names("hosts") == rest
        await hands.command("faults")
        assert hands.names("hosts") == ["hv02", "hv03", "hv04"]
        await hands.command("faults last")
        assert "faults alone, or faults first" in hands.text


async def test_the_cursor_on_a_host_narrows_and_escape_widens(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        vms, pools = hands.overview.panel_of("vms"), hands.overview.panel_of("pools")
        assert vms.grid.total == 20
        await hands.press("j", "j")
        assert vms.scope == frozenset({"hv03"})
        assert (vms.grid.total, pools.grid.total) == (6, 1)
        assert "VMs on hv03" in hands.text
        assert "Pools on hv03" in hands.text
        await hands.press("escape")
        assert not vms.scope
        assert (vms.grid.total, pools.grid.total) == (20, 3)
        await hands.press("escape")
        assert hands.app.is_running


async def test_marked_hosts_narrow_to_all_of_them(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        vms = hands.overview.panel_of("vms")
        grid = hands.overview.panel_of("hosts").grid
        grid.mark(["hv01", "hv02"])
        await hands.pilot.pause()
        assert vms.scope == frozenset({"hv01", "hv02"})
        assert vms.grid.total == 14
        assert "VMs on 2 marked hosts" in hands.text
        await hands.press("escape")
        assert grid.marked == 0
        assert not vms.scope


async def test_a_narrowed_list_lives(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("j", "j")
        feeder.push(host("hv01", [vm(1, name="elsewhere")]))
        feeder.change("hv03", vms=(vm(21, name="renamed"),))
        await hands.settle()
        assert hands.names("vms") == ["renamed"]


async def test_filter_as_you_type(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        panel = hands.overview.panel_of("vms")
        await hands.press("2", "/")
        await hands.write("cpu>30")
        assert panel.grid.shown == 3
        assert "/ cpu>30" in hands.text
        await hands.press("enter")
        assert "3 of 20, filter cpu>30" in hands.text
        assert panel.grid.has_focus
        await hands.press("escape")
        assert panel.grid.shown == 20


async def test_a_wrong_filter_points_at_the_column(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        panel = hands.overview.panel_of("vms")
        await hands.press("2", "/")
        await hands.write("name=a cpu>x")
        await hands.press("enter")
        bar = hands.screen.input_bar
        assert bar.is_open
        assert bar.error is not None
        lines = hands.text.split("\n")
        assert lines[-1].index("^") == 2 + bar.error.column
        await hands.press("escape")
        assert not bar.is_open
        assert panel.filter_text == ""
        assert panel.grid.shown == 20


async def test_escape_undoes_the_filter_that_is_typed(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        panel = hands.overview.panel_of("vms")
        await hands.press("2", "/", *"hv01", "enter")
        assert panel.grid.shown == 8
        await hands.press("/", *"x", "escape")
        assert panel.filter_text == "hv01"
        assert panel.grid.shown == 8


async def test_empty_lists_speak(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2", "/", *"nosuch", "enter")
        assert "Nothing matches the filter" in hands.text
        assert "nosuch" in hands.text
        await hands.press("escape", "f")
        assert "No VMs in trouble" in hands.text
        assert "faults only" in hands.text
    async with console(Feeder(), tmp_path) as hands:
        assert "No hosts in the fleet yet" in hands.text
        assert "qemu+ssh://root@hv1.example/system" in hands.text


async def test_nothing_from_a_silent_host_is_not_called_nothing(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("G")
        text = hands.text
        assert "VMs on hv04" in text
        assert "No VMs on hv04 so far" in text
        assert "hv04 has not told yet, it is refused: the host key changed" in text
        row = next(line for line in text.split("\n") if "hv04" in line and "refused" in line)
        assert " 0 " not in row


async def test_a_terminal_that_changes_its_size(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2", "j")
        for size in ((80, 24), (200, 60), (120, 36)):
            await hands.pilot.resize_terminal(*size)
            await hands.pilot.pause()
            assert hands.overview.panel_of("vms").grid.selected_key == ("hv01", vm(2).uuid)
            assert "vm-00002" in hands.text


async def test_no_color(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with console(small_fleet(), tmp_path) as hands:
        assert hands.app.no_color
        assert "✖ hung" in hands.text


@pytest.mark.parametrize("key", ["ctrl+q", "ctrl+c"])
async def test_leaving_at_once(tmp_path: Path, key: str) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press(key)
        assert not hands.app.is_running


async def test_faults_only(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("f")
        assert hands.names("hosts") == ["hv02", "hv03", "hv04"]
        await hands.press("f")
        assert len(hands.names("hosts")) == 4


async def test_zoom(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        await hands.press("2", "z")
        assert "─ VMs" in hands.text
        assert "─ Hosts" not in hands.text
        await hands.press("escape")
        assert "─ Hosts" in hands.text


async def test_the_strip_follows_the_selection(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        assert hands.overview.query_one(Strip).display
        await hands.until("╭─ hv01 ─")
        await hands.press("2", "j")
        await hands.until("╭─ vm-00002 on hv01 ─")
        await hands.until("CPU")
        await hands.press("3")
        await hands.until("╭─ default on")
        await hands.until("Allocated")


async def test_the_demo_says_what_it_is_until_it_is_put_away(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path, demo=True) as hands:
        assert "demo, simulated" in hands.text.split("\n")[0]
        assert "This is the demo" in hands.text
        assert "fleet.yaml" in hands.text
        await hands.pilot.resize_terminal(80, 24)
        await hands.pilot.pause()
        assert "~/.config/virtfleet/fleet.yaml" in hands.text
        await hands.press("escape")
        assert "This is the demo" not in hands.text
    async with console(small_fleet(), tmp_path, demo=True) as hands:
        assert "This is the demo" not in hands.text
        assert "demo, simulated" in hands.text.split("\n")[0]


async def test_read_only_is_said(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path, read_only=True) as hands:
        assert "read-only" in hands.text.split("\n")[0]


@pytest.mark.parametrize("size", SIZES)
async def test_q_asks_once(tmp_path: Path, size: tuple[int, int]) -> None:
    async with console(small_fleet(), tmp_path, size, demo=True, read_only=True) as hands:
        await hands.press("q")
        assert hands.app.is_running
        assert "q again leaves the console; the fleet goes on" in hands.text.split("\n")[0]
        await hands.press("q")
        assert not hands.app.is_running


async def test_the_mouse_works(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        grid = hands.overview.panel_of("vms").grid
        await hands.pilot.click(grid, offset=(10, 3))
        await hands.pilot.pause()
        assert grid.has_focus
        assert grid.selected is not None
        assert grid.selected.vm.name == "vm-00003"
        bar = hands.screen.query_one("#key-bar")
        at = hands.text.split("\n")[-1].index("? help")
        await hands.pilot.click(bar, offset=(at, 0))
        await hands.pilot.pause()
        assert "Keys in overview" in hands.text
