"""`job list|show|log|cancel|...` and `audit`: what is being done to the fleet, and what was."""

from __future__ import annotations

import click

from virtfleet.headless.options import ACTING, Command, Group, check_used, shared_options
from virtfleet.query.units import parse_duration


@click.group("job", cls=Group, help="Changes under way, and those that were.")
@shared_options(everything=True)
def job() -> None:
    pass


@job.command("list", cls=Command)
@click.option("--all", "everything", is_flag=True, help="Also those that ended long ago.")
@shared_options("filter", "columns", "sort", "no_header")
@click.pass_context
def _list(ctx: click.Context, everything: bool) -> int:
    """Jobs: running, interrupted and recent ones. Those of a process that was killed can be resumed."""
    options = check_used(ctx)
    from virtfleet.headless import jobs

    return jobs.list_all(options, everything=everything)


@job.command("show", cls=Command)
@click.argument("numbers", metavar="ID...", nargs=-1, required=True)
@shared_options()
@click.pass_context
def _show(ctx: click.Context, numbers: tuple[str, ...]) -> int:
    """A job with its steps, and what it changed."""
    options = check_used(ctx)
    from virtfleet.headless import jobs

    return jobs.show(numbers, options)


@job.command("log", cls=Command)
@click.argument("number", metavar="ID")
@shared_options()
@click.pass_context
def _log(ctx: click.Context, number: str) -> int:
    """What a job did, line by line."""
    options = check_used(ctx)
    from virtfleet.headless import jobs

    return jobs.log(number, options)


@job.command("cancel", cls=Command)
@click.argument("numbers", metavar="ID...", nargs=-1, required=True)
@shared_options()
@click.pass_context
def _cancel(ctx: click.Context, numbers: tuple[str, ...]) -> int:
    """Stop jobs, also those of another process; what they did is taken back."""
    options = check_used(ctx)
    from virtfleet.headless import jobs

    return jobs.cancel(numbers, options)


def _going_on(name: str, doc: str) -> None:
    @job.command(name, cls=Command, help=doc)
    @click.argument("numbers", metavar="ID...", nargs=-1, required=True)
    @shared_options(*ACTING)
    @click.pass_context
    def command(ctx: click.Context, numbers: tuple[str, ...]) -> int:
        options = check_used(ctx)
        from virtfleet.headless import jobs

        return jobs.go_on(name, numbers, options)


_going_on("resume", "Go on with jobs that were interrupted or broke.")
_going_on("rollback", "Take back what interrupted or broken jobs had done.")
_going_on("undo", "Take back jobs that are done: define, resize, rename, tags and the like.")


@job.command("run", cls=Command, hidden=True)
@click.argument("number", metavar="ID")
@shared_options()
@click.pass_context
def _run(ctx: click.Context, number: str) -> int:
    """Carry out a job that was handed over with --no-wait."""
    options = check_used(ctx)
    from virtfleet.headless import jobs

    return jobs.run_detached(number, options)


@click.command("audit", cls=Command)
@click.option("--since", metavar="TIME", help="Like 2h or 7d ago.")
@click.option("--object", "name", metavar="NAME", default="", help="Only what was done to it.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=200, metavar="N", help="Default: 200, newest last."
)
@click.option("--xml", is_flag=True, help="With the XML before and after, as a diff.")
@shared_options("no_header")
@click.pass_context
def audit(ctx: click.Context, since: str | None, name: str, limit: int, xml: bool) -> int:
    """Who did what, when, from where, and how it ended."""
    options = check_used(ctx)
    seconds = None
    if since is not None:
        try:
            seconds = parse_duration(since)
        except ValueError as error:
            raise click.UsageError(f"--since: {error}", ctx) from None
    from virtfleet.headless import auditing

    return auditing.run(options, since=seconds, name=name, limit=limit, xml=xml)
