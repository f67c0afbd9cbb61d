"""The console's wiring: engine, bridge, themes, views and prompts meet here; what they do is theirs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import App
from textual.binding import BindingType
from textual.screen import Screen
from textual.timer import Timer

from virtfleet.config import folders
from virtfleet.errors import VirtfleetError
from virtfleet.model.job import JobState
from virtfleet_tui import state
from virtfleet_tui.bridge import Bridge, Fleet, FleetChanged, JobsChanged
from virtfleet_tui.console import Console, History, Place
from virtfleet_tui.dialogs.ask import Answer, AskDialog
from virtfleet_tui.outcomes import outcome, to_be_told
from virtfleet_tui.palette import ConsoleCommands
from virtfleet_tui.panels.input_bar import InputBar
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.screens.console import ConsoleScreen
from virtfleet_tui.screens.decided import CapacityScreen, GroupsScreen, ProjectsScreen
from virtfleet_tui.screens.detail import Detail
from virtfleet_tui.screens.happenings import AlertsScreen, EventsScreen
from virtfleet_tui.screens.jobs import JobsScreen
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.screens.overview import Overview
from virtfleet_tui.screens.placement import PlacementScreen
from virtfleet_tui.screens.xml import XmlScreen
from virtfleet_tui.styles.themes import DARK, THEMES, theme_named
from virtfleet_tui.sweeper import Sweeper

_KEEP_AFTER = 0.5
_ASK_AGAIN = 0.3


class VirtfleetApp(App[None]):
    """The full-screen console over `engine`, which it starts and stops.

    `demo`: None asks the settings. `theme`: its name, or dark or light; empty: as chosen last. `state_dir` is
    where the operator's taste is kept; None: the user's own state folder.
    """

    TITLE = "virtfleet"
    CSS_PATH = "styles/console.tcss"
    COMMANDS: ClassVar = {ConsoleCommands}
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        engine: Fleet,
        *,
        read_only: bool = False,
        demo: bool | None = None,
        theme: str = "",
        state_dir: Path | None = None,
    ) -> None:
        self._folder = state_dir if state_dir is not None else folders.state_dir()
        self.console_ = Console(
            fleet=engine,
            taste=state.load(self._folder),
            read_only=read_only,
            demo=engine.settings.demo if demo is None else demo,
            go=self.go,
            back=self.back,
            step=self.step,
            keep=self._keep_soon,
        )
        super().__init__()
        self._engine = engine
        self._history = History(Place("overview"))
        self.console_.consoles.ring = self.bell
        self._began = time.time()
        self._bridge = Bridge(engine, self, engine.settings.ui.refresh, self.console_.hands)
        self._keeping: Timer | None = None
        self._asking: AskDialog | None = None
        self._ask_later: Timer | None = None
        for each in THEMES:
            self.register_theme(each)
        wanted = theme or engine.settings.ui.theme or self.console_.taste.theme
        self.theme = theme_named(wanted) or DARK

    def get_default_screen(self) -> Screen[None]:
        return Overview(self.console_)

    async def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, self._repaint, immediate=True)
        self._bridge.open()
        self.set_interval(0.25, Sweeper(self.console_.hands).sweep)
        await self._engine.start()
        self._ask_next()
        if not self.console_.read_only:
            self.run_worker(self._read_jobs(), exit_on_error=False)

    async def on_unmount(self) -> None:
        self._bridge.close()
        if self._keeping is not None:
            self._keeping.stop()
            await self._keep()
        await self.console_.consoles.close_all()
        await self._engine.stop()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent) and not isinstance(event, events.MouseMove):
            self.console_.hands.moved()
        await super().on_event(event)

    @property
    def _guest_has_keys(self) -> bool:
        return bool(getattr(self.focused, "takes_all_keys", False))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the console that come before all others are the guest's too, while it has the keys."""
        if self._guest_has_keys and action in ("quit", "command_palette", "help_quit"):
            return False
        return super().check_action(action, parameters)

    def action_help_quit(self) -> None:
        """Ctrl-C, as Textual calls it: leaves, also from a dialog. Looking costs nothing to anybody."""
        self.exit()

    def _repaint(self, _app: App[object]) -> None:
        """Back from the shell the terminal has forgotten everything: not only changes are to be drawn."""
        self.screen.refresh()

    def action_command_palette(self) -> None:
        """Over a dialog there is nothing that it could run: the dialog comes first."""
        if isinstance(self.screen, FleetScreen):
            super().action_command_palette()

    # ---- what the engine says

    def on_fleet_changed(self, message: FleetChanged) -> None:
        try:
            self.console_.tally.take(message.snapshot, message.changes.hosts)
            front = True
            for screen in reversed(self.screen_stack):
                if isinstance(screen, FleetScreen) and screen.is_mounted:
                    if front:
                        screen.show_fleet(message.snapshot, message.changes)
                    else:
                        screen.missed = True
                    front = False
        finally:
            self._bridge.handled()

    def on_jobs_changed(self, message: JobsChanged) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, JobsScreen) and screen.is_mounted:
                screen.show_jobs(message.jobs)
        ended = [job for job in message.jobs if to_be_told(job, self._began)]
        views = [screen for screen in self.screen_stack if isinstance(screen, FleetScreen)]
        if ended and views:
            job = next((job for job in ended if job.state is not JobState.DONE), ended[-1])
            views[-1].say(*outcome(job, self._engine.jobs.jobs if job.batch else ()))

    async def _read_jobs(self) -> None:
        """What was done before, and what a crash left behind: read when the first screen is there."""
        jobs = self._engine.jobs
        try:
            await jobs.open()
        except VirtfleetError as error:
            if isinstance(self.screen, FleetScreen):
                self.screen.say(f"jobs: {error.message}", "bad")
            return
        left = [job for job in jobs.jobs if job.state.resumable]
        if left and isinstance(self.screen, FleetScreen):
            some = "a job was" if len(left) == 1 else f"{len(left)} jobs were"
            self.screen.say(f"{some} interrupted: 8 shows what can be resumed or rolled back", "warning")

    def on_prompts_changed(self) -> None:
        self._ask_next()

    def _ask_next(self) -> None:
        """Show the oldest question, one at a time; take away one that no longer matters."""
        prompts = self._engine.prompts
        pending = prompts.pending
        if self._asking is not None:
            if (
                self._asking.prompt.id not in {prompt.id for prompt in pending}
                and self.screen is self._asking
            ):
                self._asking.dismiss(None)
            return
        if pending and self._hands_are_busy():
            if self._ask_later is None:
                self._ask_later = self.set_timer(_ASK_AGAIN, self._ask_then)
        elif pending:
            sharing = prompts.sharing(pending[0].id)
            more = sum(prompt.host not in sharing for prompt in pending[1:])
            self._asking = AskDialog(pending[0], sharing, more)
            self.push_screen(self._asking, self._answered)

    def _ask_then(self) -> None:
        self._ask_later = None
        self._ask_next()

    def _hands_are_busy(self) -> bool:
        """Whether keys are meant for something else just now: they must not end up in an answer."""
        front = self.screen
        if isinstance(front, AskDialog):  # answered, and about to go
            return False
        if self._guest_has_keys:
            return True
        return not isinstance(front, FleetScreen) or any(bar.is_open for bar in front.query(InputBar))

    def _answered(self, answer: Answer | None) -> None:
        self._asking = None
        if answer is not None:
            self._engine.prompts.answer(answer.prompt_id, answer.text)
        self._ask_next()

    # ---- views

    def go(self, place: Place) -> None:
        """Show a place and remember it in the history."""
        self._history.visit(place)
        self._show(place, alone=place.subject is None)

    def step(self, by: int) -> None:
        place = self._history.step(by)
        if place is not None:
            self._show(place, alone=True)
        elif isinstance(self.screen, FleetScreen):
            self.screen.say("no view before this one" if by < 0 else "no view after this one")

    def back(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()
            if isinstance(self.screen, FleetScreen):
                self._history.visit(self.screen.place)

    def _show(self, place: Place, alone: bool) -> None:
        """`alone`: escape leads from it to the overview, not to what was before."""
        if alone:
            while len(self.screen_stack) > 1:
                self.pop_screen()
        if place.view != "overview":
            self.push_screen(self._screen_for(place))

    def _screen_for(self, place: Place) -> FleetScreen:
        match place.view:
            case "detail":
                return Detail(self.console_, place)
            case "xml":
                return XmlScreen(self.console_, place)
            case "events":
                return EventsScreen(self.console_, place)
            case "alerts":
                return AlertsScreen(self.console_, place)
            case "console":
                return ConsoleScreen(self.console_, place)
            case "jobs":
                return JobsScreen(self.console_, place)
            case "capacity":
                return CapacityScreen(self.console_, place)
            case "projects":
                return ProjectsScreen(self.console_, place)
            case "groups":
                return GroupsScreen(self.console_, place)
            case "placement":
                return PlacementScreen(self.console_, place)
            case _:
                return OneList(self.console_, place)

    # ---- taste

    def _keep_soon(self) -> None:
        if self._keeping is not None:
            self._keeping.stop()
        self._keeping = self.set_timer(_KEEP_AFTER, self._keep)

    async def _keep(self) -> None:
        """In a thread: a home folder on a dead NFS server must not stop the screen."""
        self._keeping = None
        content = state.encode(self.console_.taste)
        await asyncio.to_thread(state.write, self._folder, content)
