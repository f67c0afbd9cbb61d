#!/bin/sh
# Start one of a lab host's services, from inside the host: start NAME
set -eu
case $1 in
sshd)
    /usr/sbin/sshd -f /etc/ssh/sshd_config -E /var/log/sshd.log
    ;;
libvirtd)
    pgrep -x virtlogd >/dev/null || /usr/sbin/virtlogd -d
    pgrep -x virtlockd >/dev/null || /usr/sbin/virtlockd -d
    /usr/sbin/libvirtd -d
    ;;
glusterd)
    ! pgrep -x glusterd >/dev/null || exit 0
    # Its geo-replication, which nobody wants here, runs a dozen Python programs before the daemon is up
    # (10 s and more). A program that can't be found, even for its interpreter, counts as not installed.
    gsyncd=/usr/lib/x86_64-linux-gnu/glusterfs/gsyncd
    printf '#!/nonexistent\n' >/run/no-gsyncd
    chmod 755 /run/no-gsyncd
    [ ! -e "$gsyncd" ] || mount --bind /run/no-gsyncd "$gsyncd"
    /usr/sbin/glusterd -p /run/glusterd.pid
    for _ in $(seq 100); do
        ! nc -z 127.0.0.1 24007 || exit 0
        sleep 0.1
    done
    exit 1
    ;;
shared)
    # The server's own mount is a network mount as well: all hosts see the pool alike.
    read -r server path </etc/lab/shared
    ! ip -o address show | grep -qF " $server/" || "$0" glusterd
    grep -qF " $path fuse.glusterfs " /proc/self/mounts ||
        timeout 20 mount -t glusterfs -o direct-io-mode=disable "$server:/shared" "$path"
    ;;
*)
    echo "no service $1" >&2
    exit 2
    ;;
esac
