"""One hypervisor: the process that talks to it, and everything that process does.

Only this package imports libvirt and paramiko, and only in worker processes
and the zygote: the engine's process stays small, and a library that blocks or
crashes takes one host's worker with it and nothing else.
"""
