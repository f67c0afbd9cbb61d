"""Bring a lab back to what it was when it was built: undo faults, remove what a test left, restore guests.

Looks before it acts, in as few calls as it can: a test that broke nothing should not wait for this.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab import gluster, guest, image, network, proc
from lab.errors import LabError
from lab.guest import LXC, QEMU, Guest
from lab.host import LabHost

_FREEZABLE = ("libvirtd", "virtlogd", "virtlockd", "sshd", "qemu-system-x86_64", "glusterd", "glusterfsd")
_MARK = "@@@@"


def heal(hosts: Sequence[LabHost]) -> None:
    """Heal all hosts at once. `LabError` if one can't be brought back."""
    with ThreadPoolExecutor(4) as pool:
        # Power and services first, everywhere: the shared pool of one host is served by another.
        list(pool.map(_mend, hosts))
        list(pool.map(_tidy, hosts))


def _mend(host: LabHost) -> None:
    """Power, cable, frozen and dead processes, keys."""
    host.power_on()
    if not network.link_is_up(host.record, host.name):
        host.mend_link()
    if network.is_limited(host.record, host.name):
        host.slow_link(None)
    for program in _FREEZABLE:
        for pid in host.pids(program):
            if proc.state(pid) in ("T", "t"):
                proc.kill(pid, signal.SIGCONT)
    if host.host_key_changed():
        host.restore_host_key()
    host.set_auth_methods()
    host.start_sshd()
    if not host.pids("libvirtd"):
        host.start_libvirtd()


@dataclass(frozen=True)
class _Inventory:
    """What a host's libvirt knows."""

    domains: dict[str, str]
    """State by name."""
    pools: set[str]
    stopped: set[str]
    """Pools that are defined and not started."""
    networks: set[str]
    definitions: dict[str, str]
    """Inactive XML by name, of the baseline's guests that exist."""


def _tidy(host: LabHost) -> None:
    """Guests, pools, networks and files, after a proof that libvirt answers over SSH."""
    with contextlib.suppress(OSError):
        for pool in host.pools():
            for filler in host.inside(f"/srv/{pool}").glob(".lab-fill"):
                filler.unlink()
    if host.is_shared_lost():
        host.exec(["/etc/lab/start", "shared"], 60, check=True)
    _prove(host)
    _restore(host, QEMU)
    if any(each.uri == LXC for each in guest.baseline(host)):
        _restore(host, LXC)
    _remove_files(host)


def _prove(host: LabHost) -> None:
    """A real connection over SSH works; if not, libvirtd is started anew, then the host."""
    for remedy in (None, _restart_libvirtd, _power_cycle):
        if remedy is not None:
            remedy(host)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if host.libvirt_answers(timeout=8):
                return
            time.sleep(0.2)
    raise LabError(f"{host.name}: libvirt does not answer over SSH, even after a restart")


def _restart_libvirtd(host: LabHost) -> None:
    host.kill_libvirtd()
    host.start_libvirtd()


def _power_cycle(host: LabHost) -> None:
    host.power_off()
    host.power_on()


def _look(host: LabHost, uri: str, names: Sequence[str]) -> _Inventory:
    """Everything that is needed, in one connection."""
    commands = ["list --all", f"echo {_MARK}"]
    if uri == QEMU:
        for kind in ("pool-list --all", "pool-list --inactive", "net-list --all"):
            commands += [f"{kind} --name", f"echo {_MARK}"]
    domains, *listed = host.virsh(*commands, uri=uri).split(_MARK)
    pools, stopped, networks, *_ = [set(text.split()) for text in [*listed, "", "", ""]]
    states = {}
    for line in domains.splitlines():
        words = line.split(None, 2)
        if len(words) == 3:
            states[words[1]] = words[2].strip()
    known = [name for name in names if name in states]
    definitions = dict(zip(known, guest.definitions(host, uri, known), strict=True))
    return _Inventory(states, pools, stopped, networks, definitions)


def _restore(host: LabHost, uri: str) -> None:
    wanted = {each.name: each for each in guest.baseline(host) if each.uri == uri}
    found = _look(host, uri, list(wanted))
    for name, state in found.domains.items():
        if name not in wanted:
            if state != "shut off":
                _quietly(host, f"destroy {name}", uri)
            _undefine(host, uri, name)
    for name in found.pools - set(host.pools()):
        _quietly(host, f"pool-destroy {name}")
        _quietly(host, f"pool-undefine {name}")
    for name in found.networks - {"default"}:
        _quietly(host, f"net-destroy {name}")
        _quietly(host, f"net-undefine {name}")
    for name in found.stopped & set(host.pools()):
        _quietly(host, f"pool-start {name}")
    for name, each in wanted.items():
        _restore_guest(host, each, found.domains.get(name), found.definitions.get(name))


def _restore_guest(host: LabHost, each: Guest, state: str | None, definition: str | None) -> None:
    """One guest of the baseline: its definition, its disk, its state."""
    changed = definition is None or guest.digest(definition) != each.digest
    if state not in (None, "shut off") and (changed or not each.running or state != "running"):
        _quietly(host, f"destroy {each.name}", each.uri)
        state = "shut off"
    if changed:
        if state is not None:
            _undefine(host, each.uri, each.name)
        guest.define(host, each)
    if each.disk and not host.inside(each.disk).exists():
        guest.copy_disk(host, image.build().disk, each.disk)
    if each.running and state != "running":
        host.virsh(f"start {each.name}", uri=each.uri)
        guest.step_back(host)


def _undefine(host: LabHost, uri: str, name: str) -> None:
    """Remove a definition with all that hangs on it; a transient domain is gone with its process."""
    flags = " --managed-save --snapshots-metadata --checkpoints-metadata --nvram" if uri == QEMU else ""
    _quietly(host, f"undefine {name}{flags}", uri)


def _quietly(host: LabHost, command: str, uri: str = QEMU) -> None:
    """A command that may find its work done already."""
    with contextlib.suppress(LabError):
        host.virsh(command, uri=uri)


def _remove_files(host: LabHost) -> None:
    """Volumes that no guest of the baseline uses, and what virtfleet keeps about the host."""
    kept = {each.disk for each in guest.baseline(host)}
    pools = [pool for pool in host.pools() if pool != gluster.POOL or host.is_shared_server()]
    stale = [
        f"/srv/{pool}/{path.name}"
        for pool in pools
        for path in host.inside(f"/srv/{pool}").iterdir()
        if f"/srv/{pool}/{path.name}" not in kept
    ]
    stale += [f"/var/lib/virtfleet/{path.name}" for path in host.inside("/var/lib/virtfleet").iterdir()]
    if stale:
        host.exec(["rm", "-rf", "--", *stale], check=True)
        for pool in pools:
            host.virsh(f"pool-refresh {pool}")
