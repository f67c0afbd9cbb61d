"""`vm create`: from words of the command line to one action per VM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from virtfleet.errors import ConfigError
from virtfleet.headless.options import ACTING, Command, Duration, Group, Options, check_used, shared_options
from virtfleet.headless.vm_verbs import Size

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.model.action import CreateVm, FileRef, Seed


def register(vm: Group) -> None:
    """Adds `create` to `vm`."""
    vm.add_command(_create)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options of `vm create`, as they were given."""

    name: str
    count: int
    first: int
    host: str
    zone: str
    flavor: str
    vcpus: int | None
    memory: int | None
    disk: int | None
    image: str
    checksum: str
    copy: bool
    iso: str
    xml: str | None
    root: str
    pool: str
    network: tuple[str, ...]
    firmware: str
    ssh_key: tuple[str, ...]
    user_data: str | None
    network_config: str | None
    user: str
    project: str
    group: str
    tag: tuple[str, ...]
    title: str
    description: str
    protected: bool
    autostart: bool
    no_start: bool
    ready: str
    ready_within: float
    partial: bool


_FILE = click.Path(exists=True, dir_okay=False, readable=True)


@click.command("create", cls=Command)
@click.argument("name", metavar="NAME")
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=1, metavar="N", help="So many: web-%02d -n 3."
)
@click.option(
    "--first", type=click.IntRange(0), default=1, metavar="N", help="Number of the first (default: 1)."
)
@click.option("--host", default="", help="Default: the best that fits; `placement explain` says why.")
@click.option("--zone", default="", help="Choose among the hosts of this zone.")
@click.option("-F", "--flavor", default="", help="A flavor of the fleet file.")
@click.option("--vcpus", type=click.IntRange(1, 4096), metavar="N", help="Instead of the flavor's.")
@click.option("--memory", type=Size(), metavar="SIZE", help="Instead of the flavor's.")
@click.option(
    "--disk", type=Size(), metavar="SIZE", help="First disk; default: the flavor's, or the image's."
)
@click.option("-i", "--image", default="", help="Image of the fleet file, file, http(s) URL, or POOL/VOLUME.")
@click.option("--checksum", default="", metavar="sha256:HEX", help="What the image must have.")
@click.option("--copy", is_flag=True, help="A full copy of the image, no overlay on it.")
@click.option("--iso", default="", help="Install from this: file, URL, or POOL/VOLUME.")
@click.option("--xml", type=_FILE, help="Define this XML; name and UUID are ours.")
@click.option("--root", default="", help="Container: folder on the host, or a local tarball.")
@click.option("--pool", default="", help="For its disks; default: the one with most room.")
@click.option("--network", multiple=True, metavar="NAME", help="A NIC each: NETWORK, or bridge:NAME.")
@click.option("--firmware", type=click.Choice(["bios", "efi"]), default=None, help="Default: the host's.")
@click.option("--ssh-key", multiple=True, type=_FILE, metavar="FILE", help="Public key for cloud-init.")
@click.option("--user-data", type=_FILE, metavar="FILE", help="For cloud-init.")
@click.option("--network-config", type=_FILE, metavar="FILE", help="For cloud-init.")
@click.option("--user", default="", help="Who gets the keys; default: the image's user.")
@click.option("--project", default="")
@click.option("--group", default="")
@click.option("--tag", multiple=True)
@click.option("--title", default="")
@click.option("--description", default="")
@click.option("--protected", is_flag=True, help="Refuse to delete, power off, reset, revert.")
@click.option("--autostart", is_flag=True, help="Start with its host.")
@click.option("--no-start", is_flag=True, help="Define it only.")
@click.option(
    "--ready",
    type=click.Choice(["running", "address", "ssh"]),
    default="running",
    help="Done when it runs, when an address is known, when its SSH answers (default: running).",
)
@click.option("--ready-within", type=Duration(), default=300.0, metavar="S", help="Default: 300.")
@click.option("--partial", is_flag=True, help="Of several as many as find a place; default: all or none.")
@shared_options(*ACTING)
@click.pass_context
def _create(ctx: click.Context, /, **given: object) -> int:
    """Create a VM from an image, an installer, given XML, or (container) a root folder.

    NAME may be a pattern for several: web-%02d -n 3.
    """
    wish = Wish(**{**given, "firmware": given["firmware"] or ""})  # type: ignore[arg-type]
    sources = [name for name in ("image", "iso", "xml", "root") if given[name]]
    if len(sources) != 1:
        raise click.UsageError("give one of --image, --iso, --xml and --root", ctx)
    return run(wish, check_used(ctx))


