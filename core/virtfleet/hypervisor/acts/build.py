"""Defines a VM, and takes a definition away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import libvirt
import msgspec
from lxml import etree

from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.hypervisor.acts.capacity import Define, defined
from virtfleet.hypervisor.acts.domains import lookup, name_of, on_domain
from virtfleet.hypervisor.acts.seed import content
from virtfleet.hypervisor.acts.volumes import path_of
from virtfleet.hypervisor.builders.domain import domain_xml
from virtfleet.hypervisor.builders.offers import Offers, offers
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views import vmdata
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.spec import VmSpec
from virtfleet.model.text import clean_lines


def _claim(call: Call) -> vmdata.Claim | None:
    if not call.job or not call.args.get("who"):
        return None
    now = time.time()
    return vmdata.Claim(
        id=call.job,
        verb=str(call.args.get("verb", "vm.create")),
        who=str(call.args["who"]),
        since=now,
        until=now + float(call.args.get("seconds", 900)),
    )


def what_it_offers(conn: libvirt.virConnect, spec: VmSpec) -> Offers:
    """The host's best way to run such a VM: KVM where there is KVM."""
    driver = conn.getType().lower()
    if driver == "test":
        return Offers(kind="test", buses=frozenset({"virtio"}))
    if spec.kind == "container":
        return Offers(kind="lxc", emulator=_lxc_emulator(conn))
    kinds = ("xen",) if driver == "xen" else ("kvm", "qemu")
    last: libvirt.libvirtError | None = None
    for kind in kinds:
        try:
            return offers(conn.getDomainCapabilities(None, spec.arch or None, None, kind, 0))
        except libvirt.libvirtError as error:
            last = error
    assert last is not None  # noqa: S101 - one was tried
    raise last


def _lxc_emulator(conn: libvirt.virConnect) -> str:
    with contextlib.suppress(libvirt.libvirtError, ValueError):
        for guest in parse(conn.getCapabilities()).iterfind("guest"):
            found = guest.find("arch/emulator")
            if found is not None and found.text:
                return found.text
    return ""


async def _define(call: Call) -> dict[str, Any]:
    """From a spec: {uuid, xml}. RefusedError: the name or UUID is taken. NoRoomError: `limits`."""
    spec = msgspec.convert(call.args["spec"], VmSpec)
    claim = _claim(call)

    def work(conn: libvirt.virConnect, define: Define) -> dict[str, Any]:
        if (existing := _existing(conn, spec.name, spec.uuid, call.again)) is not None:
            return _told(existing)
        paths = {(disk.pool, disk.volume): path_of(conn, disk.pool, disk.volume) for disk in spec.disks}
        xml = domain_xml(spec, what_it_offers(conn, spec), paths, claim)
        return _told(define(xml))

    return await defined(call, work)


async def _define_xml(call: Call) -> dict[str, Any]:
    """From given XML (a file, or the VM `from_uuid` of this host), under our own name, UUID and MACs."""
    args = call.args
    given = content(args["file"]).decode("utf-8", "replace") if args.get("file") else ""
    claim = _claim(call)

    def work(conn: libvirt.virConnect, define: Define) -> dict[str, Any]:
        if (existing := _existing(conn, args["name"], args["uuid"], call.again)) is not None:
            return _told(existing)
        text = given
        if not text:
            flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            text = lookup(conn, args["from_uuid"]).XMLDesc(flags)
        root = parse(text)
        if root.tag != "domain":
            raise RefusedError("this is no domain's XML")
        paths = {
            target: (path_of(conn, disk["pool"], disk["volume"]), disk["format"])
            for target, disk in dict(args.get("disks") or {}).items()
        }
        rewrite(root, args["name"], args["uuid"], list(args.get("macs") or ()), paths)
        if data := args.get("data"):
            vmdata.put(root, data)
        if claim is not None:
            metadata = vmdata.metadata_of(root)
            for old in metadata.findall(f"{{{vmdata.JOB}}}job"):
                metadata.remove(old)
            metadata.append(vmdata.namespaced(vmdata.claim_xml(claim), vmdata.JOB, vmdata.JOB_PREFIX))
        return _told(define(etree.tostring(root, encoding="unicode")))

    return await defined(call, work)


