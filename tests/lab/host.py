"""One hypervisor of the lab: start it, run things in it, break it, mend it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab import cgroups, network, proc, settings
from lab.errors import LabError
from lab.registry import MARKER, LabRecord
from lab.run import SBIN_PATH, clean_environment, run, wait_until

DISK_BYTES = 3 << 30
"""Size of each pool's file system: a sparse file, so that filling a pool never fills the machine's disk."""


class LabHost:
    """A hypervisor in its own namespaces. All methods block, each with a deadline of its own."""

    def __init__(self, record: LabRecord, name: str) -> None:
        self.record = record
        self.name = name
        self.address = record.address(name)
        self.ssh_port = 22
        self.user = "root"
        self.password = record.password
        """root's password on this host, for the ways to log in that want one."""
        self.uri = f"qemu+ssh://root@{self.address}/system"
        self.lxc_uri = f"lxc+ssh://root@{self.address}/"
        self.folder = record.folder / "hosts" / name

    def __repr__(self) -> str:
        return f"<LabHost {self.name} {self.address} of {self.record.name}>"

    # -- life ------------------------------------------------------------------------------------------

    def prepare(self, pools: Sequence[str]) -> None:
        """Make the host's files; `pools` are directory pools, each on a small file system of its own."""
        settings.write_host(self.record, self.name, tuple(pools))

    def add_disk(self, pool: str) -> None:
        """Give a pool of this host a file system of its own (before the host is started)."""
        image = self.folder / "disks" / f"{pool}.img"
        (self.folder / "srv" / pool).mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1", str(image)])

    def power_on(self) -> None:
        """Plug the host in and wait for its libvirtd. A host that is on is left as it is."""
        if self.is_on():
            return
        network.remove_link(self.record, self.name)
        network.make_link(self.record, self.name)
        groups = cgroups.make(self.record, self.name)
        trees = {tree.parent / self.record.cgroup / self.name: tree for tree in cgroups.hierarchies()}
        lines = [f"{trees[group].kind} {trees[group].options}\n" for group in groups]
        (self.folder / "cgroups").write_text("".join(lines))
        holder = self.folder / "holder.pid"
        holder.unlink(missing_ok=True)
        # The groups are entered first: `ip netns exec` mounts a new /sys, where they can't be seen.
        enter = 'pid=$1; shift; while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; '
        keep = 'echo $$ >"$pid.new"; mv "$pid.new" "$pid"; exec "$@"'
        # libvirtd and QEMU want more descriptors than a login shell has; the limits are inherited.
        with (self.folder / "console.log").open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", "sh", "-euc", enter + keep, "sh", str(holder), *map(str, groups), "--",
                 "ip", "netns", "exec", self.record.netns(self.name),
                 "unshare", "--mount", "--uts", "--pid", "--ipc", "--cgroup", "--fork", "--kill-child",
                 str(self.folder / "host.sh"), self.name, str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=10, check=True,
                env=clean_environment({MARKER: self.record.name}), cwd="/",
            )  # fmt: skip
        wait_until(lambda: self._find_init(holder), f"{self.name}: first process", timeout=15)
        wait_until(self._services_up, f"{self.name}: services ({self.folder / 'console.log'})", timeout=30)
        self._wait_for_libvirtd()

    def _find_init(self, holder: Path) -> bool:
        """Note the host's PID 1 as the machine sees it: the only child of the process that unshared."""
        if not holder.exists():
            return False
        parent = int(holder.read_text())
        child = proc.child_of(parent)
        init = None if child is None else proc.identify(child)
        if init is None:
            if proc.state(parent) is None:
                raise LabError(f"{self.name}: died while starting: {self._console()}")
            return False
        (self.folder / "init.json").write_text(json.dumps(asdict(init)))
        return True

    def _services_up(self) -> bool:
        if not self.is_on():
            raise LabError(f"{self.name}: died while starting: {self._console()}")
        root = Path(f"/proc/{self.init_pid}/root")
        return (root / "run/sshd.pid").exists() and (root / "run/libvirt/libvirt-sock").exists()

    def warn(self, text: str) -> None:
        """Note something that the lab can do without here."""
        with (self.folder / "warnings").open("a") as file:
            file.write(text.strip() + "\n")

    def warnings(self) -> str:
        """What this host lacks on this machine; empty if nothing."""
        path = self.folder / "warnings"
        return path.read_text() if path.exists() else ""

    def _console(self) -> str:
        """The end of what the host's first processes had to say."""
        return (self.folder / "console.log").read_text(errors="replace")[-1500:].strip()

    @property
    def init_pid(self) -> int:
        """The host's PID 1, as a number of the machine; `LabError` if the host is off."""
        init = self._init()
        if init is None:
            raise LabError(f"{self.name} is powered off")
        return init.pid

    def _init(self) -> proc.ProcessId | None:
        try:
            init = proc.ProcessId(**json.loads((self.folder / "init.json").read_text()))
        except OSError:
            return None
        return init if init.alive() else None

    def is_on(self) -> bool:
        """Whether the host has power."""
        return self._init() is not None

    def power_off(self) -> None:
        """Pull the plug: every process of the host dies at once, its disks stay, its address is gone."""
        init = self._init()
        if init is not None:
            proc.kill(init.pid)
            wait_until(lambda: not init.alive(), f"{self.name}: power off")
        network.remove_link(self.record, self.name)

    # -- running things in it --------------------------------------------------------------------------

    def exec(
        self, argv: Sequence[str], timeout: float = 30.0, *, check: bool = False, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host, not over its network; it is killed after `timeout` seconds."""
        return run([*self.enter(timeout), *argv], timeout=timeout + 5, check=check, stdin=stdin,
                   env={MARKER: self.record.name})  # fmt: skip

    def enter(self, timeout: float | None = None) -> list[str]:
        """The start of a command line that continues on the host."""
        words = [
            "nsenter",
            "-t",
            str(self.init_pid),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "--",
            "/etc/lab/enter",
        ]
        return words if timeout is None else [*words, "timeout", "-s", "KILL", f"{timeout:g}"]

    def virsh(self, *commands: str, uri: str = "qemu:///system", timeout: float = 60.0) -> str:
        """Several virsh commands in one go, through the host's own socket; `LabError` if one fails."""
        return self.exec(["virsh", "-q", "-c", uri, "; ".join(commands)], timeout, check=True).stdout

    def inside(self, path: str) -> Path:
        """A path on the host as this process can open it, through the host's mounts."""
        return Path(f"/proc/{self.init_pid}/root{path}")

    def pools(self) -> list[str]:
        """The pools the host was built with."""
        return sorted(file.stem for file in (self.folder / "etc/libvirt/storage/autostart").glob("*.xml"))

    def is_shared_server(self) -> bool:
        """Whether this host serves the shared pool."""
        file = self.folder / "etc/lab/shared"
        return file.exists() and file.read_text().split()[0] == self.address

    def is_shared_lost(self) -> bool:
        """Whether the shared pool should be mounted here and is not."""
        if not (self.folder / "etc/lab/shared").exists():
            return False
        return " fuse.glusterfs " not in Path(f"/proc/{self.init_pid}/mounts").read_text()

    def libvirt_answers(self, timeout: float = 10.0) -> bool:
        """Whether a libvirt connection over SSH, as the console would make it, works."""
        keys = self.record.folder / "ssh"
        uri = f"{self.uri}?keyfile={keys / 'id_ed25519'}&no_verify=1&no_tty=1"
        argv = ["timeout", "-s", "KILL", f"{timeout:g}", "virsh", "-q", "-c", uri, "list", "--name"]
        env = {"PATH": SBIN_PATH, "HOME": str(self.record.folder)}
        return run(argv, timeout=timeout + 5, check=False, env=env).returncode == 0

    def pids(self, program: str) -> list[int]:
        """Machine-wide numbers of the host's processes with this name, oldest first."""
        space = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino
        found = []
        for pid in proc.with_namespace("pid", space):
            try:
                comm = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if comm == program[:15] and proc.state(pid) is not None:
                found.append(pid)
        return sorted(found)

    def _pid_in(self, file: str) -> int:
        """The process a pid file of the host names, as a number of the machine."""
        inner = self.exec(["cat", file], check=True).stdout.strip()
        space = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino
        for pid in proc.with_namespace("pid", space):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if numbers[-1] == inner:
                return pid
        raise LabError(f"{self.name}: no process {inner} ({file})")

    # -- faults ----------------------------------------------------------------------------------------

    def freeze_libvirtd(self) -> None:
        """Stop libvirtd as a hung one: connections are accepted by the kernel, nothing answers."""
        self._signal("libvirtd", signal.SIGSTOP)

    def thaw_libvirtd(self) -> None:
        """Let a frozen libvirtd go on."""
        self._signal("libvirtd", signal.SIGCONT)

    def freeze_vm(self, name: str) -> None:
        """Stop one QEMU: its monitor does not answer, the host is well."""
        proc.kill(self.qemu_pid(name), signal.SIGSTOP)

    def thaw_vm(self, name: str) -> None:
        """Let a frozen QEMU go on."""
        proc.kill(self.qemu_pid(name), signal.SIGCONT)

    def kill_vm(self, name: str) -> None:
        """Kill one QEMU, as the kernel does when memory runs out."""
        proc.kill(self.qemu_pid(name))

    def qemu_pid(self, name: str) -> int:
        """The QEMU process of a running VM, as a number of the machine."""
        return self._pid_in(f"/run/libvirt/qemu/{name}.pid")

    def kill_libvirtd(self) -> None:
        """Kill libvirtd; the guests live on, the socket refuses."""
        self._kill("libvirtd")

    def start_libvirtd(self) -> None:
        """Start libvirtd (and its helpers) if it does not run, and wait until it answers."""
        self._start("libvirtd")
        self._wait_for_libvirtd()

    def _wait_for_libvirtd(self) -> None:
        def answers() -> bool:
            return self.exec(["virsh", "-q", "version"], 10).returncode == 0

        wait_until(answers, f"{self.name}: libvirtd", timeout=30)

    def kill_sshd(self) -> None:
        """Kill sshd and every session it carries: port 22 refuses, libvirtd and the guests live on."""
        self._kill("sshd")

    def start_sshd(self) -> None:
        """Start sshd if it does not run."""
        self._start("sshd")

    def cut_link(self) -> None:
        """Pull the network cable: connections hang, nobody says goodbye."""
        network.set_link(self.record, self.name, up=False)

    def mend_link(self) -> None:
        """Plug the network cable in again."""
        network.set_link(self.record, self.name, up=True)

    def slow_link(self, kbit: int | None) -> None:
        """Limit the link to so many kbit/s in both directions; None takes the limit away."""
        network.limit_rate(self.record, self.name, kbit)

    def fill_pool(self, pool: str, leave_bytes: int = 0) -> None:
        """Fill a pool's file system until only `leave_bytes` are free; no byte is written."""
        path = f"/srv/{pool}"
        self.empty_pool(pool)
        usage = shutil.disk_usage(f"/proc/{self.init_pid}/root{path}")
        take = usage.free - leave_bytes
        # The file system needs some blocks to describe the file; ask for less until it fits.
        for _ in range(20):
            if take <= 0:
                break
            if self.exec(["fallocate", "-l", str(take), f"{path}/.lab-fill"]).returncode == 0:
                break
            self.empty_pool(pool)
            take -= 1 << 20
        self._refresh(pool)

    def empty_pool(self, pool: str) -> None:
        """Give the space back that `fill_pool` took."""
        self.exec(["rm", "-f", f"/srv/{pool}/.lab-fill"], check=True)
        self._refresh(pool)

    def _refresh(self, pool: str) -> None:
        # A frozen or dead libvirtd is no reason to fail: it refreshes the pool when it starts.
        self.exec(["timeout", "5", "virsh", "-q", "pool-refresh", pool], 10)

    def change_host_key(self) -> None:
        """Give sshd a new key, as after a reinstallation or an attack; known_hosts keeps the old."""
        keys = self.folder / "newkey"
        settings.make_key(keys, "changed")
        self._install_host_key(keys)

    def restore_host_key(self) -> None:
        """Give sshd the key back that the lab's known_hosts names."""
        self._install_host_key(self.record.folder / "ssh" / f"host-{self.name}")

    def host_key_changed(self) -> bool:
        """Whether sshd has another key than known_hosts says."""
        kept = self.record.folder / "ssh" / f"host-{self.name}"
        return (self.folder / "etc/ssh/ssh_host_ed25519_key").read_bytes() != kept.read_bytes()

    def _install_host_key(self, path: Path) -> None:
        target = self.folder / "etc/ssh/ssh_host_ed25519_key"
        target.write_bytes(path.read_bytes())
        target.with_suffix(".pub").write_bytes(path.with_name(path.name + ".pub").read_bytes())
        self._reload_sshd()

    def set_auth_methods(self, *methods: str) -> None:
        """Allow only these ways to log in (of publickey, password, keyboard-interactive); none given: all."""
        text = settings.sshd_config(methods or settings.AUTH_METHODS)
        config = self.folder / "etc/ssh/sshd_config"
        if config.read_text() != text:
            config.write_text(text)
            self._reload_sshd()

    def _reload_sshd(self) -> None:
        """Replace the listening sshd; sessions that are open live on."""
        if not self.pids("sshd"):
            return
        proc.kill(self._pid_in("/run/sshd.pid"))
        (Path(f"/proc/{self.init_pid}/root") / "run/sshd.pid").unlink(missing_ok=True)
        self.exec(["/etc/lab/start", "sshd"], check=True)
        self._wait_for("sshd")

    def _signal(self, program: str, number: int) -> None:
        pids = self.pids(program)
        if not pids:
            raise LabError(f"{self.name}: no {program} runs")
        for pid in pids:
            proc.kill(pid, number)

    def _kill(self, program: str) -> None:
        for pid in self.pids(program):
            proc.kill(pid)
        wait_until(lambda: not self.pids(program), f"{self.name}: {program} dead")

    def _start(self, program: str) -> None:
        if self.pids(program):
            return
        self.exec(["rm", "-f", f"/run/{program}.pid"])
        self.exec(["/etc/lab/start", program], check=True)
        self._wait_for(program)

    def _wait_for(self, program: str) -> None:
        file = Path(f"/proc/{self.init_pid}/root/run/{program}.pid")
        wait_until(file.exists, f"{self.name}: {program} up")
