"""The options that every command shares, accepted before and after the noun; the last one given counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtfleet.errors import ConfigError
from virtfleet.query.units import parse_duration

if TYPE_CHECKING:
    from virtfleet.config.settings import FleetSettings
    from virtfleet.hypervisor.zygote import Zygote

if TYPE_CHECKING:
    _ParamType = click.ParamType[float]  # generic only since click 8.3
else:
    _ParamType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("table", "json", "yaml", "csv")
LISTING = ("filter", "columns", "sort", "no_header", "rates")
"""Shared options that choose rows and columns: not every command has some."""
ACTING = ("dry_run", "yes", "no_wait")
"""Those of commands that change something."""
NOTHING_CONFIGURED = (
    "there is no fleet file; give --fleet FILE or --connect URI, write ~/.config/virtfleet/fleet.yaml, "
    "or look at --demo"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the shared options of one command line say."""

    zygote: Zygote | None = None
    """One that was started early, for the engine to take over."""
    fleet: str | None = None
    connect: str | None = None
    demo: bool = False
    output: str = "table"
    timeout: float = 10.0
    """Seconds that a host may take."""
    read_only: bool = False
    no_input: bool = False
    filter: str = ""
    columns: str = ""
    sort: str = ""
    no_header: bool = False
    rates: bool = False
    dry_run: bool = False
    yes: bool = False
    no_wait: bool = False

    @property
    def as_json(self) -> bool:
        return self.output == "json"

    def settings(self, *, or_demo: bool = False) -> FleetSettings:
        """The fleet that is meant. ConfigError: wrong, missing, or contradictory."""
        from virtfleet.config.choose import choose, demo_fleet

        found = choose(self.fleet, self.connect, self.demo)
        if found is not None:
            return found
        if or_demo:
            return demo_fleet()
        raise ConfigError(NOTHING_CONFIGURED)


@dataclass
class Collected:
    """The options that stood on the command line, while click reads it."""

    zygote: Zygote | None = None
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def as_json(self) -> bool:
        return self.given.get("output") == "json"


class Duration(_ParamType):
    """Seconds, or a number with a unit; more than `above`, at most a day."""

    name = "seconds"

    def __init__(self, above: float = 0.0) -> None:
        self._above = above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._above < seconds <= 86400:
            self.fail(f"{value} is not above {self._above:g} s and at most a day", param, ctx)
        return seconds


def _shared() -> dict[str, click.Option]:
    """One new option of each kind: click keeps state in them, so that they can't be reused."""

    def option(*names: str, **more: Any) -> click.Option:
        return SharedOption(list(names), expose_value=False, callback=_collect, **more)

    made = (
        option("--fleet", metavar="FILE", help="Fleet file, or folder of such files."),
        option("--connect", metavar="URI", help="One host instead of a fleet: qemu+ssh://HOST/system."),
        option("--demo", is_flag=True, default=None, help="The simulated demo fleet."),
        option("-o", "--output", type=click.Choice(FORMS), help="Form of the output (default: table)."),
        option("--timeout", type=Duration(), metavar="S", help="Seconds that a host may take (default: 10)."),
        option("--read-only", is_flag=True, default=None, help="Connect without the right to change."),
        option("--no-input", is_flag=True, default=None, help="Ask nothing, also on a terminal."),
        option("-f", "--filter", metavar="EXPR", help="Only what fits: 'state=running cpu>80 host~^hv'."),
        option("-c", "--columns", metavar="LIST", help="Fields, in this order: name,state,cpu; or all."),
        option("-s", "--sort", metavar="LIST", help="Fields to sort by: cpu:desc,name."),
        option("--no-header", is_flag=True, default=None, help="No heads over tables and CSV."),
        option("--rates", is_flag=True, default=None, help="Wait for CPU, disk and network rates."),
        option("--dry-run", is_flag=True, default=None, help="Show the plan and do nothing."),
        option("-y", "--yes", is_flag=True, default=None, help="Do it without asking."),
        option("--no-wait", is_flag=True, default=None, help="Leave the job to the background."),
    )
    return {each.name: each for each in made if each.name}


class SharedOption(click.Option):
    """Marks the shared ones, so that help can set them apart."""


def _collect(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        ctx.ensure_object(Collected).given[param.name] = value


class Command(click.Command):
    """A command that shows the shared options in a section of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_options(self, ctx, formatter)


class Group(click.Group):
    """A noun. It takes the shared options too, so that they can stand before and after it."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


Group.group_class = Group


def _format_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            (shared if isinstance(param, SharedOption) else own).append(record)
    for title, records in (("Options", own), ("Shared options, before or after the noun", shared)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def shared_options(
    *listing: str, everything: bool = False, only: Sequence[str] | None = None
) -> Callable[[F], F]:
    """Adds the shared options to a function that becomes a command.

    `listing`: those of LISTING and ACTING that mean something to it. `everything`: on a
    group, which only collects; `check_used` then refuses what its command can't use.
    `only`: these and no others, for a command that connects to no host.
    """

    def decorate(function: F) -> F:
        for name, option in reversed(_shared().items()):
            if (
                name in only
                if only is not None
                else everything or name in listing or name not in (*LISTING, *ACTING)
            ):
                _attach(function, option)
        return function

    return decorate


def _attach(function: Callable[..., Any], option: click.Option) -> None:
    params: list[click.Parameter] = getattr(function, "__click_params__", [])
    params.append(option)
    function.__click_params__ = params  # type: ignore[attr-defined]


def check_used(ctx: click.Context) -> Options:
    """The collected options. UsageError: one that stood before the noun means nothing to this command."""
    collected = ctx.ensure_object(Collected)
    accepted = {param.name for param in ctx.command.params}
    for name in collected.given:
        if name not in accepted:
            word = name.replace("_", "-")
            raise click.UsageError(f"--{word} has no effect on `{ctx.command_path}`", ctx)
    return Options(zygote=collected.zygote, **collected.given)