def rewrite(
    root: Element, name: str, uuid: str, macs: list[str], disks: Mapping[str, tuple[str, str]]
) -> None:
    """Makes a domain's XML that of another VM: name, UUID, MACs, and by target the files of its disks.

    What is the original's own (NVRAM file, generated paths, ids) is taken out, so that libvirt makes it anew.
    """
    for tag, text in (("name", name), ("uuid", uuid)):
        found = root.find(tag)
        if found is None:
            found = etree.Element(tag)
            root.insert(0, found)
        found.text = text
    if "id" in root.attrib:
        del root.attrib["id"]
    for nvram in root.findall("os/nvram"):
        nvram.getparent().remove(nvram)  # type: ignore[union-attr] # it was found below os
    for number, nic in enumerate(root.iterfind("devices/interface")):
        mac = nic.find("mac")
        if number < len(macs):
            if mac is None:
                mac = etree.SubElement(nic, "mac")
            mac.set("address", macs[number])
        elif mac is not None:
            nic.remove(mac)
        for target in nic.findall("target"):
            nic.remove(target)
    for disk in list(root.iterfind("devices/disk")):
        named = disk.find("target")
        dev = named.get("dev", "") if named is not None else ""
        if dev in disks:
            path, form = disks[dev]
            for old in (*disk.findall("source"), *disk.findall("backingStore")):
                disk.remove(old)
            disk.set("type", "file")
            disk.insert(0, etree.Element("source", file=path))
            driver = disk.find("driver")
            if driver is not None:
                driver.set("type", form)
    for channel in root.iterfind("devices/channel"):
        for source in channel.findall("source"):
            if source.get("path"):
                channel.remove(source)


def _existing(conn: libvirt.virConnect, name: str, uuid: str, again: bool) -> libvirt.virDomain | None:
    """Our own VM of the time before; RefusedError: somebody else's."""
    for find, key in ((conn.lookupByUUIDString, uuid), (conn.lookupByName, name)):
        try:
            domain = find(key)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue
            raise
        if again and domain.UUIDString() == uuid and domain.name() == name:
            return domain
        raise RefusedError(f"there is a VM {name_of(domain)} on this host already")
    return None


def _told(domain: libvirt.virDomain) -> dict[str, Any]:
    return {"uuid": domain.UUIDString(), "xml": clean_lines(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))}


async def _remember(call: Call) -> dict[str, Any]:
    """{xml} of the definition, for the undo of a later step: once that has acted nobody can ask any more."""
    xml = await on_domain(call, lambda domain: domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    return {"xml": clean_lines(xml)}


async def _undefine(call: Call) -> dict[str, Any]:
    """Definition, saved state, snapshots' and checkpoints' metadata, NVRAM: {xml}. Gone already is well.

    `force`: powers it off first. As an undo (`name` given) only if it still has that name.
    """
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            domain = lookup(conn, args["uuid"])
        except NotFoundError:
            return {"xml": str(args.get("xml", ""))}
        if args.get("name") and domain.name() != args["name"]:
            raise RefusedError(f"the VM is called {name_of(domain)} now, not {args['name']}")
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        if domain.isActive():
            if not args.get("force"):
                raise RefusedError(f"{name_of(domain)} runs", cure="shut it down, or --force")
            domain.destroy()
            if not domain_is_left(conn, args["uuid"]):  # it was transient
                return {"xml": clean_lines(xml)}
        _undefine_all(domain)
        return {"xml": clean_lines(xml)}

    return dict(await call.lanes.long.call(work, call.deadline))


def domain_is_left(conn: libvirt.virConnect, uuid: str) -> bool:
    try:
        return bool(lookup(conn, uuid).isPersistent())
    except NotFoundError:
        return False


def _undefine_all(domain: libvirt.virDomain) -> None:
    """With the flags that the driver knows: not all know all."""
    most = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    for flags in (most | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA, most, 0):
        try:
            domain.undefineFlags(flags)
        except libvirt.libvirtError as error:
            known = (
                libvirt.VIR_ERR_INVALID_ARG,
                libvirt.VIR_ERR_NO_SUPPORT,
                libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
            )
            if error.get_error_code() not in known or not flags:
                raise
        else:
            return


async def _define_again(call: Call) -> dict[str, Any]:
    """The undo of `vm.undefine`: defines it from the XML that it gave, unless it is there."""
    xml = str(call.args.get("xml") or "")

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        with contextlib.suppress(NotFoundError):
            lookup(conn, call.args["uuid"])
            return {}
        if not xml:
            return {"left": "nothing is known of its definition"}
        conn.defineXMLFlags(xml, 0)
        return {"defined": True}

    return dict(await call.lanes.long.call(work, call.deadline))


ACTS: Mapping[str, Operation] = {
    "vm.define": _define,
    "vm.define_xml": _define_xml,
    "vm.remember": _remember,
    "vm.undefine": _undefine,
    "vm.define_again": _define_again,
}
