"""A fleet of real hypervisors on one Linux machine.

`lab.fleet.Lab` is the way in; `python -m lab` is the same from a shell. Each host of a lab is a set of
namespaces with its own sshd, libvirtd, virtlogd and virtlockd; its guests are real QEMU processes (software
emulation) and LXC containers. Nothing here is a mock, and nothing here outlives the lab.
"""
