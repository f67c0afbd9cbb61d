"""Serial consoles of guests, one in view and the others behind tabs.

While the terminal has the focus, every key is the guest's, and ctrl-] takes
them back. Then the keys are this view's again: to another console, to close
one, back to the fleet. Consoles stay open until they are closed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events, on
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.guest_consoles import GuestConsole, Phase
from virtfleet_tui.keys import ANYWHERE, CONSOLE, GUEST, Key, bindings, keys_for
from virtfleet_tui.panels.console_tabs import ConsoleTabs
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.terminal import Terminal


class ConsoleScreen(FleetScreen):
    contexts: ClassVar[tuple[str, ...]] = (CONSOLE, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(CONSOLE)

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__(console, place)
        if place.subject is None:
            raise ValueError("the console of nothing")
        self._current = console.consoles.of(place.subject)

    def compose_body(self) -> Iterable[Widget]:
        yield ConsoleTabs(id="console-tabs")
        yield Frame("Console", Terminal(id="terminal"), id="console-frame")
        yield Static("", markup=False, id="console-ended")

    def on_mount(self) -> None:
        self._show(self._current)
        self.home_focus()

    def on_unmount(self) -> None:
        self._current.changed = lambda: None

    @on(events.ScreenSuspend)
    def _left(self) -> None:
        self._current.changed = lambda: None

    @on(events.ScreenResume)
    def _back_again(self) -> None:
        if self.is_mounted:
            self._show(self._current)

    @property
    def title_text(self) -> str:
        return f"console of {self._current.subject.name}"

    @property
    def subject(self) -> Subject | None:
        return self._current.subject

    @property
    def terminal(self) -> Terminal:
        return self.query_one(Terminal)

    @property
    def guest_has_keys(self) -> bool:
        return self.is_mounted and self.terminal.has_focus

    def home_focus(self) -> None:
        self.terminal.focus()

    # ---- which one

    def _show(self, which: GuestConsole) -> None:
        self._current.changed = lambda: None
        self._current = which
        which.changed = self._changed
        terminal = self.terminal
        terminal.show(which.emulator)
        if terminal.size.width and terminal.size.height:
            which.emulator.resize(terminal.size.width, terminal.size.height)
        self._changed()
        self.show_status()
        self.show_keys()

    def _changed(self) -> None:
        """The guest in view wrote, or its console ended."""
        if not self.is_mounted:
            return
        self.terminal.changed()
        self._retitle()

    def _retitle(self) -> None:
        current, terminal = self._current, self.terminal
        right: list[tuple[str, str]] = []
        if terminal.back:
            right.append((f"{terminal.back:,} lines back, ", "warning"))
        if current.lost:
            right.append((f"{current.lost:,} typed bytes not taken, ", "bad"))
        if current.emulator.failures:
            right.append(("screen was reset, ", "warning"))
        look = {Phase.OPENING: "busy", Phase.OPEN: "good", Phase.ENDED: "bad"}[current.phase]
        right += [(f"● {current.phase.value}" if current.phase is Phase.OPEN else current.phase.value, look)]
        right.append((f", {current.emulator.columns}×{current.emulator.lines}", "muted"))
        frame = self.query_one("#console-frame", Frame)
        frame.set_title((current.subject.title, "bold"), right=tuple(right))
        self.query_one(ConsoleTabs).show(
            [(each.subject.name, each.phase) for each in self.console.consoles],
            list(self.console.consoles).index(current) if current in self.console.consoles else 0,
        )
        self._explain()

    def _explain(self) -> None:
        """Below the terminal, where it hides nothing that the guest said."""
        current, box = self._current, self.query_one("#console-ended", Static)
        ended = current.phase is Phase.ENDED
        if box.display != ended:
            box.display = ended
            self.show_keys()
        if ended:
            cure = f"   {current.cure}" if current.cure else ""
            how = "T takes it over" if current.in_use else "enter connects again"
            keys = f"ctrl-] and {how}" if self.guest_has_keys and current.in_use else how
            reason = current.reason or "not open"
            box.update(say(("✖ ", "bad"), reason, (cure, "muted"), (f"   {keys}", "accent")))

    # ---- the terminal

    @on(Terminal.Typed)
    def _typed_for_guest(self, message: Terminal.Typed) -> None:
        if self._current.phase is Phase.ENDED and message.data == b"\r":
            self._current.open()
        else:
            self._current.type(message.data)

    @on(Terminal.Released)
    def _released(self) -> None:
        self.set_focus(None)

    @on(Terminal.Scrolled)
    def _scrolled(self) -> None:
        self._retitle()

    @on(Terminal.Fits)
    def _fits(self, message: Terminal.Fits) -> None:
        self._current.emulator.resize(message.columns, message.lines)
        self._changed()

    def on_descendant_focus(self) -> None:
        self._keys_moved()

    def on_descendant_blur(self) -> None:
        self._keys_moved()

    def _keys_moved(self) -> None:
        if self.is_mounted:
            self.show_keys()
            self._explain()

    # ---- keys

    def active_keys(self) -> list[Key]:
        return list(keys_for((GUEST,))) if self.guest_has_keys else super().active_keys()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "next_console" | "previous_console":
                return len(self.console.consoles) > 1
            case "take_over":
                return self._current.phase is Phase.ENDED and self._current.in_use
        return super().check_action(action, parameters)

    def action_to_guest(self) -> None:
        """Enter: keys go to the guest; of a console that ended: once more."""
        if self._current.phase is Phase.ENDED:
            self._current.open()
        self.home_focus()

    def action_take_over(self) -> None:
        self._current.open(force=True)
        self.home_focus()

    def action_next_console(self) -> None:
        self._show(self.console.consoles.beside(self._current, 1))

    def action_previous_console(self) -> None:
        self._show(self.console.consoles.beside(self._current, -1))

    async def action_close_console(self) -> None:
        """Give it back; then the next one, or back to the fleet."""
        closing = self._current
        following = self.console.consoles.beside(closing, 1)
        await self.console.consoles.close(closing)
        if following is closing:
            self.console.back()
        else:
            self._show(following)

    def action_scroll_guest(self, by: int) -> None:
        self.terminal.scroll_back(by * max(1, self.terminal.size.height - 1))

    def action_size_guest(self) -> None:
        """Tell a shell in the guest how large its screen is: a serial line has no other way."""
        emulator = self._current.emulator
        self._current.type(f"stty rows {emulator.lines} cols {emulator.columns}\r".encode())
        self.home_focus()
