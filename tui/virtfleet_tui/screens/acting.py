"""The hands of every view that has VMs in it: from a key to a form, a plan, a yes, and a job.

Nothing here waits in the way of keys: plans are made in a worker, and a plan
that interrupts nobody is carried out at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from textual.app import SuspendNotSupported
from textual.worker import WorkerCancelled

from virtfleet.actions.verbs import BY_NAME, VERBS, Verb
from virtfleet.errors import QueryError, VirtfleetError
from virtfleet.headless.editing import edit
from virtfleet.model.action import Action, CreateVm, DeleteSnapshot, EditVm, RevertSnapshot
from virtfleet.model.plan import Danger, Plan
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit
from virtfleet.query.rows import VmRow
from virtfleet_tui.commands import Command
from virtfleet_tui.console import Place
from virtfleet_tui.dialogs.choose import ChooseDialog
from virtfleet_tui.dialogs.create import CreateDialog
from virtfleet_tui.dialogs.form import FormDialog, Values
from virtfleet_tui.dialogs.plan import PlanDialog
from virtfleet_tui.panels.nouns import subject_of
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.verb_forms import FORMS, Form, Known, ref

_FEW = 50
"""Of more VMs it costs too much to ask every second what applies to them."""


class ActingScreen(FleetScreen):
    """A view whose rows can be acted on. Subclasses say which they are."""

    def acting_on(self) -> Sequence[VmRow]:
        """The VMs that a verb is about: the marked ones, else the selected one."""
        return ()

    # ---- what can be done

    def show_status(self) -> None:
        """And the keys: what applies to a VM changes with its state."""
        super().show_status()
        if self.is_mounted and self.is_current and len(self.acting_on()) <= _FEW:
            self.show_keys()

    def offers(self, verb: str) -> bool:
        """Whether a verb makes sense for one of them at least; else its key says why not."""
        return not self.why_not(BY_NAME[verb])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "verb":
            return bool(self.acting_on())
        if action == "verbs":
            return bool(self.acting_on()) and not self.console.read_only
        if action == "create":
            return not self.console.read_only
        return super().check_action(action, parameters)

    def words(self) -> dict[str, Any]:
        return super().words() | {"verbs": lambda: list(BY_NAME)}

    def carry_out(self, command: Command) -> None:
        if command.verb == "do":
            if command.argument not in BY_NAME:
                raise QueryError(f"no verb {command.argument!r}", column=3)
            self.call_later(self.action_verb, command.argument)
        elif command.verb == "create":
            self.call_later(self.action_create)
        else:
            super().carry_out(command)

    def why_not(self, verb: Verb) -> str:
        """Why a verb applies to none of them; empty: it does."""
        rows = self.acting_on()
        if self.console.read_only:
            return "the console is read-only"
        if not rows:
            return "no VM is selected"
        form = FORMS.get(verb.name)
        if form is not None and form.one and len(rows) > 1:
            return "one VM at a time"
        first = verb.applies(rows[0])
        # Asked for with every key, also when thousands are marked: one to which it applies is enough.
        return first if first and all(verb.applies(row) for row in rows) else ""

    def action_verb(self, name: str) -> None:
        """Begin a verb on what is marked or selected."""
        verb = BY_NAME[name]
        if reason := self.why_not(verb):
            self.say(f"{verb.title}: {reason}", "warning")
            return
        self.begin(verb, list(self.acting_on()))

    def action_verbs(self) -> None:
        """The menu of all verbs: those that apply, then the others with the reason."""
        rows = self.acting_on()
        if not rows:
            self.say("no VM is selected", "warning")
            return
        whom = rows[0].vm.name if len(rows) == 1 else f"{len(rows)} VMs"
        options = []
        for verb in VERBS:
            reason = self.why_not(verb)
            options.append(
                (
                    bool(reason),
                    verb.name,
                    f"{verb.key:>2} {verb.title}",
                    f"not now: {reason}" if reason else verb.doc,
                )
            )
        options.sort(key=lambda each: each[0])

        def chosen(name: str | None) -> None:
            if name is not None:
                self.call_later(self.action_verb, name)

        self.app.push_screen(ChooseDialog(f"What to do with {whom}", [each[1:] for each in options]), chosen)

    def action_create(self) -> None:
        """The form for new VMs."""
        if self.console.read_only:
            self.say("the console is read-only", "warning")
            return

        def filled(actions: list[tuple[str, Action]] | None) -> None:
            if actions:
                self.plan_and_do(actions)

        self.app.push_screen(CreateDialog(self.console.fleet, self.explain), filled)

    def explain(self, action: CreateVm) -> None:
        """Over the dialog in front: on which hosts a new VM could be, and why not on the others."""
        from virtfleet_tui.screens.placement import PlacementScreen  # it is one of those that act

        self.app.push_screen(PlacementScreen(self.console, Place("placement"), action))

    # ---- form, plan, job

    def begin(self, verb: Verb, rows: list[VmRow]) -> None:
        form = FORMS.get(verb.name)
        if form is None:
            self.open_verb(verb, rows)
            return
        entries = form.entries(rows, self._known())
        if not entries:
            self._plan(form, rows, {})
            return
        whom = rows[0].vm.name if len(rows) == 1 else f"{len(rows)} VMs"

        def filled(values: Values | None) -> None:
            if values is not None:
                self._plan(form, rows, values)

        self.app.push_screen(FormDialog(f"{verb.title} {whom}", entries, check=form.check), filled)

    def open_verb(self, verb: Verb, rows: list[VmRow]) -> None:
        """A verb with a view of its own."""
        if len(rows) > 1:
            self.say(f"{verb.title}: one VM at a time", "warning")
        elif verb.name == "console":
            self.console.go(Place("console", subject_of(rows[0])))
        elif verb.name == "snapshots":
            self.app.run_worker(self._snapshots(rows[0]), exit_on_error=False)
        elif verb.name == "edit":
            self.app.run_worker(self._edit(rows[0]), exit_on_error=False)
        else:
            self.say(f"`virtfleet vm {verb.name} {rows[0].vm.name}` on the command line", "warning")

    async def _snapshots(self, row: VmRow) -> None:
        """The tree of its snapshots; then what to do with the one that was chosen."""
        try:
            found = await self.console.fleet.request(row.host.name, "vm.snapshots", {"uuid": row.vm.uuid})
        except VirtfleetError as error:
            self.say(f"snapshots: {_reason(error)}", "bad")
            return
        if not found:
            self.say(f"{row.vm.name} has no snapshots: n makes one")
            return
        options = [(each["name"], each["name"], line) for each, line in zip(*ordered(found), strict=True)]
        name = await self.app.push_screen_wait(ChooseDialog(f"Snapshots of {row.vm.name}", options))
        if name is None:
            return
        what = await self.app.push_screen_wait(
            ChooseDialog(
                f"{name} of {row.vm.name}",
                [
                    ("revert", "Revert", "back to it; what was since then is lost"),
                    ("delete", "Delete", "forget it; the VM stays as it is"),
                ],
            )
        )
        if what == "revert":
            self.plan_and_do([(row.vm.name, RevertSnapshot(vm=ref(row), snapshot=name))])
        elif what == "delete":
            self.plan_and_do([(row.vm.name, DeleteSnapshot(vm=ref(row), snapshot=name))])

    async def _edit(self, row: VmRow) -> None:
        """Its XML in the operator's editor, for which the console steps aside."""
        try:
            given = await self.console.fleet.request(row.host.name, "vm.edited", {"uuid": row.vm.uuid})
            # The loop stands still as in ctrl-z: nobody is called hung for our own absence.
            with self.app.suspend():
                edited = edit(given["xml"], row.vm.name)
        except VirtfleetError as error:
            self.say(f"edit: {_reason(error)}", "bad")
            return
        except SuspendNotSupported:
            self.say("edit: this terminal can't be given to an editor", "bad")
            return
        if edited.strip() == given["xml"].strip():
            self.say("nothing was changed")
            return
        self.plan_and_do([(row.vm.name, EditVm(vm=ref(row), xml=edited, was=given["was"]))])

    def _known(self) -> Known:
        settings = self.console.fleet.settings
        return Known(self.console.fleet.snapshot, tuple(settings.flavors), tuple(settings.projects))

    def _plan(self, form: Form, rows: Sequence[VmRow], values: Values) -> None:
        named = [(f"{row.vm.name}@{row.host.name}", form.make(row, values)) for row in rows]
        self.plan_and_do(named)

    def plan_and_do(self, named: Sequence[tuple[str, Action]]) -> None:
        """Plan these actions; show the plans where that is called for; do them."""
        self.app.run_worker(self._plan_and_do(named), exclusive=False, exit_on_error=False)

    async def _plan_and_do(self, named: Sequence[tuple[str, Action]]) -> None:
        fleet = self.console.fleet
        plans: list[Plan] = []
        refused: list[tuple[str, str]] = []
        for name, action in named:
            try:
                plans.append(await fleet.plan(action, beside=plans))
            except VirtfleetError as error:
                refused.append((name, _reason(error)))
        todo = [plan for plan in plans if plan.steps]
        harmless = all(plan.danger is Danger.NONE for plan in todo)
        if len(todo) == 1 == len(named) and harmless:
            await self._apply(todo)
            return
        if not todo and len(named) == 1 and plans:
            why = "; ".join(reason.text for reason in plans[0].reasons)
            self.say(f"{plans[0].title}: {why or 'nothing to do'}")
            return
        try:
            new = next((action for _, action in named if isinstance(action, CreateVm)), None)
            explain = partial(self.explain, new) if new is not None else None
            agreed = await self.app.push_screen_wait(PlanDialog(plans, refused, explain))
        except WorkerCancelled:
            return
        if agreed:
            await self._apply(todo)

    async def _apply(self, plans: Sequence[Plan]) -> None:
        batch = f"{int(time.time() * 1000):x}" if len(plans) > 1 else ""
        begun: list[Any] = []
        for plan in plans:
            try:
                begun.append(await self.console.fleet.apply(plan, origin="console", batch=batch))
            except VirtfleetError as error:
                self.say(f"{plan.title}: {_reason(error)}", "bad")
        if len(begun) == 1:
            self.say(f"{begun[0].title} …", "busy")
        elif begun:
            self.say(f"{len(begun)} jobs under way: :jobs shows them", "busy")


def ordered(found: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Snapshots, oldest first, and a line on each."""
    rows = sorted(found, key=lambda each: (each["created"] or 0, each["name"]))
    lines = []
    for each in rows:
        created = format_value(each["created"], Unit.TIME) if each["created"] else ""
        kind = "with memory" if each["memory"] else "disks"
        after = f"after {each['parent']}" if each["parent"] else ""
        words = ["← now" if each["current"] else "", created, each["state"], kind, after, each["description"]]
        lines.append("  ".join(word for word in words if word))
    return rows, lines


def _reason(error: VirtfleetError) -> str:
    return f"{error.message}: {error.cure}" if error.cure else error.message
