"""The plan of a new VM: from an image, an installer, given XML, or a container's root folder."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from virtfleet.actions.choose_host import Choice, choose_host, choose_pool
from virtfleet.actions.common import (
    answers,
    check_host,
    free_mac,
    name_is_free,
    name_problem,
    refuse,
    release,
    warning,
)
from virtfleet.actions.world import World
from virtfleet.errors import ConfigError, RefusedError
from virtfleet.images.facts import ImageFacts
from virtfleet.model import HostView
from virtfleet.model.action import CreateVm, Seed
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.spec import DiskSpec, NicSpec, VmSpec
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

MIB = 1 << 20
_MEMORY = 1 << 30
_VCPUS = 1
_EMPTY_DISK = 10 << 30
_NUMBER = re.compile(r"%0?[0-9]?d")
_SEED_ROOM = 2 * MIB
_OVERLAY_ROOM = 64 * MIB
"""What an overlay or a sparse disk takes at once, generously."""


def expand(action: CreateVm, count: int, first: int = 1) -> list[CreateVm]:
    """The action once for each number in its name's pattern (web-%02d). ConfigError: no place for one."""
    found = _NUMBER.search(action.name)
    if found is None:
        if count > 1:
            raise ConfigError(
                f"{action.name!r} has no place for a number, for {count} VMs", cure="like web-%02d"
            )
        return [action]
    names = [
        action.name[: found.start()] + found[0] % number + action.name[found.end() :]
        for number in range(first, first + count)
    ]
    return [msgspec.structs.replace(action, name=name) for name in names]


def plan(action: CreateVm, world: World) -> Plan:
    sizes = _sizes(action, world)
    problems = [problem] if (problem := name_problem(action.name)) else []
    sources = {"image": action.image, "ISO": action.iso, "XML": action.xml, "root": action.root}
    if len(given := [name for name, value in sources.items() if value]) != 1:
        problems.append(f"one of image, ISO, XML and root makes a VM; given: {', '.join(given) or 'none'}")
    refuse(problems, "create a VM")
    image = world.images.get(action.image) if action.image else None
    iso = world.images.get(action.iso) if action.iso else None
    where = _host(action, world, sizes.memory)
    host = where.host
    container = bool(action.root)
    if any(vm.name == action.name for vm in host.vms):
        problems.append(f"a VM called {action.name} is on {host.name} already")
    problems += [
        f"{each.name} is on {each.host}, not on {host.name}"
        for each in (image, iso)
        if each is not None and each.host and each.host != host.name
    ]
    networks, net_reasons = _networks(action, host, problems)
    refuse(problems, f"create {action.name}")
    maker = _Maker(action, world, host, sizes, networks)
    maker.reasons += [*where.reasons, *net_reasons]
    if container:
        maker.container()
    elif action.xml is not None:
        maker.given_xml()
    else:
        maker.machine(image, iso)
    return maker.plan()


class _Sizes(msgspec.Struct, frozen=True):
    vcpus: int
    memory: int
    disk: int | None
    flavor: str


def _sizes(action: CreateVm, world: World) -> _Sizes:
    flavors = world.settings.flavors
    if action.flavor and action.flavor not in flavors:
        raise RefusedError(
            f"create {action.name}: the fleet file knows no flavor {action.flavor}",
            cure=f"flavors: {', '.join(flavors) or 'none'}; or give --vcpus and --memory",
        )
    flavor = flavors.get(action.flavor)
    return _Sizes(
        action.vcpus or (flavor.vcpus if flavor else _VCPUS),
        action.memory or (flavor.memory if flavor else _MEMORY),
        action.disk if action.disk is not None else (flavor.disk or None) if flavor else None,
        action.flavor,
    )


def _host(action: CreateVm, world: World, memory: int) -> Choice:
    if action.host:
        host = check_host(world, action.host)
        return Choice(host, [])
    return choose_host(action, world, memory)


def _networks(
    action: CreateVm, host: HostView, problems: list[str]
) -> tuple[tuple[NicSpec, ...], list[Reason]]:
    """NICs without MACs yet."""
    wanted = list(action.networks)
    reasons: list[Reason] = []
    known = {network.name: network for network in host.networks}
    if not wanted and action.xml is None:
        if "default" in known and known["default"].active:
            wanted = ["default"]
            reasons.append(
                Reason(text=f"on network default, which {host.name} has; --network chooses another")
            )
        else:
            reasons.append(
                Reason(text="without a network: none was given, and there is no network `default`")
            )
    nics = []
    for each in wanted:
        kind, colon, name = each.partition(":")
        if colon and kind == "bridge":
            nics.append(NicSpec(mac="", bridge=name))
        elif each not in known:
            some = ", ".join(known) or "none"
            problems.append(f"there is no network {each} on {host.name} (there: {some})")
        elif not known[each].active:
            problems.append(f"network {each} on {host.name} is not active")
        else:
            nics.append(NicSpec(mac="", network=each))
    return tuple(nics), reasons