def run(wish: Wish, options: Options) -> int:
    """`vm create`."""
    from virtfleet.actions.create import expand
    from virtfleet.headless import acting, session

    base = action_of(wish)
    settings = options.settings()
    if wish.host and wish.host in settings.hosts:
        settings = session.only(settings, {wish.host})

    async def work(engine: Engine) -> int:
        await engine.settled(acting.groups_for(settings, wish.flavor), timeout=options.timeout)
        if missing := session.missing(engine.snapshot, ("stats",), options.timeout):
            from virtfleet.headless import diagnostics

            diagnostics.unreachable(missing)
        actions = expand(base, wish.count, wish.first)
        return await acting.carry_out(engine, actions, options, partial=wish.partial)

    return session.run(options, settings, work)


def action_of(wish: Wish) -> CreateVm:
    """The action for the pattern; files are read and hashed here. ConfigError: a key file is none."""
    from virtfleet.model.action import CreateVm

    return CreateVm(
        name=wish.name,
        host=wish.host,
        zone=wish.zone,
        flavor=wish.flavor,
        vcpus=wish.vcpus,
        memory=wish.memory,
        disk=wish.disk,
        image=_place(wish.image),
        checksum=wish.checksum,
        copy=wish.copy,
        iso=_place(wish.iso),
        xml=file_ref(wish.xml),
        root=wish.root,
        pool=wish.pool,
        networks=wish.network,
        firmware=wish.firmware,  # type: ignore[arg-type]
        seed=_seed(wish),
        project=wish.project,
        group=wish.group,
        tags=wish.tag,
        title=wish.title,
        description=wish.description,
        protected=wish.protected,
        autostart=wish.autostart,
        start=not wish.no_start,
        ready=wish.ready,  # type: ignore[arg-type]
        ready_within=wish.ready_within,
    )


def _place(text: str) -> str:
    """A path made absolute where it is one: the job may be resumed from another folder."""
    return os.path.abspath(text) if text and "://" not in text and os.path.exists(text) else text


def file_ref(path: str | None) -> FileRef | None:
    """A local file with its hash. None: none was given."""
    if path is None:
        return None
    from virtfleet.images.hashing import file_ref

    return file_ref(path)


def _seed(wish: Wish) -> Seed | None:
    from virtfleet.model.action import Seed

    if not (wish.ssh_key or wish.user_data or wish.network_config):
        return None
    keys = tuple(line for path in wish.ssh_key for line in public_keys(path))
    return Seed(
        ssh_keys=keys,
        user_data=file_ref(wish.user_data),
        network_config=file_ref(wish.network_config),
        user=wish.user,
    )


def public_keys(path: str) -> list[str]:
    """The keys in a file of public keys. ConfigError: none, or a private one."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(1 << 20)
    if "PRIVATE KEY" in text:
        raise ConfigError(
            "this is a private key; the guest gets the public one", where=path, cure=f"{path}.pub?"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    bad = [line for line in lines if len(line.split()) < 2 or not line.isprintable()]
    if bad or not lines:
        raise ConfigError(
            "found no public SSH key in it", where=path, cure="like `ssh-ed25519 AAAA... me@here`"
        )
    return lines
