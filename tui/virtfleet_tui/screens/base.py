"""What all views share: status line, input bar, key bar, and the commands that work everywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widget import Widget

from virtfleet.errors import QueryError, VirtfleetError
from virtfleet.model import FleetSnapshot
from virtfleet.model.job import Job
from virtfleet.query.tally import Totals
from virtfleet_tui import commands
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.dialogs.base import BREAKPOINTS
from virtfleet_tui.dialogs.help import HelpDialog
from virtfleet_tui.keys import ANYWHERE, Key, bindings, footer, keys_for
from virtfleet_tui.panels.input_bar import InputBar
from virtfleet_tui.panels.key_bar import KeyBar
from virtfleet_tui.panels.nouns import vm_named
from virtfleet_tui.styles.themes import theme_named
from virtfleet_tui.widgets.status_line import Status, StatusLine

_STATUS_EVERY = 1.0
_COUNT_SHARE = 100.0
"""Counting takes at most one part of so many of the time."""
_MESSAGE_FOR = 6.0


def job_words(jobs: Sequence[Job]) -> str:
    """How many jobs run here, and how far they are together: `2 ▸ 41 %`."""
    if not jobs:
        return ""
    share = sum(job.progress.fraction for job in jobs) / len(jobs)
    return f"{len(jobs)} ▸ {100 * share:.0f} %"


class FleetScreen(Screen[None]):
    """A view of the fleet. It is told of changes while it is in front; `missed`: it slept through some."""

    contexts: ClassVar[tuple[str, ...]] = (ANYWHERE,)
    BINDINGS: ClassVar[list[BindingType]] = bindings(ANYWHERE)
    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-middle"), (34, "-tall"), (50, "-high")]  # noqa: RUF012

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__()
        self.console = console
        self.place = place
        self.missed = False
        self._message: tuple[str, str, float] = ("", "", 0.0)
        self._totals: Totals | None = None
        self._count_again = 0.0

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield from self.compose_body()
        yield InputBar(id="input-bar")
        yield KeyBar(id="key-bar")

    def compose_body(self) -> Iterable[Widget]:
        return ()

    def on_mount(self) -> None:
        self.set_interval(_STATUS_EVERY, self.show_status)
        self.show_status()
        self.show_fleet(self.console.fleet.snapshot, None)

    @on(events.ScreenResume)
    def _resumed(self) -> None:
        if self.missed and self.is_mounted:
            self.missed = False
            self.show_fleet(self.console.fleet.snapshot, None)
            self.show_status()
        self.show_keys()

    # ---- for subclasses

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        """The fleet is now `snapshot`; `changes` since the last call, None: everything may differ."""

    @property
    def title_text(self) -> str:
        """Where we are, for the status line."""
        return self.place.view

    @property
    def subject(self) -> Subject | None:
        """What is selected or open."""
        return self.place.subject

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is seen here, for the help: kinds of objects, "plot", "xml"."""
        return ()

    @property
    def can_go_back(self) -> bool:
        """Whether escape does something."""
        return True

    def words(self) -> dict[str, Any]:
        """What completion may offer, by `Verb.completes`."""
        return {
            "themes": lambda: ["dark", "light"],
            "faults": lambda: ["first"],
            "names": lambda: list(self.console.fleet.snapshot.hosts),
            "vm-names": lambda: [
                vm.name for host in self.console.fleet.snapshot.hosts.values() for vm in host.vms
            ],
        }

    # ---- edges

    def show_status(self) -> None:
        if self.app.screen is not self and not self.is_current:
            return
        fleet = self.console.fleet
        found = self._count()
        hosts = max(1, len(fleet.snapshot.hosts))
        text, meaning, until = self._message
        if time.monotonic() < until:
            # For these seconds the message goes before all else that has no room beside it.
            wide, middle = self.size.width >= 160, self.size.width >= 100
            self.query_one(StatusLine).show(
                Status(
                    fleet=fleet.settings.name if wide else "",
                    view=self.title_text if middle else "",
                    alerts=found.alerts,
                    alerts_bad=found.alerts_bad,
                    message=text,
                    meaning=meaning,
                )
            )
            return
        badges = ["demo, simulated"] if self.console.demo else []
        badges += ["read-only"] if self.console.read_only else []
        self.query_one(StatusLine).show(
            Status(
                fleet=fleet.settings.name,
                view=self.title_text,
                hosts=(found.hosts_up, found.hosts_total),
                vms=(found.vms_running, found.vms_total),
                alerts=found.alerts,
                alerts_bad=found.alerts_bad,
                jobs=job_words(fleet.jobs.active),
                cost=math.nan if (calls := fleet.calls_per_s) is None else calls / hosts,
                badges=tuple(badges),
            )
        )

    def _count(self) -> Totals:
        """The totals. Counting takes a while; the longer it takes, the rarer it is done, and never while keys
        are pressed."""
        now = time.monotonic()
        if self._totals is None or (
            now >= self._count_again and not self.console.hands.wait(self._count_again)
        ):
            self._totals = self.console.tally.totals(self.console.fleet.snapshot, now)
            took = time.monotonic() - now
            self._count_again = now + max(_STATUS_EVERY * 0.9, took * _COUNT_SHARE)
        return self._totals

    def say(self, text: str, meaning: str = "") -> None:
        """Something for the operator to know, for a few seconds, where it moves nothing."""
        self._message = (text, meaning, time.monotonic() + _MESSAGE_FOR)
        self.show_status()

    def active_keys(self) -> list[Key]:
        """The keys that do something here and now."""
        found: list[Key] = []
        for key in keys_for(self.contexts):
            name, _, argument = key.action.partition("(")
            if name == "verb":
                if self.offers(argument.strip("')")):
                    found.append(key)
            elif self.check_action(name, ()) is not False:
                found.append(key)
        return found

    def offers(self, verb: str) -> bool:
        """Whether a verb makes sense for what is selected."""
        return False

    def show_keys(self) -> None:
        self.query_one(KeyBar).show(footer(self.active_keys()))

    @on(KeyBar.Pressed)
    async def _key_clicked(self, event: KeyBar.Pressed) -> None:
        key = event.key
        if key.bound:
            await self.app.run_action(key.action, default_namespace=self)
        elif self.focused is not None:
            self.app.simulate_key(key.keys.split(",")[0])

    # ---- the input bar

    @property
    def input_bar(self) -> InputBar:
        return self.query_one(InputBar)

    def home_focus(self) -> None:
        """Put the focus where keys belong when no line is being typed."""

    @on(InputBar.Typed)
    def _typed(self, event: InputBar.Typed) -> None:
        self.typed(event.purpose, event.text)

    def typed(self, purpose: str, text: str) -> None:
        if purpose == "command" and text.strip():
            word = text.strip().partition(" ")[2]
            if word:
                try:
                    commands.parse(text)
                except QueryError as error:
                    self.input_bar.complain(error)

    @on(InputBar.Entered)
    def _entered(self, event: InputBar.Entered) -> None:
        if not self.input_bar.is_open:
            return
        error = self.entered(event.purpose, event.text)
        if error is not None:
            self.input_bar.complain(error)
            return
        self.input_bar.close()
        if self.is_current:
            self.home_focus()

    def entered(self, purpose: str, text: str) -> QueryError | None:
        """Carry out what was typed; a mistake keeps the line open."""
        if purpose != "command":
            return None
        try:
            command = commands.parse(text)
            if command is not None:
                self.carry_out(command)
        except QueryError as error:
            return error
        return None

    @on(InputBar.Cancelled)
    def _cancelled(self, event: InputBar.Cancelled) -> None:
        self.cancelled(event.purpose, event.before)
        self.home_focus()

    def cancelled(self, purpose: str, before: str) -> None: ...

    # ---- commands that work everywhere

    def carry_out(self, command: commands.Command) -> None:
        """Do what a `:` line says. QueryError: it can't be done here."""
        name, argument = command.verb, command.argument
        if name in commands.VIEWS:
            self.console.go(Place(name, filter=argument))
        elif name == "theme":
            self.set_theme(argument)
        elif name == "quit":
            self.app.exit()
        elif name == "reconnect" and argument:
            self.reconnect(argument)
        elif name == "console":
            self.console.go(Place("console", self._console_named(argument)))
        elif name == "placement":
            self.console.go(Place("placement", self._placed_named(argument)))
        elif name in ("help", "zoom", "faults", "xml", "reconnect"):
            if self.check_action(name, ()) is False or not hasattr(self, f"action_{name}"):
                raise QueryError(f"{name} does not apply here")
            self.call_later(self.app.run_action, name, self)
        else:
            raise QueryError(f"{name} does not apply here")

    def _console_named(self, name: str) -> Subject:
        """Whose console `:console NAME` means; without a name one that is open, else the selected VM's."""
        if name:
            try:
                return vm_named(self.console.fleet.snapshot, name)
            except VirtfleetError as error:
                raise QueryError(error.message, column=8, cure=error.cure) from None
        for each in self.console.consoles:
            return each.subject
        if self.subject is None or self.subject.kind != "vm":
            raise QueryError("which VM's console?", column=7)
        return self.subject

    def _placed_named(self, name: str) -> Subject:
        """Whose placement `:placement NAME` means; without a name that of the selected VM."""
        if not name:
            if self.subject is None or self.subject.kind != "vm":
                raise QueryError("which VM's placement?", column=9)
            return self.subject
        try:
            return vm_named(self.console.fleet.snapshot, name)
        except VirtfleetError as error:
            raise QueryError(error.message, column=10, cure=error.cure) from None

    def set_theme(self, name: str) -> None:
        """`dark` or `light`. QueryError: there is no such theme."""
        found = theme_named(name)
        if found is None:
            raise QueryError(f"no theme {name!r}: dark or light", column=6)
        self.app.theme = found
        self.console.taste.theme = found
        self.console.keep()
        if first := self.console.fleet.settings.ui.theme:
            self.say(f"theme {name} for now: the fleet file asks for {first} at each start")

    def action_command(self) -> None:
        self.input_bar.ask(
            "command",
            ":",
            "hosts, vms, pools, alerts, jobs, capacity, projects, groups, with a filter; sort, columns, quit",
            complete=lambda text: commands.complete(text, commands.Words(self.words())),
        )

    def action_help(self) -> None:
        self.app.push_screen(HelpDialog(self.title_text, self.active_keys(), self.kinds))

    def action_back(self) -> None:
        """One step back: the view that is under this one."""
        self.console.back()

    def action_leave(self) -> None:
        self.console.back()

    def action_view(self, name: str) -> None:
        self.console.go(Place(name))

    def action_backward(self) -> None:
        self.console.step(-1)

    def action_forward(self) -> None:
        self.console.step(1)

    # ---- the selected object

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "xml":
            return self.subject is not None and self.subject.kind != "host"
        if action == "placement":
            return self.subject is not None and self.subject.kind == "vm"
        if action == "back":
            return self.can_go_back
        if action in ("events", "reconnect"):
            return self.subject is not None
        return True

    def action_xml(self) -> None:
        if self.subject is not None and self.subject.kind != "host":
            self.console.go(Place("xml", self.subject))

    def action_placement(self) -> None:
        """Which hosts the selected VM could be on, and why not on the others."""
        if self.subject is not None and self.subject.kind == "vm":
            self.console.go(Place("placement", self.subject))

    def action_events(self) -> None:
        if self.subject is not None:
            self.console.go(Place("events", self.subject))

    def action_reconnect(self) -> None:
        if self.subject is not None:
            self.reconnect(self.subject.host)

    def reconnect(self, host: str) -> None:
        """Connect a host anew. It changes nothing on the host; its VMs go on."""
        if host not in self.console.fleet.snapshot.hosts:
            raise QueryError(f"no host {host!r} in this fleet", column=10)
        self.console.fleet.reconnect(host)
        self.say(f"connecting {host} anew", "busy")
