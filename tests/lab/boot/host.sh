#!/bin/sh
# PID 1 of a lab host, started in its own network, mount, PID, UTS, IPC and control group namespace.
#
#   host.sh NAME FOLDER
#
# FOLDER holds the host's own /etc, /root, /srv, /tmp and /var, and the disks behind its pools.
set -eu
name=$1 folder=$2

mount --make-rprivate /
hostname "$name"
mount -t proc proc /proc

# `ip netns exec` mounted a fresh /sys, which hides the control groups; without them LXC has no back end.
if [ -s "$folder/cgroups" ]; then
    grep -q '^cgroup2 ' "$folder/cgroups" || mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while read -r kind options; do
        if [ "$kind" = cgroup2 ]; then
            mount -t cgroup2 cgroup2 /sys/fs/cgroup || continue
            # In v2 a group with processes can't have groups with controllers below it: move into a leaf.
            mkdir /sys/fs/cgroup/init
            echo $$ >/sys/fs/cgroup/init/cgroup.procs
            for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
                echo "+$controller" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || true
            done
        else
            mkdir -p "/sys/fs/cgroup/$options"
            mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$options" || rmdir "/sys/fs/cgroup/$options"
        fi
    done <"$folder/cgroups"
fi

# /dev/kvm may exist and still not run a kernel; the lab promises software emulation, the same everywhere.
# Only a regular file on a read-only mount is unwritable to root, and libvirt looks at nothing but that: it
# would probe QEMU anew (6 s) before every define and start as long as it believes KVM could be had.
: >"$folder/no-kvm"
[ ! -e /dev/kvm ] || mount --bind -o ro "$folder/no-kvm" /dev/kvm
mount -t tmpfs -o mode=1777 shm /dev/shm

mount -t tmpfs -o mode=755 run /run
mkdir -p /run/sshd /run/lock /run/libvirt
for disk in "$folder"/disks/*.img; do
    [ -e "$disk" ] || continue
    pool=$(basename "$disk" .img)
    mount -o loop,noatime "$disk" "$folder/srv/$pool"
    rmdir "$folder/srv/$pool/lost+found" 2>/dev/null || true
done
mount --rbind "$folder/root" /root
mount --rbind "$folder/srv" /srv
mount --rbind "$folder/tmp" /tmp
mount --rbind "$folder/etc" /etc
# Packages can be asked for, as on a real host, although /var is the host's own.
[ ! -d /var/lib/dpkg ] || mount --bind -o ro /var/lib/dpkg "$folder/var/lib/dpkg"
mount --rbind "$folder/var" /var
cd /

/etc/lab/start sshd
# Before libvirtd, or its pool would be the empty folder below the mount. A server that is off is no reason
# not to start: the pool is empty then, as on a real host.
[ ! -e /etc/lab/shared ] || /etc/lab/start shared || true
/etc/lab/start libvirtd

# PID 1 must reap: an unreaped QEMU makes every destroy wait 40 s for "Failed to terminate process".
while :; do
    sleep 3600 &
    wait
done
