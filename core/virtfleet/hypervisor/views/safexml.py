"""XML from a hypervisor is a stranger's text: the one place that parses it, and nothing else may.

No entities, no DTD, no network, no deep or huge trees. libvirt's own XML has
no document type, so any that comes with one is refused.
"""

from __future__ import annotations

import re

from lxml import etree

Element = etree._Element

MAX_CHARS = 8 * 1024 * 1024
"""A domain's XML has some kilobytes; libvirt's own limit for a string on the wire is 4 MiB."""

_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)}
_CONTROL_REFERENCE = re.compile(r"&#(?:x0*(?:[0-8bcef]|1[0-9a-f])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));", re.I)


def parse(text: str) -> Element:
    """Root element of `text`. ValueError: not well-formed, too large, or it brings a document type.

    Control characters, which XML forbids and some drivers pass on from a
    guest's name, become U+FFFD instead of hiding the whole object.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"XML of {len(text)} characters")
    if "<!DOCTYPE" in text:
        raise ValueError("XML with a document type")
    if "&#" in text:
        text = _CONTROL_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text)
    try:
        root = etree.fromstring(text.translate(_CONTROL).encode("utf-8", "replace"), _PARSER)
    except etree.LxmlError as error:
        raise ValueError(f"not well-formed XML: {error}") from None
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("XML with a document type" if root is not None else "no XML")
    return root
