"""Disk images as files: what they are, whether they may be trusted, and where they come from. No libvirt."""
