"""Consoles of guests on the screen: keys and bytes both ways, several at once, hostile output, lost ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste

from tui.console import Hands, console
from tui.feeder import Feeder, host, vm
from virtfleet.errors import DeadlineError, RefusedError, VirtfleetError
from virtfleet.model import Prompt, PromptKind, VmState
from virtfleet_tui.dialogs.ask import AskDialog
from virtfleet_tui.guest_consoles import GuestConsole, Phase
from virtfleet_tui.screens.console import ConsoleScreen
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.widgets.terminal import Terminal


class Line:
    """A guest's end of one serial line."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.writer: asyncio.StreamWriter | None = None
        self._more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._more.set()
        while data := await reader.read(4096):
            self.heard += data
            self._more.set()
        writer.close()

    async def say(self, data: bytes) -> None:
        while self.writer is None:
            await self._wait()
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            while data not in self.heard:
                await self._wait()

    def hang_up(self) -> None:
        assert self.writer is not None
        self.writer.close()
        self.writer = None

    async def _wait(self) -> None:
        self._more.clear()
        await self._more.wait()


class Guests(Feeder):
    """A fleet whose VMs have serial lines."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            host("hv01", [vm(n, consoles=1) for n in (1, 2)] + [vm(3, state=VmState.SHUTOFF, consoles=1)]),
            host("hv02", [vm(1, name="vm-00001", consoles=1)]),
        )
        self.folder = folder
        self.lines: dict[tuple[str, str], Line] = {}
        self.refusal: VirtfleetError | None = None
        self.reason = "vm-00001 was shut down"
        self._servers: list[asyncio.Server] = []

    async def request(
        self, host: str, op: str, args: dict[str, Any] | None = None, timeout: float = 5.0
    ) -> Any:
        self.requests.append((host, op, args or {}))
        if op == "console.status":
            return {"open": False, "reason": self.reason, "failed": False, "lost": 0}
        if op != "console.open" or args is None:
            return await super().request(host, op, args, timeout)
        if self.refusal is not None and not args["force"]:
            raise self.refusal
        line = self.lines[host, args["uuid"]] = Line()
        path = self.folder / f"{len(self._servers)}.sock"
        self._servers.append(await asyncio.start_unix_server(line.serve, path))
        return {"id": "1", "path": str(path), "name": "vm"}

    async def stop(self) -> None:
        await super().stop()
        for server in self._servers:
            server.close()

    def line(self, number: int, host: str = "hv01") -> Line:
        return self.lines[host, f"00000000-0000-4000-8000-{number:012d}"]


@pytest.fixture
def guests(tmp_path: Path) -> Guests:
    return Guests(tmp_path)


@asynccontextmanager
async def opened(guests: Guests, tmp_path: Path, name: str = "vm-00001@hv01") -> AsyncIterator[Hands]:
    async with console(guests, tmp_path) as hands:
        await hands.command(f"console {name}")
        await hands.until("● open")
        yield hands


def guest(hands: Hands) -> GuestConsole:
    found: GuestConsole = hands.screen._current
    return found


def title(hands: Hands) -> str:
    text: str = hands.screen.query_one("#console-frame").title_text
    return text


async def until(hands: Hands, condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await hands.pilot.pause(0.01)
    raise AssertionError(hands.text)


async def test_what_the_guest_says_and_what_is_typed(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        await guests.line(1).say(b"login: ")
        assert "│login:" in await hands.until("login:")
        await hands.press("r", "o", "o", "t", "enter", "ctrl+c", "escape", "f5", "up", "tab", "q", "?", ":")
        await guests.line(1).hears(b"root\r\x03\x1b\x1b[15~\x1b[A\tq?:")
        assert hands.shows(ConsoleScreen)


async def test_keys_that_come_before_all_others_are_the_guests_too(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        await hands.press("ctrl+q", "ctrl+p", "ctrl+z")
        await guests.line(1).hears(b"\x11\x10\x1a")
        assert hands.shows(ConsoleScreen)
        await hands.press("ctrl+right_square_bracket", "ctrl+p")
        assert not hands.shows(ConsoleScreen), "the palette"


async def test_c_on_a_vm_opens_it_and_escape_leads_back(guests: Guests, tmp_path: Path) -> None:
    async with console(guests, tmp_path) as hands:
        await hands.command("vms vm-00002")
        await hands.press("c")
        await hands.until("● open")
        assert guests.requests[-1][2]["uuid"].endswith("000000000002")
        await hands.press("ctrl+right_square_bracket", "escape")
        assert hands.shows(OneList)
        await guests.line(2).say(b"meanwhile")
        await hands.press("c")
        await hands.until("meanwhile")
        assert [op for _, op, _ in guests.requests].count("console.open") == 1
        await hands.press("ctrl+right_square_bracket", "x")
        assert hands.shows(OneList)
        assert len(hands.app.console_.consoles) == 0


async def test_several_at_once_each_with_its_own(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        await hands.press("ctrl+right_square_bracket")
        await hands.command("console vm-00001@hv02")
        await hands.until("vm-00001 on hv02")
        await until(hands, lambda: ("hv02", guest(hands).subject.uuid) in guests.lines)
        await guests.line(1, "hv02").say(b"I am the second")
        await guests.line(1).say(b"I am the first")
        await hands.until("I am the second")
        assert "I am the first" not in hands.text
        assert hands.text.splitlines()[1].split() == ["●", "vm-00001", "●", "vm-00001"]
        await hands.press("ctrl+right_square_bracket", "tab")
        await hands.until("I am the first")
        await hands.press("enter", "1")
        await guests.line(1).hears(b"1")
        assert b"1" not in guests.line(1, "hv02").heard


async def test_pasted_text_goes_to_the_guest(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        hands.app.post_message(Paste("echo a\nb\x1b[201~"))
        await guests.line(1).hears(b"echo a\rb[201~")


async def test_hostile_output_stays_in_its_panel(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        before = hands.text.splitlines()
        await guests.line(1).say(
            b"\x1b]0;owned\x07\x1b]52;c;eA==\x07\x1b[?1000h\x1b[2J\x1b[999;999H\x1b[6n\x1b[c\x1b[?4m"
            b"\x1bP+q\x1b\\\x1b[H\xff\xc2\x9b\x1b[41m"
            + "\u202eRLO 中中 ".encode()
            + b"x" * 5000
            + b"\x1b[Hend"
        )
        after = (await hands.until("end")).splitlines()
        assert after[-1] == before[-1], "the key bar"
        assert after[1][0] == before[1][0] == "╭"
        assert all(line[0] == "│" and line[-1] == "│" for line in after[2:-2])
        assert bytes(guests.line(1).heard) == b"", "nothing is answered"
        assert "\u202e" not in hands.text


async def test_it_scrolls_back_and_stays_while_the_guest_goes_on(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        await guests.line(1).say(b"".join(b"line %d\r\n" % n for n in range(100)))
        await hands.until("line 99")
        await hands.press("shift+pageup")
        first = hands.text.splitlines()[2]
        assert "line 99" not in hands.text
        assert "lines back" in title(hands)
        await guests.line(1).say(b"more\r\n" * 7)
        await until(hands, lambda: guest(hands).emulator.line(-1)[0][0].startswith("line 7"))
        await hands.pilot.pause()
        assert hands.text.splitlines()[2] == first
        await hands.press("a")
        assert "more" in hands.text, "typing shows the present"


async def test_a_console_that_ended_says_why_and_enter_opens_it_again(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        await guests.line(1).say(b"Power down")
        await hands.until("Power down")
        guests.line(1).hang_up()
        shown = await hands.until("vm-00001 was shut down")
        assert "Power down" in shown, "its last words stay"
        assert "enter connects again" in shown
        await hands.press("a", "enter")
        await hands.until("● open")
        await guests.line(1).say(b"\r\nbooting")
        await hands.until("booting")
        assert bytes(guests.line(1).heard) == b""


async def test_one_that_is_in_use_can_be_taken_over(guests: Guests, tmp_path: Path) -> None:
    guests.refusal = RefusedError("the console of vm-00001 is in use", cure="--force takes it over")
    async with console(guests, tmp_path) as hands:
        await hands.command("console vm-00001@hv01")
        shown = await hands.until("is in use")
        assert "--force" not in shown
        assert "T takes it over" in shown
        await hands.press("ctrl+right_square_bracket", "T")
        await hands.until("● open")
        assert guests.requests[-1][2]["force"] is True


async def test_a_host_that_does_not_answer(guests: Guests, tmp_path: Path) -> None:
    guests.refusal = DeadlineError("no answer on lane console1 within 10 s")
    async with console(guests, tmp_path) as hands:
        await hands.command("console vm-00001@hv01")
        await hands.until("no answer on lane console1 within 10 s")
        await hands.press("ctrl+right_square_bracket", "escape")
        assert not hands.shows(ConsoleScreen)


async def test_a_flood_is_read_a_little_at_a_time(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        flood = asyncio.ensure_future(guests.line(1).say(b"y\r\n" * 2_500_000))
        for _ in range(6):
            await hands.pilot.pause()
        assert not flood.done(), "it waits for us"
        await hands.press("ctrl+c")
        await guests.line(1).hears(b"\x03")
        await hands.press("ctrl+right_square_bracket", "x")
        assert not hands.shows(ConsoleScreen)
        with pytest.raises(ConnectionError):
            await flood


async def test_a_resize_is_shown_and_told_to_nobody(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        assert "118×32" in title(hands)
        await hands.pilot.resize_terminal(90, 30)
        await until(hands, lambda: guest(hands).emulator.columns == 90)
        assert "90×27" in title(hands)
        assert bytes(guests.line(1).heard) == b""
        await hands.press("ctrl+right_square_bracket", "w")
        await guests.line(1).hears(b"stty rows 27 cols 90\r")


async def test_a_hosts_question_waits_until_no_key_is_the_guests(guests: Guests, tmp_path: Path) -> None:
    """A password typed for a guest must not become a host's, nor the other way round."""
    async with opened(guests, tmp_path) as hands:
        guests.prompts.ask(Prompt(1, "hv02", PromptKind.PASSWORD, "root's password"))
        await hands.press("s", "3")
        await guests.line(1).hears(b"s3")
        assert hands.shows(ConsoleScreen)
        await hands.press("ctrl+right_square_bracket")
        await until(hands, lambda: hands.shows(AskDialog))


async def test_names_that_are_none(guests: Guests, tmp_path: Path) -> None:
    async with console(guests, tmp_path) as hands:
        await hands.command("console nobody")
        assert "no vm nobody" in hands.text
        await hands.press("escape")
        await hands.command("console vm-00001")
        assert "2 vms are called vm-00001" in hands.text


async def test_the_keys_that_apply_are_shown(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        assert hands.text.splitlines()[-1].split("  ")[0].strip() == "ctrl-] keys back from the guest"
        await hands.press("ctrl+right_square_bracket")
        assert "to the guest" in hands.text.splitlines()[-1]
        await hands.press("question_mark")
        assert "Consoles, after ctrl-]" in hands.text


async def test_leaving_the_program_closes_all(guests: Guests, tmp_path: Path) -> None:
    async with opened(guests, tmp_path) as hands:
        line, one = guests.line(1), guest(hands)
        assert one.phase is Phase.OPEN
        assert hands.screen.query_one(Terminal).has_focus
    assert line.writer is None or line.writer.is_closing()
    assert one._task is None
