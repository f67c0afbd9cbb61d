"""Typed views over libvirt's XML: text in, model values out.

Read only, pure and tolerant: an odd element gives a default, only a document
that is no XML (or an attack) raises ValueError. Every text that leaves here
went through `model.text.clean`.
"""
