"""What an image file is, by its content, and whether it may be given to a guest.

An image is a stranger's: a qcow2 that names a backing file would have the
host open that file (`/etc/shadow`) for the guest, so one that stands on
anything is refused; so is one that is cut off, before hours of uploading.
Format: QEMU's docs/interop/qcow2.rst.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from virtfleet.errors import RefusedError

HEADER = 65536
"""Bytes from the start that tell what an image is."""
_QCOW2 = b"QFI\xfb"
_SECTOR = 512
_INCOMPATIBLE_KNOWN = 0b11101
"""Feature bits: dirty, corrupt (refused), external data (refused), compression type, extended L2."""
_CORRUPT, _EXTERNAL = 1 << 1, 1 << 2
_OTHERS = (
    (b"KDMV", "a VMDK image"),
    (b"conectix", "a VHD image"),
    (b"vhdxfile", "a VHDX image"),
    (b"<<< ", "a VDI image"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"PK\x03\x04", "a zip file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)
_ACCEPTED = "accepted: qcow2 without backing file, raw, ISO 9660"
_OFFSET = 0x00FFFFFFFFFFFE00


class Probed(NamedTuple):
    format: str
    """qcow2, raw or iso."""
    size: int
    """Bytes of the file."""
    virtual_size: int
    """Bytes that a guest sees."""


def probe(path: Path) -> Probed:
    """What the file is. RefusedError: no image, one that stands on another, or not whole. Blocks."""
    name = str(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(HEADER)
            found = probe_head(head, size, name)
            if found.format == "qcow2":
                _check_whole(file, head, size, name)
    except OSError as error:
        raise RefusedError(f"the image {name} can't be read: {error.strerror}") from None
    return found


def probe_head(head: bytes, size: int, name: str) -> Probed:
    """From the first `HEADER` bytes of `size` bytes. RefusedError."""
    if not head:
        raise RefusedError(f"the image {name} is empty")
    for magic, what in _OTHERS:
        if head[: len(magic)].lower() == magic.lower():
            raise RefusedError(
                f"{name} is {what}; {_ACCEPTED}", cure="convert it with qemu-img, or unpack it"
            )
    if head.startswith(_QCOW2):
        return _qcow2(head, size, name)
    if head[32769:32774] == b"CD001":
        return Probed("iso", size, size)
    if size % _SECTOR:
        raise RefusedError(
            f"{name} is no disk image: {size} bytes are no whole sectors; {_ACCEPTED}", cure="is it cut off?"
        )
    return Probed("raw", size, size)


def _qcow2(head: bytes, size: int, name: str) -> Probed:
    if len(head) < 104:
        raise RefusedError(f"the qcow2 image {name} is cut off in its header")
    version, backing, backing_size, bits, virtual, crypt = struct.unpack_from(">IQIIQI", head, 4)
    if version not in (2, 3):
        raise RefusedError(f"{name} is qcow2 of version {version}; accepted: 2 and 3")
    if backing or backing_size:
        raise RefusedError(
            f"the image {name} stands on another file ({_backing(head, backing, backing_size)}): refused",
            cure="make it whole with `qemu-img convert`",
        )
    if crypt:
        raise RefusedError(f"the image {name} is encrypted; that can't be used here")
    features = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
    if features & _EXTERNAL:
        raise RefusedError(f"the image {name} keeps its data in another file: refused")
    if features & _CORRUPT:
        raise RefusedError(
            f"the image {name} says of itself that it is corrupt", cure="`qemu-img check -r all`"
        )
    if features & ~(_INCOMPATIBLE_KNOWN | _CORRUPT | _EXTERNAL):
        raise RefusedError(f"the image {name} has features that are not known here ({features:#x})")
    if not 9 <= bits <= 21 or not 0 < virtual < 1 << 62:
        raise RefusedError(f"the qcow2 image {name} has a header that makes no sense")
    return Probed("qcow2", size, virtual)


def _backing(head: bytes, offset: int, length: int) -> str:
    text = head[offset : offset + min(length, 200)].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text) or "unnamed"


def _check_whole(file: BinaryIO, head: bytes, size: int, name: str) -> None:
    """RefusedError: a table or a cluster that the image needs lies behind its end."""
    bits, l1_size = struct.unpack_from(">I", head, 20)[0], struct.unpack_from(">I", head, 36)[0]
    l1_offset, refcount_offset = struct.unpack_from(">QQ", head, 40)
    extended = struct.unpack_from(">I", head, 4)[0] == 3 and struct.unpack_from(">Q", head, 72)[0] >> 4 & 1
    cluster = 1 << bits
    short = RefusedError(f"the qcow2 image {name} is cut off: it needs more than its {size} bytes")
    if l1_size > 32 << 20 >> 3 or l1_offset + 8 * l1_size > size or refcount_offset >= size:
        raise short
    file.seek(l1_offset)
    table = file.read(8 * l1_size)
    for (entry,) in struct.iter_unpack(">Q", table):
        offset = entry & _OFFSET
        if not offset:
            continue
        if offset + cluster > size:
            raise short
        file.seek(offset)
        if _end_of(file.read(cluster), bits, 16 if extended else 8) > size:
            raise short


def _end_of(table: bytes, bits: int, width: int) -> int:
    """Where the last cluster that an L2 table points at ends; of a compressed one, where it begins."""
    end = 0
    for at in range(0, len(table) - width + 1, width):
        entry = int.from_bytes(table[at : at + 8], "big")
        if entry >> 62 & 1:
            end = max(end, (entry & (1 << (62 - (bits - 8))) - 1) + 1)
        elif offset := entry & _OFFSET:
            # The last cluster of a file may be shorter than the others.
            end = max(end, offset + 1)
    return end
