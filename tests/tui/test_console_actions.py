"""Keys that change VMs: form, plan, yes, job. Planner and jobs are real; the operations are written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Button, Input

from tui.console import Hands, console
from tui.feeder import Feeder, host, vm
from virtfleet.model import VmState
from virtfleet.model.job import JobState
from virtfleet_tui.dialogs.choose import ChooseDialog
from virtfleet_tui.dialogs.form import FormDialog
from virtfleet_tui.dialogs.plan import PlanDialog
from virtfleet_tui.screens.jobs import JobsScreen


def fleet(**info: Any) -> Feeder:
    vms = [
        vm(1, name="on-1"),
        vm(2, name="on-2"),
        vm(3, name="off-1", state=VmState.SHUTOFF),
        vm(4, name="kept", protected=True),
    ]
    return Feeder(host("hv1", vms, **info), host("hv2", [vm(5, name="on-1")]))


async def jobs_ended(hands: Hands, feeder: Feeder, count: int) -> None:
    for _ in range(200):
        await hands.pilot.pause(0.02)
        if len(feeder.jobs.jobs) == count and not any(job.state.active for job in feeder.jobs.jobs):
            return
    raise AssertionError([(job.title, job.state) for job in feeder.jobs.jobs])


async def dialog(hands: Hands, kind: type[Any]) -> Any:
    for _ in range(200):
        await hands.pilot.pause(0.02)
        if isinstance(hands.app.screen, kind):
            return hands.app.screen
    raise AssertionError(hands.app.screen)


async def select(hands: Hands, name: str) -> None:
    await hands.press("2")
    await hands.command(f"filter name={name}")
    await hands.settle()


async def test_what_interrupts_nobody_is_done_at_once(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("b")
        await jobs_ended(hands, feeder, 1)
        job = feeder.jobs.jobs[0]
        assert (job.title, job.state, job.origin) == ("start off-1 on hv1", JobState.DONE, "console")
        assert [op for _, op, _ in feeder.runner.done] == ["vm.claim", "vm.start", "vm.release"]
        await hands.until("done: start off-1 on hv1")


async def test_what_interrupts_a_guest_shows_its_plan_first(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "on-2")
        await hands.press("S")
        shown = await dialog(hands, PlanDialog)
        assert "power off on-2 on hv1" in hands.text
        assert "what its guest has not written is lost" in hands.text
        assert shown.focused.id == "leave"
        await hands.press("enter")
        assert not feeder.jobs.jobs
        await hands.press("S")
        await dialog(hands, PlanDialog)
        await hands.press("tab", "enter")
        await jobs_ended(hands, feeder, 1)
        assert feeder.jobs.jobs[0].plan.verb == "vm.poweroff"


async def test_escape_never_acts(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "on-2")
        for key in ("S", "D", "m", "n"):
            await hands.press(key)
            await hands.pilot.pause(0.1)
            await hands.press("escape", "escape")
        assert not feeder.jobs.jobs
        assert feeder.runner.done == []


async def test_a_verb_that_makes_no_sense_says_why(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "kept")
        await hands.press("D")
        assert "kept is protected" in hands.text
        await select(hands, "on-2")
        await hands.press("b")
        assert "on-2 is running" in hands.text
        assert not feeder.jobs.jobs


async def test_marked_vms_are_planned_together_and_each_has_its_word(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "*", "S")
        await dialog(hands, PlanDialog)
        text = hands.text
        assert "3 plans" in text
        assert "kept@hv1" in text
        assert "kept is protected" in text
        assert "off-1 is shutoff already" in text
        await hands.press("tab", "enter")
        await jobs_ended(hands, feeder, 3)
        assert {(job.plan.host, job.plan.name) for job in feeder.jobs.jobs} == {
            ("hv1", "on-1"),
            ("hv1", "on-2"),
            ("hv2", "on-1"),
        }
        assert len({job.batch for job in feeder.jobs.jobs}) == 1


async def test_deleting_wants_the_name_typed(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("D")
        await dialog(hands, FormDialog)
        hands.app.screen.query_one("#form-done", Button).press()
        shown = await dialog(hands, PlanDialog)
        assert shown.query_one("#do", Button).disabled
        await hands.write("off")
        await hands.press("enter")
        assert isinstance(hands.app.screen, PlanDialog)
        await hands.write("-1")
        assert not shown.query_one("#do", Button).disabled
        await hands.press("enter")
        await jobs_ended(hands, feeder, 1)
        assert "vm.undefine" in [op for _, op, _ in feeder.runner.done]


async def test_a_form_says_what_is_wrong_and_goes_on_when_it_is_right(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("m")
        form = await dialog(hands, FormDialog)
        form.query_one("#form-memory", Input).value = "lots"
        await hands.pilot.pause()
        assert "Memory:" in hands.text
        form.query_one("#form-done", Button).press()
        await hands.pilot.pause()
        assert isinstance(hands.app.screen, FormDialog)
        form.query_one("#form-memory", Input).value = "2GiB"
        await hands.pilot.pause()
        form.query_one("#form-done", Button).press()
        await jobs_ended(hands, feeder, 1)
        resize = next(args for _, op, args in feeder.runner.done if op == "vm.resize")
        assert (resize["memory"], resize["vcpus"]) == (2 << 30, None)


async def test_the_menu_offers_what_applies_first(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("x")
        await dialog(hands, ChooseDialog)
        lines = [line for line in hands.text.split("\n") if "Start" in line or "Power off" in line]
        assert "not now: off-1 is shutoff" in next(line for line in lines if "Power off" in line)
        assert "not now" not in next(line for line in lines if "Start" in line)
        await hands.press("enter")
        await jobs_ended(hands, feeder, 1)
        assert feeder.jobs.jobs[0].plan.verb == "vm.start"


async def test_jobs_are_listed_live_and_can_be_cancelled(tmp_path: Path) -> None:
    import asyncio

    feeder = fleet()
    feeder.runner.hold = asyncio.Event()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("b")
        await hands.pilot.pause(0.2)
        await hands.press("8")
        assert isinstance(hands.app.screen, JobsScreen)
        await hands.until("start off-1 on hv1")
        await hands.until("running")
        assert "jobs 1" in hands.text
        await hands.press("K")
        feeder.runner.hold.set()
        await jobs_ended(hands, feeder, 1)
        await hands.pilot.pause(0.2)
        assert feeder.jobs.jobs[0].state is JobState.CANCELLED
        assert "cancelled" in hands.text
        await hands.press("L")
        await hands.pilot.pause(0.2)
        assert "taking back" in hands.text


@pytest.mark.parametrize("key", ["b", "S", "x", "D"])
async def test_a_read_only_console_changes_nothing(tmp_path: Path, key: str) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path, read_only=True) as hands:
        await select(hands, "off-1")
        await hands.press(key)
        await hands.pilot.pause(0.1)
        assert not feeder.jobs.jobs
        assert not isinstance(hands.app.screen, PlanDialog | FormDialog | ChooseDialog)


async def test_two_vms_of_one_name_are_never_mixed_up(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("2")
        await hands.command("filter name=on-1 host=hv2")
        await hands.settle()
        await hands.press("p")
        await dialog(hands, PlanDialog)
        assert "suspend on-1 on hv2" in hands.text
        await hands.press("tab", "enter")
        await jobs_ended(hands, feeder, 1)
        assert {host for host, _, _ in feeder.runner.done} == {"hv2"}


async def test_a_tag_is_undone_from_the_list_of_jobs_after_its_plan_was_seen(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("t")
        form = await dialog(hands, FormDialog)
        form.query_one("#form-add", Input).value = "web"
        form.query_one("#form-done", Button).press()
        await jobs_ended(hands, feeder, 1)
        await hands.press("8")
        await hands.until("Z undo")
        await hands.press("Z")
        await dialog(hands, PlanDialog)
        assert "undo: tag off-1 +web on hv1" in hands.text
        await hands.press("enter")
        assert len(feeder.jobs.jobs) == 1
        await hands.press("Z")
        await dialog(hands, PlanDialog)
        await hands.press("tab", "enter")
        await jobs_ended(hands, feeder, 2)
        assert [job.origin[:8] for job in feeder.jobs.jobs][1:] == ["undo of "]
        await hands.until("done: undo: tag off-1 +web on hv1")


async def test_marked_jobs_are_cancelled_together(tmp_path: Path) -> None:
    import asyncio

    feeder = fleet()
    feeder.runner.hold = asyncio.Event()
    async with console(feeder, tmp_path) as hands:
        await hands.press("2", "*", "S")
        await dialog(hands, PlanDialog)
        await hands.press("tab", "enter", "8")
        await hands.until("jobs 3")
        await hands.press("*", "K")
        feeder.runner.hold.set()
        await jobs_ended(hands, feeder, 3)
        assert {job.state for job in feeder.jobs.jobs} == {JobState.CANCELLED}
        await hands.until("0 of 3 done, 3 not")


async def test_a_tick_says_in_letters_what_it_is(tmp_path: Path) -> None:
    feeder = fleet()
    async with console(feeder, tmp_path) as hands:
        await select(hands, "off-1")
        await hands.press("D")
        await dialog(hands, FormDialog)
        assert "[ ] delete its own disks too" in hands.text
        await hands.press("space")
        assert "[x] delete its own disks too" in hands.text


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_form_for_new_vms_has_its_buttons_on_the_screen(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with console(fleet(), tmp_path, size) as hands:
        await hands.press("2", "ctrl+n")
        await hands.until("New VMs")
        assert "Leave it" in hands.text
        assert "[x] start it" in hands.text


async def test_the_help_explains_signs_of_jobs_and_plans(tmp_path: Path) -> None:
    async with console(fleet(), tmp_path, (120, 90)) as hands:
        await hands.press("8", "?")
        shown = await hands.until("States of jobs")
        for sign in ("✖ broken", "! interrupted", "◐ undoing", "+ − ~", "before → after"):
            assert sign in shown
