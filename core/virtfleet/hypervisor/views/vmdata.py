"""What virtfleet keeps in a VM's <metadata>: changes of it, and the claim of a job. Pure, over XML texts.

Elements that we don't know, of a newer version of us or of somebody else,
survive every change. libvirt takes our namespace off what it gives us and puts
it on what it takes, so the texts here are without; `namespaced` is for whoever
writes a whole domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from lxml import etree

from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean

VM = "urn:virtfleet:vm:1"
JOB = "urn:virtfleet:job:1"
ROOM = "urn:virtfleet:room:1"
"""What stands in it while room is claimed without a lock (acts/room.py)."""
PREFIX = "virtfleet"
JOB_PREFIX = "virtfleet-job"

TEXTS = ("project", "flavor", "group", "ha-priority")
"""Elements with one text each."""
KEPT_FREE = "kept-free"
"""Element whose `cpuset` nobody may have: the threads beside the CPUs that the VM is pinned to."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a VM."""

    id: str
    """The job's."""
    verb: str
    who: str
    since: float
    until: float
    """Unix times; past `until` it counts no more."""

    def says(self, clock: str) -> str:
        """For whoever comes second. `clock`: `since` as people write it."""
        return f"{self.who} is working on it: {self.verb}, job {self.id}, since {clock}"


def changed(xml: str | None, change: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The metadata after `change`, and the change that takes it back. None: there is (to be) none.

    `change`: {"set": {project, flavor, group, ha-priority: text, "" for none; protected: bool},
    "add_tags": [...], "remove_tags": [...]}. ValueError: not our XML, or an unknown key.
    """
    root = parse(xml) if xml else etree.Element("vm")
    inverse: dict[str, Any] = {"set": {}, "add_tags": [], "remove_tags": []}
    for key, value in dict(change.get("set", {})).items():
        if key == "protected":
            inverse["set"][key] = _flag(root)
            _set(root, key, "yes" if value else "")
        elif key in TEXTS:
            inverse["set"][key] = _get(root, key)
            _set(root, key, _fit(str(value)))
        else:
            raise ValueError(f"metadata has no {key!r}")
    present = _tags(root)
    for tag in map(_fit, change.get("remove_tags", ())):
        if tag in present:
            for each in list(root.iterchildren("tag")):
                if (each.text or "").strip() == tag:
                    root.remove(each)
            inverse["add_tags"].append(tag)
            present.remove(tag)
    for tag in map(_fit, change.get("add_tags", ())):
        if tag and tag not in present:
            etree.SubElement(root, "tag").text = tag
            inverse["remove_tags"].append(tag)
            present.append(tag)
    return (_text(root) if len(root) else None), inverse


def made(
    values: Mapping[str, str], tags: Iterable[str], *, protected: bool, kept_free: Iterable[int] = ()
) -> str | None:
    """The metadata of a new VM; None: there is nothing to say of it."""
    fields = {key: value for key, value in values.items() if value}
    cpus = list(kept_free)
    if protected:
        fields["protected"] = "yes"
    root = etree.Element("vm")
    for key, value in fields.items():
        etree.SubElement(root, key).text = _fit(value)
    for tag in dict.fromkeys(map(_fit, tags)):
        etree.SubElement(root, "tag").text = tag
    if cpus:
        etree.SubElement(root, KEPT_FREE, cpuset=",".join(map(str, cpus)))
    return _text(root) if len(root) else None


def claim_xml(claim: Claim) -> str:
    root = etree.Element("job")
    for key, value in msgspec.structs.asdict(claim).items():
        root.set(key, f"{value:.0f}" if isinstance(value, float) else _fit(str(value)))
    return _text(root)


def claim_of(xml: str | None) -> Claim | None:
    """The claim in the metadata; None: nobody's, or nonsense."""
    if not xml:
        return None
    try:
        root = parse(xml)
        return Claim(
            id=clean(root.get("id", ""), 60),
            verb=clean(root.get("verb", ""), 60),
            who=clean(root.get("who", ""), 100),
            since=float(root.get("since", "0")),
            until=float(root.get("until", "0")),
        )
    except ValueError:
        return None


def namespaced(xml: str, namespace: str, prefix: str) -> Element:
    """The element as it stands in a domain's <metadata>."""
    plain = parse(xml)

    def moved(each: Element, parent: Element | None) -> Element:
        tag = f"{{{namespace}}}{each.tag}" if "{" not in str(each.tag) else str(each.tag)
        attributes = {str(key): str(value) for key, value in each.attrib.items()}
        if parent is None:
            made = etree.Element(tag, attributes, nsmap={prefix: namespace})
        else:
            made = etree.SubElement(parent, tag, attributes)
        made.text = each.text
        for child in each:
            moved(child, made)
        return made

    return moved(plain, None)


def plain(domain: str) -> str | None:
    """What we keep of a VM, out of its whole XML, as libvirt gives and takes it; None: nothing.

    ValueError: it is no XML.
    """
    found = parse(domain).find(f"metadata/{{{VM}}}vm")
    return None if found is None else _plain(found)


def metadata_of(root: Element) -> Element:
    """The <metadata> of a domain's XML, made if there is none."""
    found = root.find("metadata")
    return found if found is not None else etree.SubElement(root, "metadata")


def put(root: Element, data: Mapping[str, Any]) -> None:
    """Writes into a domain's XML what is said of a new VM: title, description, project, flavor, group, tags,
    protected. What is empty leaves what the XML says."""
    for tag in ("title", "description"):
        if data.get(tag):
            found = root.find(tag)
            (found if found is not None else etree.SubElement(root, tag)).text = str(data[tag])
    texts = {key: data[key] for key in ("project", "flavor", "group") if data.get(key)}
    change: dict[str, Any] = {"set": texts, "add_tags": list(data.get("tags") or ())}
    if data.get("protected"):
        change["set"]["protected"] = True
    metadata = metadata_of(root)
    before = metadata.find(f"{{{VM}}}vm")
    xml, _ = changed(_plain(before) if before is not None else None, change)
    if before is not None:
        metadata.remove(before)
    if xml is not None:
        metadata.append(namespaced(xml, VM, PREFIX))
    if len(metadata) == 0:
        root.remove(metadata)


def _plain(element: Element) -> str:
    """The text of our element as libvirt gives it: without our namespace."""
    made = parse(etree.tostring(element, encoding="unicode"))
    for each in made.iter():
        each.tag = str(each.tag).removeprefix(f"{{{VM}}}")
    etree.cleanup_namespaces(made)
    return _text(made)


def _get(root: Element, key: str) -> str:
    found = root.find(key)
    return (found.text or "").strip() if found is not None else ""


def _flag(root: Element) -> bool:
    found = root.find("protected")
    return found is not None and (found.text or "").strip().lower() not in ("no", "false", "0", "off")


def _set(root: Element, key: str, value: str) -> None:
    found = root.find(key)
    if not value:
        if found is not None:
            root.remove(found)
        return
    if found is None:
        found = etree.SubElement(root, key)
    found.text = value


def _tags(root: Element) -> list[str]:
    return [(each.text or "").strip() for each in root.iterchildren("tag")]


def _fit(text: str) -> str:
    """What may stand in metadata: one line, no control characters, of sensible length."""
    return clean(text, 200).strip()


def _text(root: Element) -> str:
    return str(etree.tostring(root, encoding="unicode"))
