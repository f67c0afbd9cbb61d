#!/bin/sh
# Run a command in a lab host's control groups. A daemon started from outside would else stay in the
# caller's groups, and libvirt would look for its containers' groups there.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    groups=/sys/fs/cgroup/init/cgroup.procs
else
    groups=/sys/fs/cgroup/*/cgroup.procs
fi
for group in $groups; do
    [ ! -e "$group" ] || echo $$ 2>/dev/null >"$group"
done
cd /
exec "$@"
