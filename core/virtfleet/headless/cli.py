"""The commands: what click parses, and which module does the work, imported when it is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from virtfleet import __version__
from virtfleet.errors import VirtfleetError
from virtfleet.headless import (
    batch_commands,
    diagnostics,
    host_verbs,
    job_commands,
    output,
    placement_commands,
    pool_verbs,
    vm_create,
    vm_moving,
    vm_reach,
    vm_shape,
    vm_verbs,
    volume_verbs,
)
from virtfleet.headless.options import (
    LISTING,
    Collected,
    Command,
    Duration,
    Group,
    check_used,
    shared_options,
)

if TYPE_CHECKING:
    from virtfleet.hypervisor.zygote import Zygote

_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_ROWS = ("filter", "columns", "sort", "no_header")


class Root(Group):
    """The nouns, also by their other names (vms, hosts, domains ...)."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            from virtfleet.query.nouns import find_noun

            noun = find_noun(cmd_name)
            found = super().get_command(ctx, noun.name) if noun else None
        return found


@click.group(cls=Root, context_settings=_SETTINGS, invoke_without_command=True)
@click.version_option(__version__, prog_name="virtfleet", message="%(prog)s %(version)s")
@shared_options(everything=True)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A fleet of libvirt hypervisors. Without a command: the console.

    The fleet is that of --fleet, $VIRTFLEET_FLEET or ~/.config/virtfleet/fleet.yaml.

    Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 partial, some hosts did not answer and the
    rest is printed; 4 refused; 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        options = [f"--{name.replace('_', '-')}" for name in ctx.ensure_object(Collected).given]
        foreign = [option for option in options if option not in ("--fleet", "--connect", "--demo")]
        if not foreign:
            raise click.UsageError("a command is missing", ctx)
        example = f"virtfleet vm list {foreign[0]} ..."
        raise click.UsageError(
            f"the console does not take {foreign[0]}; a command does: {example}; the console has the key /"
            if foreign[0] == "--filter"
            else f"the console does not take {foreign[0]}; a command does: {example}",
            ctx,
        )


def _noun(name: str, plural: str, what: str) -> Group:
    """The group of a noun, with `list` and `show`."""

    @click.group(name, cls=Group, help=what)
    @shared_options(everything=True)
    def group() -> None:
        pass

    @group.command("list", cls=Command, help=f"List {plural}.")
    @shared_options(*LISTING)
    @click.pass_context
    def list_(ctx: click.Context) -> int:
        options = check_used(ctx)
        from virtfleet.headless import listing

        return listing.run(name, options)

    called = {"host": "NAME", "volume": "NAME, POOL/NAME or NAME@HOST"}.get(name, "NAME, NAME@HOST or UUID")

    @group.command("show", cls=Command, help=f"Everything about {plural}, each named by {called}.")
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @click.option(
        "--xml",
        is_flag=True,
        help="What libvirt says, as XML." if name != "host" else "Capabilities, as XML.",
    )
    @shared_options()
    @click.pass_context
    def show(ctx: click.Context, names: tuple[str, ...], xml: bool) -> int:
        options = check_used(ctx)
        if xml and "output" in ctx.ensure_object(Collected).given:
            raise click.UsageError("--xml and --output exclude each other", ctx)
        from virtfleet.headless import showing

        return showing.run(name, names, options, xml=xml)

    @group.command(
        "fields", cls=Command, help=f"The fields of {plural}, for --columns, --filter, --sort, JSON."
    )
    @shared_options(only=("output", "no_header"))
    @click.pass_context
    def fields(ctx: click.Context) -> int:
        options = check_used(ctx)
        from virtfleet.headless import describing

        return describing.run(name, options)

    cli.add_command(group)
    return group


_host = _noun("host", "hosts", "Hypervisors.")
host_verbs.register(_host)
_vm = _noun("vm", "VMs", "Virtual machines.")
for _module in (vm_verbs, vm_shape, vm_create, vm_reach, vm_moving):
    _module.register(_vm)
_pool = _noun("pool", "storage pools", "Storage pools: one row per storage, however many hosts see it.")
pool_verbs.register(_pool)
volume_verbs.register(_noun("volume", "volumes", "Volumes of storage pools."))
_noun("network", "virtual networks", "Virtual networks.")


@_host.command("check", cls=Command, short_help="Connect, explain each failure, tell what works.")
@click.argument("hosts", metavar="[HOST...]", nargs=-1)
@shared_options("no_header")
@click.pass_context
def check(ctx: click.Context, hosts: tuple[str, ...]) -> int:
    """Connect, explain each failure, tell versions and what works.

    Exit code: 0 all hosts are well, 3 some are, 1 none is.
    """
    options = check_used(ctx)
    from virtfleet.headless import checking

    return checking.run(hosts, options)


