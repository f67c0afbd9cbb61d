"""The XML of a storage pool that is to be made. Pure; what is given was checked by the plan."""

from __future__ import annotations

from lxml import etree

from virtfleet.hypervisor.builders.pool_types import BACKENDS, split_host, usual_target
from virtfleet.hypervisor.views.safexml import Element
from virtfleet.model.action_storage import PoolSource


def pool_xml(
    *,
    name: str,
    uuid: str,
    type: str,
    target: str = "",
    source: PoolSource | None = None,
    user: str = "",
    secret: str = "",
) -> str:
    """`user` and `secret` (the UUID of libvirt's secret) of a source that wants a login."""
    root = etree.Element("pool", type=type)
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "uuid").text = uuid
    if type not in ("dir", "mpath"):
        root.append(source_xml(type, source or PoolSource(), user, secret))
    target = target or usual_target(type, source.name if source else "")
    if target:
        etree.SubElement(etree.SubElement(root, "target"), "path").text = target
    return str(etree.tostring(root, encoding="unicode"))


def source_xml(kind: str, source: PoolSource, user: str = "", secret: str = "") -> Element:
    """A <source>, of a pool or of a question for sources. Children in the order of libvirt's schema."""
    root = etree.Element("source")
    for each in source.hosts:
        host, port = split_host(each)
        made = etree.SubElement(root, "host", name=host)
        if port:
            made.set("port", str(port))
    if source.path or kind == "gluster":
        etree.SubElement(root, "dir", path=source.path or "/")
    for device in source.devices:
        etree.SubElement(root, "device", path=device)
    if user:
        auth = etree.SubElement(root, "auth", type=BACKENDS[kind].auth, username=user)
        etree.SubElement(auth, "secret", uuid=secret)
    if source.adapter:
        etree.SubElement(root, "adapter", type="scsi_host", name=source.adapter)
    if source.name:
        etree.SubElement(root, "name").text = source.name
    if source.initiator:
        etree.SubElement(etree.SubElement(root, "initiator"), "iqn", name=source.initiator)
    form = source.format or ("lvm2" if kind == "logical" else "")
    if form:
        etree.SubElement(root, "format", type=form)
    return root


def secret_xml(*, uuid: str, kind: str, usage: str) -> str:
    """A secret that libvirt gives back to nobody. `kind`: chap or ceph; `usage`: unique on its host."""
    root = etree.Element("secret", ephemeral="no", private="yes")
    etree.SubElement(root, "uuid").text = uuid
    etree.SubElement(root, "description").text = "made by virtfleet for a storage pool"
    its = etree.SubElement(root, "usage", type="ceph" if kind == "ceph" else "iscsi")
    etree.SubElement(its, "name" if kind == "ceph" else "target").text = usage
    return str(etree.tostring(root, encoding="unicode"))
