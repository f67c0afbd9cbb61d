"""SSH to one host: where it leads, whose key it is, how to log in, and what runs over it.

    target.py      URI, fleet file and ssh_config -> SshTarget (config_file.py reads ssh_config)
    hostkeys.py    known_hosts: known, unknown, changed, revoked
    keys.py        the user's own keys: agent and files; auth.py: the ladder of ways to log in
    transport.py   paramiko's transport, made quiet and measurable; dial.py: what it runs over
    connection.py  SshConnection: commands, streams, signs of life
    libvirtd.py    a stream to libvirtd; facts.py: figures from /proc over one channel

paramiko's own log is switched off here: it can't say more than our errors do,
it would be formatted for every packet, and a screen may own stderr.
"""

import logging

_log = logging.getLogger("paramiko")
_log.addHandler(logging.NullHandler())
_log.propagate = False
_log.setLevel(logging.CRITICAL + 1)
