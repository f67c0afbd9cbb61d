"""Changes of a definition: XML from an editor, and sizes. Under the host's lock, and compared before it is
written: never from an old copy."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import HostError, NoRoomError, RefusedError
from virtfleet.hypervisor.acts.capacity import resized
from virtfleet.hypervisor.acts.differences import what_is_new
from virtfleet.hypervisor.acts.domains import lookup, name_of
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.metadata import lock_name
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.hypervisor.views.vmdata import JOB
from virtfleet.model.text import clean_lines

_INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
_SECRETS = ("passwd",)
"""Attributes that libvirt shows only to those who ask for secrets."""
_ROUNDED = 2048
"""KiB by which a size may differ from the one that was asked for."""
_CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def shown(domain: libvirt.virDomain) -> str:
    """The definition as an editor is given it: no secrets."""
    return clean_lines(domain.XMLDesc(_INACTIVE))


def fingerprint(xml: str) -> str:
    """SHA-256 of a definition but for claims of jobs, which come and go while somebody edits."""
    root = parse(xml)
    for metadata in root.findall("metadata"):
        for claim in metadata.findall(f"{{{JOB}}}job"):
            metadata.remove(claim)
        if len(metadata) == 0:
            root.remove(metadata)
    for each in root.iter():
        # Layout is not meaning; and the claim took some with it.
        if each.text is not None and not each.text.strip():
            each.text = None
        each.tail = None
    return hashlib.sha256(etree.tostring(root, method="c14n")).hexdigest()


async def _redefine(call: Call) -> dict[str, Any]:
    """{before, after}. RefusedError: it is another VM's XML, invalid, or no longer what was edited.

    `was_sha256`: its mark; or `was`: it itself.
    """
    new = str(call.args.get("xml") or "")
    was = str(call.args.get("was_sha256") or "")
    if old := str(call.args.get("was") or ""):
        was = fingerprint(old)

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, call.args["uuid"])
        before = shown(domain)
        if not new:
            return {"left": "nothing is known of how it was"}
        if was and fingerprint(before) != was and fingerprint(new) != fingerprint(before):
            raise RefusedError(
                f"{name_of(domain)} was changed by somebody else since you began to edit it: "
                f"{what_is_new(before, old or new)}",
                cure="edit it again",
            )
        try:
            root = parse(new)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        _same_vm(root, domain)
        _keep_claim(root, before)
        put_secrets(root, parse(domain.XMLDesc(_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)))
        _define(conn, etree.tostring(root, encoding="unicode"))
        return {"before": before, "after": shown(domain)}

    async with host_lock(call, lock_name(call.args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


def _same_vm(root: Element, domain: libvirt.virDomain) -> None:
    if root.tag != "domain":
        raise RefusedError("this is no domain's XML")
    for tag, value in (("uuid", domain.UUIDString()), ("name", domain.name())):
        found = root.find(tag)
        if found is None or (found.text or "").strip() != value:
            raise RefusedError(f"the {tag} may not be changed here", cure="`vm rename`, or `vm clone`")


def _keep_claim(root: Element, before: str) -> None:
    """What an editor was given may have no claim, or an old one: the present one stays."""
    metadata = root.find("metadata")
    if metadata is not None:
        for old in metadata.findall(f"{{{JOB}}}job"):
            metadata.remove(old)
    claim = parse(before).find(f"metadata/{{{JOB}}}job")
    if claim is not None:
        if metadata is None:
            metadata = etree.SubElement(root, "metadata")
        metadata.append(claim)


def put_secrets(root: Element, present: Element) -> None:
    """Gives `root` the secrets of `present` where it has none and the same device is there."""
    for path in ("devices/graphics",):
        theirs = {each.get("type"): each for each in present.iterfind(path)}
        for each in root.iterfind(path):
            other = theirs.get(each.get("type"))
            for name in _SECRETS:
                if other is not None and name in other.attrib and name not in each.attrib:
                    each.set(name, str(other.get(name)))


def _define(conn: libvirt.virConnect, xml: str) -> None:
    try:
        conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    except libvirt.libvirtError as error:
        unsupported = (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT)
        if error.get_error_code() in unsupported:
            conn.defineXMLFlags(xml, 0)
            return
        bad = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_XML_INVALID_SCHEMA)
        if error.get_error_code() in bad:
            raise RefusedError(f"the XML is not valid: {translate(error).message}") from None
        raise


async def _resize(call: Call) -> dict[str, Any]:
    """vCPUs and memory (bytes; null: as they are): {live: [...], next_boot: [...]}. NoRoomError: `limits`."""

    def work(domain: libvirt.virDomain, vcpus: int | None, memory: int | None) -> dict[str, Any]:
        live: list[str] = []
        later: list[str] = []
        active = bool(domain.isActive())
        if not call.uncertain:
            _as_expected(domain, call.args.get("expect") or {})
        if vcpus:
            _set_vcpus(domain, int(vcpus))
            (live if active and _vcpus_live(domain, int(vcpus)) else later).append("vcpus")
        if memory:
            kib = int(memory) // 1024
            _set_memory(domain, kib)
            (live if active and _memory_live(domain, kib) else later).append("memory")
        return {"live": live, "next_boot": later if active else []}

    async with host_lock(call, lock_name(call.args["uuid"])):
        try:
            return await resized(call, work)
        except NoRoomError:
            raise
        except RefusedError as error:  # the one size may be set, and the other refused
            raise HostError(error.message, cure=error.cure) from None


def _as_expected(domain: libvirt.virDomain, expected: Mapping[str, Any]) -> None:
    """RefusedError: it has other sizes by now than those that are to be taken back. Memory in bytes."""
    root = parse(shown(domain))
    vcpus, memory = int(root.findtext("vcpu") or 0), int(root.findtext("memory") or 0)
    other = (expected.get("vcpus") or vcpus) != vcpus
    # Drivers round memory up.
    if other or abs((expected.get("memory") or memory * 1024) // 1024 - memory) > _ROUNDED:
        raise RefusedError(f"{name_of(domain)} was resized by somebody else since", cure="resize it again")


def _set_vcpus(domain: libvirt.virDomain, count: int) -> None:
    """Of the definition: the most, and the present. In this order when it grows, the other way when not."""
    most = libvirt.VIR_DOMAIN_VCPU_MAXIMUM | _CONFIG
    if count >= domain.vcpusFlags(most):
        domain.setVcpusFlags(count, most)
        domain.setVcpusFlags(count, _CONFIG)
    else:
        domain.setVcpusFlags(count, _CONFIG)
        domain.setVcpusFlags(count, most)


def _vcpus_live(domain: libvirt.virDomain, count: int) -> bool:
    with contextlib.suppress(libvirt.libvirtError):
        if domain.vcpusFlags(_LIVE) == count:
            return True
        domain.setVcpusFlags(count, _LIVE)
        return bool(domain.vcpusFlags(_LIVE) == count)
    return False


def _set_memory(domain: libvirt.virDomain, kib: int) -> None:
    most = libvirt.VIR_DOMAIN_MEM_MAXIMUM | _CONFIG
    try:
        domain.setMemoryFlags(kib, most)
    except libvirt.libvirtError as error:
        # The test driver knows the limit only without flags.
        if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
            raise
        domain.setMaxMemory(kib)
    domain.setMemoryFlags(kib, _CONFIG)


def _memory_live(domain: libvirt.virDomain, kib: int) -> bool:
    with contextlib.suppress(libvirt.libvirtError):
        if domain.maxMemory() >= kib:
            domain.setMemoryFlags(kib, _LIVE)
            return True
    return False


ACTS: Mapping[str, Operation] = {"vm.redefine": _redefine, "vm.resize": _resize}