class _Maker:
    """Gathers steps, conditions, effects and reasons of one plan."""

    def __init__(
        self, action: CreateVm, world: World, host: HostView, sizes: _Sizes, nics: tuple[NicSpec, ...]
    ) -> None:
        self.action = action
        self.world = world
        self.host = host
        self.sizes = sizes
        taken: set[str] = set()
        self.nics = []
        for nic in nics:
            mac = free_mac(world)
            while mac in taken:
                mac = free_mac(world)
            taken.add(mac)
            self.nics.append(msgspec.structs.replace(nic, mac=mac))
        self.uuid = world.new_uuid()
        self.steps: list[Step] = []
        self.conditions: list[Condition] = [answers(host), name_is_free(host.name, action.name)]
        self.conditions += [
            Condition(
                kind="network-active",
                host=host.name,
                name=nic.network,
                text=f"network {nic.network} is active",
            )
            for nic in self.nics
            if nic.network
        ]
        self.effects: list[Effect] = []
        self.reasons: list[Reason] = []
        self.disks: list[DiskSpec] = []
        self.source = ""

    # ---- kinds

    def machine(self, image: ImageFacts | None, iso: ImageFacts | None) -> None:
        action = self.action
        if image is not None:
            self.source = f" from {image.name}"
            self._disk_from(image)
        elif iso is not None:
            self.source = f" to be installed from {iso.name}"
            pool = self._pool(_OVERLAY_ROOM)
            base, _ = self._in_pool(iso, pool)
            self.disks.append(DiskSpec(pool=base[0], volume=base[1], format="raw", device="cdrom"))
            size = self.sizes.disk or _EMPTY_DISK
            self._volume(pool, f"{action.name}.qcow2", size, "qcow2", None, f"empty disk of {_size(size)}")
        if action.seed is not None:
            self._seed(action.seed, image)
        spec = VmSpec(
            name=action.name,
            uuid=self.uuid,
            memory=self.sizes.memory,
            vcpus=self.sizes.vcpus,
            disks=tuple(self.disks),
            nics=tuple(self.nics),
            firmware=action.firmware,
            **self._identity(),
        )
        self._define(spec)

    def container(self) -> None:
        action = self.action
        root = action.root
        self.source = f" as a container on {root}"
        if root.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz")):
            target = f"/var/lib/virtfleet/containers/{self.uuid}"
            self.steps.append(
                Step(
                    id="unpack",
                    op="container.unpack",
                    host=self.host.name,
                    title=f"unpack {root} to {target}",
                    args={"root": target, "path": root},
                    timeout=120.0,
                    undo=Undo(op="container.remove", args={"root": target}, title=f"remove {target}"),
                )
            )
            root = target
        spec = VmSpec(
            name=action.name,
            uuid=self.uuid,
            memory=self.sizes.memory,
            vcpus=self.sizes.vcpus,
            kind="container",
            nics=tuple(self.nics),
            root=root,
            **self._identity(),
        )
        self._define(spec)

    def given_xml(self) -> None:
        action = self.action
        assert action.xml is not None  # noqa: S101 - it is why we are here
        self.source = f" from {action.xml.path}"
        count = 8  # NICs of the given XML get new MACs, as many as it has
        self._define_step(
            "vm.define_xml",
            {
                "name": action.name,
                "uuid": self.uuid,
                "file": msgspec.to_builtins(action.xml),
                "macs": [free_mac(self.world) for _ in range(count)],
            },
        )

    def _identity(self) -> dict[str, Any]:
        action = self.action
        return {
            "project": action.project,
            "flavor": self.sizes.flavor,
            "group": action.group,
            "tags": action.tags,
            "title": action.title,
            "description": action.description,
            "protected": action.protected,
        }

    # ---- disks

    def _pool(self, room: int) -> str:
        pool, reasons = choose_pool(self.host, self.action.pool, room)
        for reason in reasons:
            if reason not in self.reasons:
                self.reasons.append(reason)
        if not any(each.kind == "pool-active" and each.name == pool.name for each in self.conditions):
            self.conditions.append(
                Condition(
                    kind="pool-active",
                    host=self.host.name,
                    name=pool.name,
                    value=room,
                    text=f"pool {pool.name} is active and has {_size(room)} left",
                )
            )
            if pool.available is not None:
                self.effects.append(
                    Effect(
                        what=f"free in pool {pool.name} on {self.host.name}, about",
                        unit="bytes",
                        before=pool.available,
                        after=max(0, pool.available - room),
                        limit=pool.capacity,
                    )
                )
        return pool.name

    def _disk_from(self, image: ImageFacts) -> None:
        action = self.action
        virtual = max(image.virtual_size, self.sizes.disk or 0)
        if self.sizes.disk and image.virtual_size > self.sizes.disk:
            needs, asked = _size(image.virtual_size), _size(self.sizes.disk)
            refuse([f"{image.name} needs a disk of {needs}, asked for are {asked}"], f"create {action.name}")
        room = image.size + (image.size if action.copy else _OVERLAY_ROOM)
        pool = self._pool(room)
        (base_pool, base_volume), form = self._in_pool(image, pool)
        name = f"{action.name}.qcow2"
        if action.copy:
            step = Step(
                id="disk",
                op="volume.clone",
                host=self.host.name,
                title=f"copy it to volume {name} in pool {pool}",
                args={
                    "pool": pool,
                    "name": name,
                    "from_pool": base_pool,
                    "from_volume": base_volume,
                    "format": "qcow2",
                    "capacity": virtual,
                },
                timeout=300.0,
                bytes=image.size,
                pool=pool,
                undo=Undo(
                    op="volume.delete",
                    args={"pool": pool, "name": name, "uuid": self.uuid},
                    title=f"delete volume {name} in pool {pool}",
                ),
            )
            self._free_volume(pool, name)
            self.steps.append(step)
            self.disks.append(DiskSpec(pool=pool, volume=name))
        else:
            base = {"pool": base_pool, "volume": base_volume, "format": form}
            self._volume(pool, name, virtual, "qcow2", base, f"overlay of {_size(virtual)} on it")

    def _in_pool(self, image: ImageFacts, pool: str) -> tuple[tuple[str, Any], Any]:
        """(pool, volume) and format of an image in a pool of the host; with the steps that bring it there."""
        if image.volume:
            return (image.pool, image.volume), image.format
        path: Any = image.path
        size: Any = image.size
        volume: Any = image.volume_name
        digest: Any = image.sha256
        form: Any = "raw" if image.format == "iso" else image.format
        if image.url:
            self.steps.append(
                Step(
                    id=f"fetch-{len(self.steps)}",
                    op="image.fetch",
                    host="",
                    title=f"fetch {image.url}",
                    args={"url": image.url, "checksum": self.action.checksum},
                    timeout=60.0,
                    bytes=image.size,
                    lock=f"fetch {image.url}",
                )
            )
            at = self.steps[-1].id
            path, size, volume, digest = (
                {"$from": at, "key": key} for key in ("path", "size", "volume", "sha256")
            )
        key = image.sha256 or image.url
        cached = bool(image.sha256) and any(
            (each.pool, each.name) == (pool, image.volume_name) for each in self.host.volumes
        )
        self.steps.append(
            Step(
                id=f"image-{len(self.steps)}",
                op="image.ensure",
                host=self.host.name,
                title=f"{image.name} is in pool {pool} already"
                if cached
                else f"upload {image.name} to pool {pool}",
                args={
                    "pool": pool,
                    "volume": volume,
                    "path": path,
                    "sha256": digest,
                    "size": size,
                    "format": form,
                    "title": image.name,
                },
                timeout=60.0,
                bytes=0 if cached else image.size,
                pool=pool,
                lock=f"image {self.host.name} {pool} {key}",
                undo=Undo(
                    op="image.forget",
                    args={"pool": pool, "volume": volume, "size": size},
                    title="take away what was uploaded of the image, unless it is whole",
                ),
            )
        )
        return (pool, volume), form

    def _volume(
        self, pool: str, name: str, capacity: int, form: str, backing: dict[str, Any] | None, what: str
    ) -> None:
        self._free_volume(pool, name)
        made = {"capacity": capacity, "format": form, "backing": backing}
        self.steps.append(
            Step(
                id="disk",
                op="volume.create",
                host=self.host.name,
                title=f"create volume {name} in pool {pool}: {what}",
                args={"pool": pool, "name": name, "capacity": capacity, "format": form, "backing": backing},
                timeout=60.0,
                undo=Undo(
                    op="volume.delete",
                    args={"pool": pool, "name": name, "made": made, "uuid": self.uuid},
                    title=f"delete volume {name} in pool {pool}",
                ),
            )
        )
        self.disks.append(DiskSpec(pool=pool, volume=name, format=form))

    def _free_volume(self, pool: str, name: str) -> None:
        if any((each.pool, each.name) == (pool, name) for each in self.host.volumes):
            refuse(
                [f"a volume {name} is in pool {pool} on {self.host.name} already"],
                f"create {self.action.name}",
            )
        self.conditions.append(
            Condition(
                kind="volume-free",
                host=self.host.name,
                name=name,
                value=pool,
                text=f"no volume in {pool} is called {name}",
            )
        )

    def _seed(self, seed: Seed, image: ImageFacts | None) -> None:
        pool = self._pool(_SEED_ROOM)
        name = f"{self.action.name}-seed.iso"
        self._free_volume(pool, name)
        self.steps.append(seed_step(self.host.name, pool, name, self.uuid, self.action.name, seed, image))
        self.disks.append(DiskSpec(pool=pool, volume=name, format="raw", device="cdrom"))

    # ---- definition and start

    def _define(self, spec: VmSpec) -> None:
        self._define_step("vm.define", {"spec": msgspec.to_builtins(spec)})

    def _define_step(self, op: str, args: dict[str, Any]) -> None:
        action, host = self.action, self.host
        self.steps.append(
            Step(
                id="define",
                op=op,
                host=host.name,
                title=f"define it: {self.sizes.vcpus} vCPU, {_size(self.sizes.memory)} of memory",
                args={**args, "who": self.world.who, "verb": "vm.create", "seconds": 900},
                timeout=30.0,
                undo=Undo(
                    op="vm.undefine",
                    args={"uuid": self.uuid, "name": action.name, "force": True},
                    title=f"undefine {action.name}",
                ),
            )
        )
        if action.autostart:
            self.steps.append(
                Step(
                    id="autostart",
                    op="vm.autostart",
                    host=host.name,
                    title="start it with its host",
                    args={"uuid": self.uuid, "on": True},
                )
            )
        if action.start:
            self.steps.append(
                Step(
                    id="start",
                    op="vm.start",
                    host=host.name,
                    title="start it",
                    args={"uuid": self.uuid},
                    timeout=120.0,
                )
            )
            if action.ready != "running":
                what = "an address" if action.ready == "address" else "its SSH to answer"
                self.steps.append(
                    Step(
                        id="wait",
                        op="vm.wait",
                        host=host.name,
                        title=f"wait for {what}, at most {action.ready_within:.0f} s",
                        args={"uuid": self.uuid, "ready": action.ready, "seconds": action.ready_within},
                        timeout=30.0,
                    )
                )
        self.steps.append(release(host.name, self.uuid))

    def plan(self) -> Plan:
        host, action = self.host, self.action
        promised = sum(vm.info.memory_max for vm in host.vms)
        stats = host.stats
        total = stats.memory_total if stats is not None else None
        self.effects.insert(
            0,
            Effect(
                what=f"memory promised on {host.name}",
                unit="bytes",
                before=promised,
                after=promised + self.sizes.memory,
                limit=total,
            ),
        )
        if stats is not None and total is not None and stats.memory_used is not None and action.start:
            free = total - stats.memory_used
            if self.sizes.memory > free:
                self.reasons.append(
                    warning(f"{host.name} has {_size(free)} of memory free, less than it may use")
                )
        return Plan(
            action=action,
            title=f"create {action.name} on {host.name}{self.source}",
            verb="vm.create",
            host=host.name,
            uuid=self.uuid,
            name=action.name,
            steps=tuple(self.steps),
            conditions=tuple(self.conditions),
            effects=tuple(self.effects),
            reasons=tuple(self.reasons),
            danger=Danger.NONE,
            made=self.world.now,
        )


def seed_step(
    host: str, pool: str, name: str, uuid: str, hostname: str, seed: Seed, image: ImageFacts | None
) -> Step:
    """The step that makes the disk for cloud-init."""
    return Step(
        id="seed",
        op="seed.create",
        host=host,
        title=f"make the seed for cloud-init: volume {name} in pool {pool}",
        args={
            "pool": pool,
            "name": name,
            "seed": msgspec.to_builtins(seed),
            "hostname": hostname,
            "instance_id": uuid,
            "image_user": image.user if image is not None else "",
        },
        timeout=60.0,
        undo=Undo(
            op="volume.delete",
            args={"pool": pool, "name": name, "uuid": uuid},
            title=f"delete volume {name} in pool {pool}",
        ),
    )


def _size(count: int) -> str:
    return format_value(count, Unit.BYTES)
