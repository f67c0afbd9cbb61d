"""What is worth keeping between labs: the guest's image, and what libvirt found out about QEMU."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CAPABILITIES = Path("var/cache/libvirt/qemu/capabilities")


def cache_folder() -> Path:
    """$VIRTFLEET_LAB_CACHE or ~/.cache/virtfleet-lab; made if it is not there."""
    given = os.environ.get("VIRTFLEET_LAB_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "virtfleet-lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def give_capabilities(host_folder: Path) -> None:
    """Let a new host know what another found out: asking every QEMU costs seconds of processor time each.

    libvirt checks by itself whether it still holds (versions and times of QEMU, libvirt and the kernel).
    """
    kept = cache_folder() / "capabilities"
    if kept.is_dir():
        shutil.copytree(kept, host_folder / _CAPABILITIES, dirs_exist_ok=True)


def keep_capabilities(host_folder: Path) -> None:
    """Keep what a host found out for the next lab."""
    found = host_folder / _CAPABILITIES
    kept = cache_folder() / "capabilities"
    kept.mkdir(exist_ok=True)
    for file in found.glob("*.xml"):
        target = kept / file.name
        if target.exists() and target.stat().st_mtime >= file.stat().st_mtime:
            continue
        temporary = target.with_suffix(f".{os.getpid()}")
        shutil.copy2(file, temporary)
        temporary.replace(target)
