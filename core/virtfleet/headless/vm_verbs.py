"""`vm start|shutdown|...`: what an operator does to VMs that are there. A verb takes several, or --filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtfleet.headless.options import ACTING, Command, Duration, Group, Options, check_used, shared_options
from virtfleet.query.units import parse_size

if TYPE_CHECKING:
    from virtfleet.model.action import Action, VmRef
    from virtfleet.query.rows import VmRow

    _SizeType = click.ParamType[int]
else:
    _SizeType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

ROWS = ("filter", *ACTING)
"""Shared options of a verb that acts on VMs."""


class Size(_SizeType):
    """Bytes: 512MiB, 10GiB, or a number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def on_vms(function: F) -> F:
    """The arguments and shared options of a verb on VMs."""
    decorated = shared_options(*ROWS, "columns")(function)
    return click.argument("names", metavar="[VM...]", nargs=-1)(decorated)


def act(
    ctx: click.Context,
    names: tuple[str, ...],
    make: Callable[[VmRef], Action],
    *,
    options: Options | None = None,
    everywhere: bool = False,
) -> int:
    """Do what `make` says of each VM that is meant. `everywhere`: all hosts are asked first."""
    options = options or check_used(ctx)
    if bool(names) == bool(options.filter):
        raise click.UsageError("name the VMs, or choose them with --filter EXPR: one of the two", ctx)
    from virtfleet.headless import acting

    return acting.on_vms(names, options, lambda row: make(ref(row)), everywhere=everywhere)


def ref(row: VmRow) -> VmRef:
    from virtfleet.model.action import VmRef

    return VmRef(row.host.name, row.vm.uuid, row.vm.name)


_PLAIN = (
    ("reboot", "RebootVm", "Ask the guests to reboot."),
    ("reset", "ResetVm", "Press the reset button: the guests are not asked."),
    ("poweroff", "PowerOffVm", "Pull the plug: the guests are not asked."),
    ("suspend", "SuspendVm", "Stop their CPUs; they stay in memory."),
    ("resume", "ResumeVm", "Let suspended VMs run on."),
    ("save", "SaveVm", "Memory to the host's disk, and off."),
    ("restore", "RestoreVm", "Start from the saved state."),
)


def register(vm: Group) -> None:
    """Adds the verbs to `vm`."""
    for name, kind, doc in _PLAIN:
        _plain(vm, name, kind, doc)
    for function in (_start, _shutdown, _autostart, _rename, _tag, _describe, _assign, _protect, _unprotect):
        vm.add_command(function)


def _plain(vm: Group, name: str, kind: str, doc: str) -> None:
    @vm.command(name, cls=Command, help=doc)
    @on_vms
    @click.pass_context
    def command(ctx: click.Context, names: tuple[str, ...]) -> int:
        from virtfleet.model import action

        return act(ctx, names, lambda vm: getattr(action, kind)(vm=vm))


@click.command("start", cls=Command)
@click.option("--paused", is_flag=True, help="With their CPUs stopped.")
@click.option("--discard-saved", is_flag=True, help="Boot anew although there is a saved state; it is lost.")
@on_vms
@click.pass_context
def _start(ctx: click.Context, names: tuple[str, ...], paused: bool, discard_saved: bool) -> int:
    """Start VMs, from their saved state if there is one."""
    from virtfleet.model.action import StartVm

    return act(ctx, names, lambda vm: StartVm(vm=vm, paused=paused, discard_saved=discard_saved))


@click.command("shutdown", cls=Command)
@click.option(
    "--wait", type=Duration(), default=60.0, metavar="S", help="Seconds a guest may take (default: 60)."
)
@click.option("--force", is_flag=True, help="Then pull the plug.")
@on_vms
@click.pass_context
def _shutdown(ctx: click.Context, names: tuple[str, ...], wait: float, force: bool) -> int:
    """Ask guests to shut down, by ACPI and by their agent, and wait until they have."""
    from virtfleet.model.action import ShutdownVm

    return act(ctx, names, lambda vm: ShutdownVm(vm=vm, wait=wait, force=force))


@click.command("autostart", cls=Command)
@click.option("--off", is_flag=True, help="No longer start them with their host.")
@on_vms
@click.pass_context
def _autostart(ctx: click.Context, names: tuple[str, ...], off: bool) -> int:
    """Start VMs with their host."""
    from virtfleet.model.action import SetAutostart

    return act(ctx, names, lambda vm: SetAutostart(vm=vm, on=not off))


@click.command("rename", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("new_name", metavar="NEW-NAME")
@shared_options(*ACTING)
@click.pass_context
def _rename(ctx: click.Context, name: str, new_name: str) -> int:
    """Give a VM that is off another name."""
    from virtfleet.model.action import RenameVm

    return act(ctx, (name,), lambda vm: RenameVm(vm=vm, name=new_name))


@click.command("tag", cls=Command)
@click.option("--add", "-a", multiple=True, metavar="TAG", help="May be given several times.")
@click.option("--remove", "-r", multiple=True, metavar="TAG", help="May be given several times.")
@on_vms
@click.pass_context
def _tag(ctx: click.Context, names: tuple[str, ...], add: tuple[str, ...], remove: tuple[str, ...]) -> int:
    """Put tags on VMs, or take them off."""
    from virtfleet.model.action import TagVm

    if not add and not remove:
        raise click.UsageError("give --add TAG or --remove TAG", ctx)
    return act(ctx, names, lambda vm: TagVm(vm=vm, add=add, remove=remove))


@click.command("describe", cls=Command)
@click.option("--title", help="One line.")
@click.option("--description", help="As long as you like.")
@on_vms
@click.pass_context
def _describe(ctx: click.Context, names: tuple[str, ...], title: str | None, description: str | None) -> int:
    """Set the title or the description of VMs; an empty one takes it away."""
    from virtfleet.model.action import DescribeVm

    if title is None and description is None:
        raise click.UsageError("give --title or --description", ctx)
    return act(ctx, names, lambda vm: DescribeVm(vm=vm, title=title, description=description))


@click.command("assign", cls=Command)
@click.option("--project", help="Name of the project; empty: none.")
@click.option("--group", help="Name of the group; empty: none.")
@on_vms
@click.pass_context
def _assign(ctx: click.Context, names: tuple[str, ...], project: str | None, group: str | None) -> int:
    """Give VMs to a project or a group."""
    from virtfleet.model.action import AssignVm

    if project is None and group is None:
        raise click.UsageError("give --project or --group", ctx)
    return act(ctx, names, lambda vm: AssignVm(vm=vm, project=project, group=group))


@click.command("protect", cls=Command)
@on_vms
@click.pass_context
def _protect(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Protect VMs: they refuse to be deleted, powered off, reset and reverted."""
    from virtfleet.model.action import ProtectVm

    return act(ctx, names, lambda vm: ProtectVm(vm=vm, on=True))


@click.command("unprotect", cls=Command)
@on_vms
@click.pass_context
def _unprotect(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Take the protection away."""
    from virtfleet.model.action import ProtectVm

    return act(ctx, names, lambda vm: ProtectVm(vm=vm, on=False))
