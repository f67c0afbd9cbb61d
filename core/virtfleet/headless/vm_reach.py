"""`vm console|ssh|display`: ways to a guest, through its host."""

from __future__ import annotations

import click

from virtfleet.headless.options import Command, Group, check_used, shared_options


def register(vm: Group) -> None:
    """Adds the commands to `vm`."""
    for function in (_console, _ssh, _display):
        vm.add_command(function)


def _escape(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """^] and the like, as the byte that the key sends."""
    if len(value) == 2 and value[0] == "^" and "@" <= value[1].upper() <= "_":
        return bytes([ord(value[1].upper()) & 0x1F])
    raise click.BadParameter("a control key is written ^A to ^Z, ^[, ^\\, ^], ^^ or ^_", ctx, param)


@click.command("console", cls=Command, short_help="Its serial console, in this terminal.")
@click.argument("name", metavar="VM")
@click.option("--force", is_flag=True, help="Take it from whoever has it open.")
@click.option("--device", default="", metavar="ALIAS", help="Another one than the first, like serial1.")
@click.option(
    "--escape", default="^]", callback=_escape, metavar="^KEY", help="The key that leaves (default: ^])."
)
@shared_options()
@click.pass_context
def _console(ctx: click.Context, name: str, force: bool, device: str, escape: bytes) -> int:
    """The serial console of a VM, in this terminal. Ctrl-] leaves.

    What could change this terminal itself (title, clipboard, reports) does not pass.
    """
    options = check_used(ctx)
    from virtfleet.headless import reaching

    return reaching.console(name, options, force=force, device=device, escape=escape)


@click.command("ssh", cls=Command, short_help="SSH to the guest, through its host.")
@click.argument("name", metavar="VM")
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
@click.option("-l", "--login", default="", metavar="USER", help="Who to be (default: as its image has it).")
@click.option("-i", "--identity", default="", metavar="FILE", help="Private key.")
@click.option("-p", "--port", default=22, type=click.IntRange(1, 65535), help="The guest's port.")
@click.option("--ssh-option", "more", multiple=True, metavar="OPT", help="Handed to ssh as -o OPT.")
@shared_options()
@click.pass_context
def _ssh(
    ctx: click.Context,
    name: str,
    command: tuple[str, ...],
    login: str,
    identity: str,
    port: int,
    more: tuple[str, ...],
) -> int:
    """SSH to a guest with the local ssh client, through the VM's host. The exit code is ssh's.

    Its host key is known by the VM's UUID, whatever address it has today.
    """
    options = check_used(ctx)
    from virtfleet.headless import reaching

    return reaching.ssh(name, options, command, login=login, identity=identity, port=port, more=more)


@click.command("display", cls=Command, short_help="Its screen (VNC, SPICE) in a viewer.")
@click.argument("name", metavar="VM")
@click.option("--viewer", default="", metavar="CMD", help="Start this; the address takes the place of {}.")
@click.option("--print", "only_print", is_flag=True, help="Start nothing: say what to start.")
@click.option("--type", "kind", type=click.Choice(["vnc", "spice"]), help="Where it has both.")
@shared_options()
@click.pass_context
def _display(ctx: click.Context, name: str, viewer: str, only_print: bool, kind: str | None) -> int:
    """The screen of a VM in a viewer, through its host. Open until the viewer ends, or Ctrl-C."""
    options = check_used(ctx)
    from virtfleet.headless import reaching

    if viewer and only_print:
        raise click.UsageError("--viewer and --print exclude each other", ctx)
    return reaching.display(name, options, viewer=viewer, only_print=only_print, kind=kind or "")
