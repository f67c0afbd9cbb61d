"""A whole lab: hosts, their guests, the fleet file; built at once, taken apart without a trace."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from lab import cache, gluster, guest, heal, image, network, proc, registry, settings, teardown
from lab.errors import LabError, LabUnavailable
from lab.host import LabHost
from lab.reaper import Reaper
from lab.registry import LabRecord
from lab.run import run

POOL = "local"
_PROGRAMS = ("ip", "nsenter", "unshare", "libvirtd", "virtlogd", "virtlockd", "virsh", "virt-ssh-helper",
             "qemu-system-x86_64", "qemu-img", "sshd", "ssh", "dnsmasq", "busybox", "mkfs.ext4")  # fmt: skip


def check_machine() -> None:
    """`LabUnavailable` with the reason if no lab can run here."""
    if platform.system() != "Linux":
        raise LabUnavailable("the lab needs Linux")
    if os.geteuid() != 0:
        raise LabUnavailable("the lab needs root (namespaces, bridges, mounts)")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise LabUnavailable(f"missing: {', '.join(missing)} (see tests/lab/packages.txt)")
    tried = run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "ip", "link", "add", "type", "veth"], check=False
    )
    if tried.returncode != 0:
        raise LabUnavailable(f"no namespaces or no virtual links here: {tried.stderr.strip()}")
    if not Path("/dev/net/tun").exists():
        raise LabUnavailable("no /dev/net/tun")


@dataclass(frozen=True)
class Plan:
    """What to build."""

    hosts: int | tuple[str, ...] = 3
    """How many hosts (hv1, hv2, ...), or their names."""
    guests: int = 2
    """Running QEMU guests on each host."""
    off: int = 1
    """Shut off QEMU guests on each host."""
    containers: int = 1
    """LXC containers on the first host."""
    shared: bool = True
    """Whether all hosts share a pool by GlusterFS."""
    empty: bool = False
    """Guests without an operating system: nearly no memory, no load, good for counting."""
    boot_from_disk: bool = False
    """Guests boot through the BIOS from their own disk: as real ones do, at twice the time."""

    @property
    def host_names(self) -> tuple[str, ...]:
        """The hosts' names."""
        if isinstance(self.hosts, int):
            return tuple(f"hv{number + 1}" for number in range(self.hosts))
        return self.hosts

    @property
    def needs_image(self) -> bool:
        """Whether the guest's image must be there."""
        return not self.empty and self.guests + self.off > 0


def _all(futures: Iterable[Future[None]]) -> None:
    """Wait for all of them, then raise the first failure: nothing may still be at work when we clean up."""
    for future in wait(list(futures)).done:
        future.result()


