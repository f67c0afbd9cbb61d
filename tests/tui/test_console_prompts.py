"""Questions of hosts: one at a time, by name of the host, with the safe choice first."""

from __future__ import annotations

from pathlib import Path

from tui.console import console
from tui.feeder import small_fleet
from virtfleet.model import Prompt, PromptKind
from virtfleet_tui.dialogs.ask import Answer, AskDialog

KEY = Prompt(
    1, "hv01", PromptKind.HOST_KEY, "hv01 (10.0.0.1) shows SHA256:abc\nIt is unknown.", False, "SHA256:abc"
)
PASSWORD = Prompt(2, "hv02", PromptKind.PASSWORD, "Password of root@hv02", True, "root@hv02")


async def test_enter_alone_trusts_nobody(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        feeder.prompts.ask(KEY)
        text = await hands.until("Is this really hv01?")
        assert "SHA256:abc" in text
        await hands.press("enter")
        assert feeder.prompts.answers == [(1, None)]
        assert not hands.shows(AskDialog)


async def test_a_key_can_be_trusted_and_questions_queue(tmp_path: Path) -> None:
    feeder = small_fleet()
    feeder.prompts.ask(KEY)
    feeder.prompts.ask(PASSWORD)
    async with console(feeder, tmp_path) as hands:
        assert "1 more after this" in await hands.until("Is this really hv01?")
        await hands.press("tab", "enter")
        await hands.until("Password for hv02")
        await hands.write("secret")
        assert "secret" not in hands.text
        await hands.press("enter")
        assert feeder.prompts.answers == [(1, "yes"), (2, "secret")]


async def test_a_question_waits_for_what_is_being_typed(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.press("/", "h")
        feeder.prompts.ask(KEY)
        await hands.press("v", "0", "enter")
        assert feeder.prompts.answers == []
        assert hands.overview.panel.filter_text == "hv0"
        await hands.until("Is this really hv01?")
        await hands.press("escape")
        await hands.press("C")
        feeder.prompts.ask(PASSWORD)
        await hands.press("j", "escape")
        await hands.until("Password for hv02")
        assert feeder.prompts.answers == [(1, None)]


async def test_escape_declines(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        feeder.prompts.ask(PASSWORD)
        await hands.until("Password for hv02")
        await hands.press("escape")
        assert feeder.prompts.answers == [(2, None)]


async def test_a_question_that_went_away_goes_away(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        feeder.prompts.ask(PASSWORD)
        await hands.until("Password for hv02")
        feeder.prompts.gone(2)
        await hands.pilot.pause()
        assert not hands.shows(AskDialog)
        assert feeder.prompts.answers == []


async def test_one_answer_for_many_hosts_is_said(tmp_path: Path) -> None:
    feeder = small_fleet()
    for number in range(3, 11):
        feeder.prompts.ask(
            Prompt(number, f"hv{number}", PromptKind.PASSPHRASE, "Key of all", True, "id_ed25519")
        )
    async with console(feeder, tmp_path) as hands:
        text = await hands.until("Passphrase for hv3")
        assert "hv4, hv5, hv6, hv7 and 3 more" in text
        await hands.press("x", "enter")
        assert feeder.prompts.answers == [(3, "x")]


def test_an_answer_never_shows_itself() -> None:
    assert "hunter2" not in repr(Answer(1, "hunter2"))


async def test_a_hostile_question_is_shown_as_it_is(tmp_path: Path) -> None:
    feeder = small_fleet()
    feeder.prompts.ask(Prompt(5, "hv01", PromptKind.INTERACTIVE, "[red]Token[/red]\x1b[2J:", False))
    async with console(feeder, tmp_path) as hands:
        text = await hands.until("hv01 asks")
        assert "[red]Token[/red]�[2J:" in text
        await hands.write("42")
        assert "42" in hands.text
