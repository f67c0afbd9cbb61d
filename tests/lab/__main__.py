"""The lab from a shell: `python -m lab up`, `python -m lab exec hv1 -- virsh list`, `python -m lab down`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from lab import heal, registry, teardown
from lab.errors import LabError
from lab.fleet import Lab, Plan
from lab.host import LabHost
from lab.registry import MARKER
from lab.run import clean_environment

DEFAULT_NAME = "dev"


def _freeze(host: LabHost, args: argparse.Namespace) -> None:
    host.freeze_vm(args.vm) if args.vm else host.freeze_libvirtd()


def _thaw(host: LabHost, args: argparse.Namespace) -> None:
    host.thaw_vm(args.vm) if args.vm else host.thaw_libvirtd()


VERBS: dict[str, tuple[str, Callable[[LabHost, argparse.Namespace], object]]] = {
    "freeze": ("stop libvirtd (or one VM's QEMU) as a hung one", _freeze),
    "thaw": ("let it go on", _thaw),
    "kill-vm": ("kill one VM's QEMU", lambda host, args: host.kill_vm(args.vm)),
    "kill-libvirtd": ("kill libvirtd; the guests live on", lambda host, args: host.kill_libvirtd()),
    "start-libvirtd": ("start libvirtd again", lambda host, args: host.start_libvirtd()),
    "kill-sshd": ("kill sshd and its sessions", lambda host, args: host.kill_sshd()),
    "start-sshd": ("start sshd again", lambda host, args: host.start_sshd()),
    "cut": ("pull the network cable", lambda host, args: host.cut_link()),
    "mend": ("plug the network cable in", lambda host, args: host.mend_link()),
    "slow": ("limit the link to --kbit (none: no limit)", lambda host, args: host.slow_link(args.kbit)),
    "poweroff": ("pull the plug", lambda host, args: host.power_off()),
    "poweron": ("switch on", lambda host, args: host.power_on()),
    "fill-pool": (
        "fill a pool until --free bytes are left",
        lambda host, args: host.fill_pool(args.pool, args.free),
    ),
    "empty-pool": ("give the space back", lambda host, args: host.empty_pool(args.pool)),
    "change-host-key": ("give sshd a new key", lambda host, args: host.change_host_key()),
    "restore-host-key": ("give sshd its old key back", lambda host, args: host.restore_host_key()),
    "heal": ("undo every fault of a host", lambda host, args: heal.heal([host])),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", help=f"the lab (default: {DEFAULT_NAME}, or the only one)")

    up = verbs.add_parser("up", parents=[named], help="build a lab that stays; prints its fleet file last")
    up.add_argument("-n", "--hosts", type=int, default=3, help="how many hosts (3)")
    up.add_argument("--guests", type=int, default=2, help="running QEMU guests on each host (2)")
    up.add_argument("--off", type=int, default=1, help="guests on each host that are shut off (1)")
    up.add_argument("--lxc", type=int, default=1, help="LXC containers on the first host (1)")
    up.add_argument("--empty", action="store_true", help="guests without an operating system, 16 MiB each")
    up.add_argument("--boot-from-disk", action="store_true", help="guests boot through the BIOS (slower)")
    up.add_argument(
        "--gluster",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a pool `shared` by all hosts (yes)",
    )
    down = verbs.add_parser("down", parents=[named], help="take a lab apart")
    down.add_argument("--all", action="store_true", help="every lab on this machine")
    verbs.add_parser("status", help="the labs on this machine and their hosts")
    run = verbs.add_parser("exec", parents=[named], help="run a command on a host: exec HOST -- COMMAND")
    run.add_argument("host")
    run.add_argument("command", nargs="+")
    for name, (text, _) in VERBS.items():
        verb = verbs.add_parser(name, parents=[named], help=text)
        verb.add_argument("host")
        if name in ("freeze", "thaw", "kill-vm"):
            verb.add_argument("--vm", required=name == "kill-vm", help="one VM instead of libvirtd")
        elif name in ("fill-pool", "empty-pool"):
            verb.add_argument("pool")
            verb.add_argument("--free", type=int, default=0, metavar="BYTES", help="bytes to leave free (0)")
        elif name == "slow":
            verb.add_argument("--kbit", type=int)
    return parser


def _up(args: argparse.Namespace) -> None:
    plan = Plan(
        hosts=args.hosts, guests=args.guests, off=args.off, containers=args.lxc, shared=args.gluster,
        empty=args.empty, boot_from_disk=args.boot_from_disk,
    )  # fmt: skip
    lab = Lab.start(plan, name=args.name or DEFAULT_NAME)
    lab.persist()
    for host in lab.hosts.values():
        print(f"{host.name}  {host.address}  {host.uri}")
        if host.warnings():
            print(f"lab: {host.name}: {host.warnings()}", file=sys.stderr)
    print(lab.fleet_file)


def _down(args: argparse.Namespace) -> None:
    teardown.sweep()
    records = registry.records() if args.all else [_pick(args.name)]
    for record in records:
        teardown.tear_down(record)
        print(f"lab {record.name} is gone")


def _pick(name: str | None) -> registry.LabRecord:
    """The lab that was meant: by name, the default one, or the only one there is."""
    if name is not None:
        return registry.load(name)
    records = {record.name: record for record in registry.records()}
    if DEFAULT_NAME in records:
        return records[DEFAULT_NAME]
    if len(records) == 1:
        return next(iter(records.values()))
    raise LabError("no lab is up" if not records else f"which lab? --name {'|'.join(records)}")


def _status() -> None:
    for record in registry.records():
        owner = "stays" if record.owner is None else f"owned by process {record.owner.pid}"
        print(f"{record.name}  10.97.{record.slot}.0/24  {owner}  {record.folder / 'fleet.yaml'}")
        for host in Lab(record).hosts.values():
            print(f"  {host.name}  {host.address}  {'on' if host.is_on() else 'off'}")


def _dispatch(args: argparse.Namespace) -> None:
    if args.verb == "up":
        _up(args)
    elif args.verb == "down":
        _down(args)
    elif args.verb == "status":
        _status()
    else:
        host = Lab(_pick(args.name)).host(args.host)
        if args.verb == "exec":
            sys.stdout.flush()
            argv = [*host.enter(), *args.command]
            env = clean_environment({MARKER: host.record.name, "TERM": os.environ.get("TERM", "dumb")})
            os.execvpe(argv[0], argv, env)  # noqa: S606 - the caller's terminal, signals and exit code
        VERBS[args.verb][1](host, args)


def main() -> int:
    """Parse, do, and say what failed on one line."""
    args = _parser().parse_args()
    # A plain `kill` of `up` must take the half-built lab down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _dispatch(args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