@cli.command("top", cls=Command)
@click.argument("noun", type=click.Choice(["vm", "host"]), default="vm")
@click.option(
    "--by",
    type=click.Choice(["cpu", "mem", "disk", "net"]),
    default="cpu",
    help="Sort by, largest first (default: cpu).",
)
@click.option("-n", "times", type=click.IntRange(min=1), metavar="N", help="So many times, then end.")
@click.option(
    "-d", "delay", type=Duration(0.09), default=2.0, metavar="S", help="Seconds between (default: 2)."
)
@click.option("-l", "--limit", type=click.IntRange(min=1), metavar="N", help="So many rows.")
@shared_options(*_ROWS)
@click.pass_context
def top(ctx: click.Context, noun: str, by: str, times: int | None, delay: float, limit: int | None) -> int:
    """Who uses most. On a terminal live until Ctrl-C, else once; -n says how often."""
    options = check_used(ctx)
    if options.output not in ("table", "json"):
        raise click.UsageError("top has the forms table and json (one object each time)", ctx)
    if options.sort and ctx.get_parameter_source("by") is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("--by and --sort exclude each other", ctx)
    from virtfleet.headless import top as module

    return module.run(noun, options, by=by, times=times, delay=delay, limit=limit)


@cli.command("watch", cls=Command, short_help="Changes, as JSON lines or a live table.")
@click.argument(
    "kinds",
    metavar="[KIND...]",
    nargs=-1,
    type=click.Choice(["host", "vm", "pool", "volume", "network", "event"]),
)
@click.option(
    "--every", type=Duration(0.09), default=1.0, metavar="S", help="Gather changes for so long (default: 1)."
)
@click.option("--for", "duration", type=Duration(), metavar="S", help="End after so long (default: never).")
@shared_options(*_ROWS)
@click.pass_context
def watch(ctx: click.Context, kinds: tuple[str, ...], every: float, duration: float | None) -> int:
    """Changes as JSON lines, or with `-o table` one kind as a live table.

    KIND: host, vm, pool, volume, network, event; without any, all but volumes,
    and of these the ones that have the fields named. A line has time, kind,
    change (new, changed or gone) and item: all fields of a new object, those that changed of another.
    """
    options = check_used(ctx)
    form = ctx.ensure_object(Collected).given.get("output", "json")
    if form not in ("json", "table"):
        raise click.UsageError("watch has the forms json (lines) and table (live)", ctx)
    from virtfleet.headless import watching

    if form == "json":
        unused = [f"--{name.replace('_', '-')}" for name in ("sort", "no_header") if getattr(options, name)]
        if unused:
            raise click.UsageError(f"{unused[0]} has no effect on JSON lines", ctx)
        return watching.run(kinds, replace(options, output="json"), every=every, duration=duration)
    if not output.is_terminal():
        raise click.UsageError("a live table needs a terminal; for a pipe there is `top -n N`", ctx)
    if len(kinds) > 1 or kinds == ("event",):
        raise click.UsageError("a live table shows one of host, vm, pool, volume, network", ctx)
    return watching.run_table(kinds[0] if kinds else "vm", options, every=every, duration=duration)


@cli.command("overview", cls=Command)
@click.option("--or-demo", is_flag=True, help="Of the demo fleet if there is no fleet file.")
@shared_options("no_header")
@click.pass_context
def overview(ctx: click.Context, or_demo: bool) -> int:
    """The fleet once, as tables: hosts, VMs, pools."""
    options = check_used(ctx)
    if options.output != "table":
        raise click.UsageError("the overview is for people; `host list`, `vm list` ... have other forms", ctx)
    from virtfleet.headless import fleet_tables

    return fleet_tables.run(options, or_demo=or_demo)


for _command in (
    job_commands.job,
    job_commands.audit,
    batch_commands.plan,
    batch_commands.apply,
    placement_commands.placement,
    placement_commands.capacity,
    placement_commands.group,
    placement_commands.project,
):
    cli.add_command(_command)


@cli.command("completion", cls=click.Command, short_help="Completion of our words, for your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print what makes the shell complete our words: eval "$(virtfleet completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    output.lines([kind(cli, {}, "virtfleet", "_VIRTFLEET_COMPLETE").source()])
    return diagnostics.Exit.DONE


def run(arguments: list[str], zygote: Zygote | None = None) -> int:
    """Parse and do; returns the exit code. Every failure is told in a sentence, none as a traceback."""
    collected = Collected(zygote)
    try:
        code = cli.main(arguments, "virtfleet", standalone_mode=False, obj=collected)
        return int(code or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return diagnostics.Exit.INTERRUPTED
    except click.ClickException as error:
        return diagnostics.usage(error)
    except VirtfleetError as error:
        return diagnostics.report(error, as_json=collected.as_json)
    except (output.Closed, BrokenPipeError):
        return diagnostics.Exit.DONE
    except Exception as error:
        return diagnostics.broken(error)
