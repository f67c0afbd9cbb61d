"""Shared options: before and after the noun, the last one counts, none is taken in vain."""

from __future__ import annotations

import click
import pytest

from virtfleet.headless import _without_theme
from virtfleet.headless.cli import cli
from virtfleet.headless.options import Collected, Command, Options, check_used, shared_options
from virtfleet.query.nouns import NOUNS

seen: list[Options] = []


@cli.command("probe", cls=Command, hidden=True)
@shared_options("filter")
@click.pass_context
def probe(ctx: click.Context) -> None:
    seen.append(check_used(ctx))


def options(line: str) -> Options:
    seen.clear()
    cli.main(line.split(), "virtfleet", standalone_mode=False, obj=Collected())
    return seen[0]


def test_defaults() -> None:
    assert options("probe") == Options()


def test_before_and_after() -> None:
    expected = Options(fleet="f.yaml", output="json", filter="a", timeout=90.0, demo=True)
    assert options("--fleet f.yaml -o json --filter a --timeout 1m30s --demo probe") == expected
    assert options("probe --fleet f.yaml -o json --filter a --timeout 90 --demo") == expected
    assert options("--fleet f.yaml --demo probe -o json --filter a --timeout 90s") == expected


def test_the_last_one_counts() -> None:
    assert options("-o yaml probe -o csv").output == "csv"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sort name probe", "--sort has no effect on `virtfleet probe`"),
        ("--filter x vm show a", "--filter has no effect on `virtfleet vm show`"),
        ("vm --columns name show a", "--columns has no effect on `virtfleet vm show`"),
        ("--demo vm fields", "--demo has no effect on `virtfleet vm fields`"),
        ("--rates top --demo", "--rates has no effect on `virtfleet top`"),
        ("probe --timeout 0", "Invalid value for '--timeout': 0 is not above 0 s and at most a day"),
        (
            "probe --timeout x",
            "Invalid value for '--timeout': 'x' is not a duration; write 90s, 2m, 1h30m or 5d",
        ),
        ("vm show a --xml -o json", "--xml and --output exclude each other"),
        ("watch --demo -s name", "--sort has no effect on JSON lines"),
        ("watch --demo -o csv", "watch has the forms json (lines) and table (live)"),
        ("top --demo -o yaml", "top has the forms table and json (one object each time)"),
        ("top --demo --by net -s name", "--by and --sort exclude each other"),
        ("probe --dry-run", "No such option"),
        ("vm lst", "No such command 'lst'."),
    ],
)
def test_refused(line: str, message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        options(line)
    assert caught.value.format_message().startswith(message)


def test_every_noun_lists_and_shows_and_has_its_other_names() -> None:
    ctx = click.Context(cli)
    for name in ("host", "vm", "pool", "volume", "network"):
        group = cli.get_command(ctx, name)
        assert isinstance(group, click.Group)
        assert {"list", "show", "fields"} <= set(group.commands)
        assert all(cli.get_command(ctx, alias) is group for alias in NOUNS[name].aliases)


def test_the_consoles_theme_means_nothing_to_the_overview() -> None:
    assert _without_theme(["--demo", "--theme", "light", "--theme=dark"]) == ["--demo"]


def test_no_command_has_two_options_of_one_name() -> None:
    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
        assert len(names) == len(set(names)), words
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                walk(each, (*words, name))

    walk(cli, ())