class Lab:
    """A running lab. `Lab.start()` builds one, `Lab.attach()` finds one that another process built."""

    def __init__(self, record: LabRecord, reaper: Reaper | None = None) -> None:
        self.record = record
        self.name = record.name
        self.folder = record.folder
        self.fleet_file = record.folder / "fleet.yaml"
        self.identity = record.folder / "ssh" / "id_ed25519"
        """The private key that root on every host accepts."""
        self.known_hosts = record.folder / "ssh" / "known_hosts"
        self.image = record.folder / "guest.qcow2"
        """A cloud image: boots by itself from its disk, reads a NoCloud seed (see `lab.image`)."""
        self.hosts = {name: LabHost(record, name) for name in record.hosts}
        self._reaper = reaper

    def __repr__(self) -> str:
        return f"<Lab {self.name}: {', '.join(self.hosts)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @classmethod
    def attach(cls, name: str) -> Self:
        """A lab that runs already."""
        return cls(registry.load(name))

    @classmethod
    def start(cls, plan: Plan | None = None, *, name: str | None = None) -> Self:
        """Build a lab that lives as long as this process (see `persist`); without a name one is made up."""
        plan = plan or Plan()
        check_machine()
        teardown.sweep()
        built = image.build() if plan.needs_image else None
        owner = proc.identify(os.getpid())
        assert owner is not None
        # First the one who cleans up, then what there may be to clean up.
        reaper = Reaper(owner)
        try:
            record = registry.claim(plan.host_names, name, owner)
        except BaseException:
            reaper.finish()
            raise
        lab = cls(record, reaper)
        try:
            reaper.watch(record.name)
            lab._build(plan, built)
        except BaseException:
            lab.down()
            raise
        return lab

    def _build(self, plan: Plan, built: image.GuestImage | None) -> None:
        settings.make_keys(self.record)
        network.make_bridge(self.record)
        if built is not None:
            shutil.copy(built.disk, self.image)
        hosts = list(self.hosts.values())
        pool = ThreadPoolExecutor(4)
        try:
            _all(pool.submit(self._start_host, host, plan) for host in hosts)
            shared = [pool.submit(gluster.start, hosts)] if plan.shared else []
            _all([*shared, *(pool.submit(self._populate, host, plan, built) for host in hosts)])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        cache.keep_capabilities(hosts[0].folder)
        self._write_fleet_file(plan)

    def _start_host(self, host: LabHost, plan: Plan) -> None:
        host.prepare([POOL, gluster.POOL] if plan.shared else [POOL])
        host.add_disk(POOL)
        if plan.shared and host.name == self.record.hosts[0]:
            host.add_disk(gluster.BRICK)
        host.power_on()

    def _populate(self, host: LabHost, plan: Plan, built: image.GuestImage | None) -> None:
        made = []
        if built is not None:
            guest.install_boot_files(host, built)
        for number in range(1, plan.guests + plan.off + 1):
            vm, running = f"{host.name}-vm{number}", number <= plan.guests
            if built is None:
                made.append(guest.empty_guest(host, vm, running=running))
            else:
                disk = f"/srv/{POOL}/{vm}.qcow2"
                guest.copy_disk(host, built.disk, disk)
                made.append(
                    guest.os_guest(host, vm, number, disk, running=running, direct=not plan.boot_from_disk)
                )
        if host.name == self.record.hosts[0]:
            made += [guest.container(host, f"{host.name}-ct{i + 1}") for i in range(plan.containers)]
        guest.populate(host, made)

    def _write_fleet_file(self, plan: Plan) -> None:
        hosts: dict[str, dict[str, object]] = {}
        for number, host in enumerate(self.hosts.values()):
            hosts[host.name] = {"uri": host.uri, "zone": "ab"[number % 2]}
        if plan.containers:
            first = next(iter(self.hosts.values()))
            hosts["lx1"] = {"uri": first.lxc_uri, "zone": "a"}
        ssh = {"user": "root", "identity": str(self.identity), "known_hosts": str(self.known_hosts)}
        fleet: dict[str, object] = {"defaults": {"ssh": ssh}, "hosts": hosts}
        if self.image.exists():
            fleet["flavors"] = {"tiny": {"vcpus": 1, "memory": "96MiB", "disk": "64MiB"}}
            fleet["images"] = {
                "lab": {"source": str(self.image), "format": "qcow2", "arch": "x86_64", "user": "root"}
            }
        self.fleet_file.write_text(yaml.safe_dump(fleet, sort_keys=False))

    def heal(self) -> None:
        """Undo every fault and everything a test left behind."""
        heal.heal(list(self.hosts.values()))

    def persist(self) -> None:
        """Let the lab stay when this process ends; `python -m lab down` ends it."""
        self.record = registry.persist(self.record)
        if self._reaper is not None:
            self._reaper.release()
            self._reaper = None

    def down(self) -> None:
        """Take the lab apart. Returns when nothing of it is left."""
        try:
            teardown.tear_down(self.record)
        finally:
            if self._reaper is not None:
                self._reaper.finish()
                self._reaper = None

    def host(self, name: str) -> LabHost:
        """One host by name; `LabError` names those there are."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"no host {name} in lab {self.name}; there are {', '.join(self.hosts)}") from None
