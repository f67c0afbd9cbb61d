"""libvirt's XML for what is to be made, from our values and what the host says that it can."""
