"""Build the lab's guest: a disk image that boots by itself, from Debian packages alone.

The disk is one ext4 file system with a boot loader (extlinux), Debian's cloud kernel and an initial RAM file
system that is the whole guest: busybox, dropbear, the virtio drivers. It boots to a login on ttyS0 (root,
password `lab`), takes an address by DHCP, answers SSH, reads a NoCloud seed, obeys the power button.

The kernel's package is unpacked, never installed. What was built is kept in a cache, under a hash of all that
went into it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.cache import cache_folder
from lab.errors import LabError
from lab.run import run

GUEST_FILES = Path(__file__).parent / "guest_files"
PASSWORD = "lab"
DISK_BYTES = 48 << 20
_META_PACKAGE = "linux-image-cloud-amd64"
_DROPBEAR = "dropbear-bin"
_KEPT = 4
"""So many images stay in the cache: other checkouts use other ones."""
_STATUS = Path("/var/lib/dpkg/status")

FIRST_MODULES = ("virtio_pci", "virtio_net", "virtio_blk")
"""Drivers that are loaded before the login."""
LATER_MODULES = ("virtio_rng", "virtio_balloon", "virtio_console", "virtio_scsi", "ata_piix", "sd_mod",
                 "sr_mod", "isofs", "evdev", "button")  # fmt: skip
"""Drivers that can wait: they cost time under emulation."""
COMMAND_LINE = (
    "console=ttyS0 quiet mitigations=off nokaslr no_timer_check tsc=reliable audit=0 apparmor=0 selinux=0 "
    "i8042.noaux i8042.nokbd cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_bootloader=on panic=5"
)
_SYSLINUX = f"""\
DEFAULT lab
PROMPT 0
TIMEOUT 0
LABEL lab
  LINUX /boot/vmlinuz
  INITRD /boot/initrd
  APPEND {COMMAND_LINE}
"""


@dataclass(frozen=True)
class GuestImage:
    """A built guest."""

    folder: Path

    @property
    def disk(self) -> Path:
        """A qcow2 that boots by itself through the BIOS."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """The kernel, for a direct boot."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The guest's whole file system, for a direct boot."""
        return self.folder / "initrd"


def _key() -> str:
    """A hash of the builder, the guest's files and the packages' versions."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(GUEST_FILES.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    digest.update(_versions().encode())
    return digest.hexdigest()[:16]


def _versions() -> str:
    """The packages' versions as apt knows them. Asked only when apt's lists changed: it takes a second."""
    lists = Path("/var/lib/apt/lists")
    stamp = f"{lists.stat().st_mtime_ns} {_STATUS.stat().st_mtime_ns}\n" if lists.exists() else "\n"
    kept = cache_folder() / "versions"
    if kept.exists() and (text := kept.read_text()).startswith(stamp):
        return text.removeprefix(stamp)
    said = run(
        ["apt-cache", "policy", _META_PACKAGE, _DROPBEAR, "busybox-static", "extlinux"], check=False
    ).stdout
    versions = "".join(f"{found}\n" for found in re.findall(r"^\S+:|Candidate: \S+", said, re.MULTILINE))
    temporary = kept.with_name(f"versions.{os.getpid()}")
    temporary.write_text(stamp + versions)
    temporary.replace(kept)
    return versions


def build() -> GuestImage:
    """The guest image, from the cache or built now (about 10 s and 30 MB of packages)."""
    cache = cache_folder()
    image = GuestImage(cache / f"guest-{_key()}")
    if image.disk.exists():
        return image
    # One builder at a time; the others find its work done when their turn comes.
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.disk.exists():
            for stale in cache.glob(".build-*"):  # of a builder that was killed
                shutil.rmtree(stale, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".build-") as work:
                _build(Path(work))
                (Path(work) / "out").rename(image.folder)
            older = sorted(cache.glob("guest-*"), key=lambda folder: folder.stat().st_mtime)
            for folder in older[:-_KEPT]:
                shutil.rmtree(folder, ignore_errors=True)
    return image


def _build(work: Path) -> None:
    packages, out = work / "packages", work / "out"
    packages.mkdir()
    out.mkdir()
    _download(packages)
    (kernel,) = (packages / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, out / "vmlinuz")
    root = work / "root"
    _make_root(root, packages)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))) + "\n"
    archive = work / "initrd.cpio"
    run(["cpio", "--quiet", "-o", "-H", "newc", "-O", str(archive)], stdin=names, cwd=root)
    # The kernel unpacks this under emulation: gzip at its fastest costs little there and saves the boot
    # loader, which reads through the BIOS, a third of the bytes.
    run(["gzip", "-1", "-n", str(archive)])
    archive.with_name("initrd.cpio.gz").rename(out / "initrd")
    _make_disk(work, out)


def _download(target: Path) -> None:
    """Fetch and unpack the kernel's and dropbear's packages with apt, as an ordinary client."""
    said = run(["apt-cache", "depends", _META_PACKAGE]).stdout
    kernel = re.search(r"Depends: (linux-image-\S+)", said)
    if kernel is None:
        raise LabError(f"apt knows no {_META_PACKAGE}: run apt-get update")
    debs = target / "debs"
    debs.mkdir()
    libraries = re.findall(r"Depends: (lib\S+)", run(["apt-cache", "depends", _DROPBEAR]).stdout)
    run(["apt-get", "download", kernel.group(1), _DROPBEAR, *libraries], cwd=debs, timeout=300)
    for deb in debs.glob("*.deb"):
        run(["dpkg", "-x", str(deb), str(target)], timeout=60)


def _make_root(root: Path, packages: Path) -> None:
    """The guest's file system."""
    for path in (
        "bin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc/seed",
        "root/.ssh",
        "home/lab/.ssh",
        "disk",
        "seed",
        "modules",
        "var/log",
        "lib/x86_64-linux-gnu",
        "lib64",
    ):
        (root / path).mkdir(parents=True)
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in run([busybox, "--list"]).stdout.split():
        link = root / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    for name, target, mode in (
        ("init", "init", 0o755),
        ("inittab", "etc/inittab", 0o644),
        ("rc", "etc/rc", 0o755),
        ("services", "etc/services", 0o755),
        ("dhcp", "etc/dhcp", 0o755),
    ):
        shutil.copy(GUEST_FILES / name, root / target)
        (root / target).chmod(mode)
    _make_accounts(root)
    _copy_program(packages / "usr/sbin/dropbear", root, packages)
    _copy_program(packages / "usr/bin/dropbearkey", root, packages)
    modules = _modules(packages)
    placed: list[str] = []
    for phase, names in (("first", FIRST_MODULES), ("later", LATER_MODULES)):
        order = [name for name in _with_dependencies(names, modules) if name not in placed]
        placed += order
        for name in order:
            shutil.copy(modules[name], root / "modules" / f"{name}.ko")
        (root / "modules" / phase).write_text("".join(f"{name}.ko\n" for name in order))


