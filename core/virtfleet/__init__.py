"""virtfleet: a console and a command line for a fleet of libvirt hypervisors.

This package is the engine and the command line; it knows no screen. The
console lives beside it in `virtfleet_tui`. Nothing is imported here, so that
`virtfleet --help` and the zygote start quickly.
"""

__version__ = "0.1.0"
