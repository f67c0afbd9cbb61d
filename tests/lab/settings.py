"""The files of a lab host's own /etc, /var and /root."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from lab import cache
from lab.registry import LabRecord
from lab.run import run

BOOT = Path(__file__).parent / "boot"
AUTH_METHODS = ("publickey", "password", "keyboard-interactive")

_LIBVIRTD = """\
host_uuid = "{uuid}"
auth_unix_rw = "none"
auth_unix_ro = "none"
max_clients = 500
max_anonymous_clients = 100
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
lock_manager = "lockd"
"""

_SSHD = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile /run/sshd.pid
StrictModes no
PermitRootLogin yes
PubkeyAuthentication {publickey}
PasswordAuthentication {password}
KbdInteractiveAuthentication {keyboard}
UsePAM yes
UseDNS no
PrintMotd no
# The default drops connections when a whole fleet of lanes arrives at once.
MaxStartups 200:30:400
MaxSessions 100
LoginGraceTime 60
# The post-quantum default costs a quarter of a second of processor time on each side, for each connection.
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,diffie-hellman-group14-sha256
Subsystem sftp internal-sftp
"""

_PAM = """\
auth required pam_unix.so
account required pam_permit.so
session required pam_permit.so
"""

_SSH_CLIENT = """\
Host *
    IdentityFile /etc/ssh/id_lab
    GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""

_NETWORK = """\
<network>
  <name>default</name>
  <uuid>{uuid}</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off' delay='0'/>
  <mac address='52:54:00:{slot:02x}:{index:02x}:fe'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
</network>
"""

_POOL = """\
<pool type='dir'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <target><path>/srv/{name}</path></target>
</pool>
"""


_FOLDERS = """
root tmp disks srv etc var/lib/dpkg var/lib/libvirt var/lib/virtfleet var/lib/glusterd var/lib/dbus
var/lib/misc var/log/libvirt/qemu var/log/glusterfs var/cache/libvirt var/tmp var/spool var/mail
"""
"""What a host has of its own."""

_NOT_COPIED = "ssh shadow* gshadow* sudoers* private *.pem *.key ssl libvirt pam.d systemd X11 fonts netns"
"""What a host's /etc does not take from the machine: keys and passwords, and what the lab writes itself."""


def stable_uuid(record: LabRecord, *parts: str) -> str:
    """A UUID that differs between hosts and labs: a migration refuses two hosts with one UUID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((record.name, str(record.slot), *parts))))


def sshd_config(methods: tuple[str, ...] = AUTH_METHODS) -> str:
    """sshd's settings with only these ways to log in."""
    allowed = {method: "yes" if method in methods else "no" for method in AUTH_METHODS}
    return _SSHD.format(
        publickey=allowed["publickey"],
        password=allowed["password"],
        keyboard=allowed["keyboard-interactive"],
    )


def make_keys(record: LabRecord) -> None:
    """The lab's own key pair, and a host key for each host with the list of them all."""
    keys = record.folder / "ssh"
    keys.mkdir(mode=0o700)
    make_key(keys / "id_ed25519", f"lab {record.name}")
    lines = []
    for host in record.hosts:
        make_key(keys / f"host-{host}", host)
        public = (keys / f"host-{host}.pub").read_text().split()
        lines.append(f"{host},{record.address(host)} {public[0]} {public[1]}\n")
    (keys / "known_hosts").write_text("".join(lines))


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key pair at `path` and `path`.pub, in place of an older one."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def write_host(record: LabRecord, host: str, pools: tuple[str, ...]) -> Path:
    """Make a host's folder: what it needs to start, with the network and the pools defined already."""
    folder = record.folder / "hosts" / host
    etc, var = folder / "etc", folder / "var"
    for path in _FOLDERS.split():
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    (var / "run").symlink_to("/run")
    (var / "lock").symlink_to("/run/lock")

    # Two tars are ten times as fast as Python over a thousand small files, for several hosts at once.
    without = [f"--exclude={pattern}" for pattern in _NOT_COPIED.split()]
    run(["sh", "-c", 'to=$1; shift; tar -C /etc "$@" -cf - . | tar -C "$to" -xf -', "sh", str(etc), *without])

    _write(etc / "hostname", host + "\n")
    _write(etc / "machine-id", stable_uuid(record, host, "machine").replace("-", "") + "\n")
    names = "".join(f"{record.address(other)} {other}\n" for other in record.hosts)
    _write(etc / "hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n" + names)
    _write(etc / "resolv.conf", "")
    password = run(["openssl", "passwd", "-6", "-stdin"], stdin=record.password + "\n").stdout.strip()
    _write(etc / "shadow", f"root:{password}:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n", 0o600)
    _write(etc / "pam.d" / "sshd", _PAM)
    _write(etc / "pam.d" / "other", _PAM)

    keys = record.folder / "ssh"
    _write(etc / "ssh" / "sshd_config", sshd_config())
    _write(etc / "ssh" / "ssh_config", _SSH_CLIENT)
    _write(etc / "ssh" / "authorized_keys", (keys / "id_ed25519.pub").read_text(), 0o600)
    _write(etc / "ssh" / "id_lab", (keys / "id_ed25519").read_text(), 0o600)
    _write(etc / "ssh" / "ssh_known_hosts", (keys / "known_hosts").read_text())
    _write(etc / "ssh" / "ssh_host_ed25519_key", (keys / f"host-{host}").read_text(), 0o600)
    _write(etc / "ssh" / "ssh_host_ed25519_key.pub", (keys / f"host-{host}.pub").read_text())

    libvirt = etc / "libvirt"
    shutil.copytree(
        "/etc/libvirt", libvirt, symlinks=True, ignore=shutil.ignore_patterns("qemu", "storage", "lxc")
    )
    _write(libvirt / "libvirtd.conf", _LIBVIRTD.format(uuid=stable_uuid(record, host)))
    _write(libvirt / "qemu.conf", _QEMU)
    network = _NETWORK.format(
        uuid=stable_uuid(record, host, "default"), slot=record.slot, index=record.index(host)
    )
    _define(etc, "qemu/networks", "default", network)
    for pool in pools:
        (folder / "srv" / pool).mkdir(exist_ok=True)
        text = _POOL.format(name=pool, uuid=stable_uuid(record, host, pool))
        _define(etc, "storage", pool, text)

    cache.give_capabilities(folder)
    for script in ("start", "enter"):
        _write(etc / "lab" / script, (BOOT / f"{script}.sh").read_text(), 0o755)
    _write(folder / "host.sh", (BOOT / "host.sh").read_text(), 0o755)
    return folder


def _define(etc: Path, folder: str, name: str, text: str) -> None:
    """Leave a definition where libvirtd looks at its start, marked to be started with it."""
    _write(etc / "libvirt" / folder / f"{name}.xml", text)
    mark = etc / "libvirt" / folder / "autostart" / f"{name}.xml"
    mark.parent.mkdir(exist_ok=True)
    mark.symlink_to(f"/etc/libvirt/{folder}/{name}.xml")