def _make_accounts(root: Path) -> None:
    hashed = run(["openssl", "passwd", "-1", "-stdin"], stdin=PASSWORD + "\n").stdout.strip()
    files = {
        "passwd": "root:x:0:0:root:/root:/bin/sh\nlab:x:1000:1000:lab:/home/lab:/bin/sh\n",
        "shadow": f"root:{hashed}:19000:0:99999:7:::\nlab:{hashed}:19000:0:99999:7:::\n",
        "group": "root:x:0:\nlab:x:1000:\n",
        "shells": "/bin/sh\n",
        "hostname": "lab-guest\n",
        "issue": "virtfleet lab guest\n",
        "profile": "export PATH=/bin\n",
    }
    for name, text in files.items():
        (root / "etc" / name).write_text(text)
    (root / "etc" / "shadow").chmod(0o600)
    (root / "etc" / "acpi" / "PWRF").mkdir(parents=True)
    action = root / "etc" / "acpi" / "PWRF" / "00000080"
    action.write_text("#!/bin/sh\npoweroff\n")
    action.chmod(0o755)
    (root / "root" / ".ssh" / "authorized_keys").touch(0o600)
    for folder in ("root", "root/.ssh"):
        (root / folder).chmod(0o700)


def _copy_program(program: Path, root: Path, packages: Path) -> None:
    """A program with the libraries it needs: its own package's first, else this machine's."""
    shutil.copy(program, root / "bin" / program.name)
    libraries = packages / "usr/lib/x86_64-linux-gnu"
    search = f"{libraries}:{packages / 'lib/x86_64-linux-gnu'}"
    for line in run(["ldd", str(program)], env={"LD_LIBRARY_PATH": search}).stdout.splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found is None:
            continue
        source = Path(found.group(1))
        place = "lib64" if source.name.startswith("ld-linux") else "lib/x86_64-linux-gnu"
        shutil.copy(source.resolve(), root / place / source.name)


def _modules(packages: Path) -> dict[str, Path]:
    """Kernel modules by name, with underscores as the kernel writes it."""
    found = (packages / "lib/modules").rglob("*.ko")
    return {path.stem.replace("-", "_"): path for path in found}


def _with_dependencies(names: Iterable[str], modules: dict[str, Path]) -> list[str]:
    """The modules in an order in which they can be loaded; what is built into the kernel is left out."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in modules:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", modules[name].read_bytes())
        for needed in found.group(1).decode().split(",") if found else []:
            visit(needed.replace("-", "_"))
        order.append(name)

    for name in names:
        visit(name)
    return order


def _make_disk(work: Path, out: Path) -> None:
    """One file system on the whole disk, with the boot loader in its first kilobyte."""
    raw, mount = work / "disk.raw", work / "mount"
    mount.mkdir()
    with raw.open("wb") as file:
        file.truncate(DISK_BYTES)
    run(
        [
            "mkfs.ext4",
            "-q",
            "-L",
            "lab",
            "-b",
            "4096",
            "-O",
            "^has_journal,^64bit,^metadata_csum",
            "-m",
            "0",
            str(raw),
        ]
    )
    script = (
        'mount -o loop "$1" "$2"; mkdir -p "$2/boot"; cp "$3/vmlinuz" "$3/initrd" "$2/boot"; '
        'cp "$4" "$2/boot/extlinux.conf"; extlinux --install "$2/boot" >/dev/null; umount "$2"'
    )
    config = work / "extlinux.conf"
    config.write_text(_SYSLINUX)
    # In a mount namespace of its own, so that a build that dies leaves no mount behind.
    run(["unshare", "--mount", "sh", "-euc", script, "sh", *map(str, (raw, mount, out, config))])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(out / "disk.qcow2")])
