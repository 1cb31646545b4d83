# A machine of its own: what is on this one, under a layer that ends with it, and systemd as its first process. Run in new namespaces.
# Arguments: directories that are to be seen there as they are here.
root=/run/kvraft-machine
mount --make-rprivate /
mkdir -p $root
mount -t tmpfs kvraft-machine $root
mkdir $root/upper $root/work $root/root
mount -t overlay kvraft-machine -o lowerdir=/,upperdir=$root/upper,workdir=$root/work $root/root
cd $root/root
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs run run
mount -t tmpfs tmp tmp
for dir; do
    mkdir -p "$root/root$dir"
    mount --bind "$dir" "$root/root$dir"
done
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup sys/fs/cgroup
else
    umount -R sys/fs/cgroup
    mount -t tmpfs cgroup sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup sys/fs/cgroup/unified
fi
# Nothing of this machine's own services starts there: these targets stand before those of the same names.
mkdir run/units
for target in sysinit basic shutdown network-online machine; do
    printf '[Unit]\nDefaultDependencies=no\n' >run/units/$target.target
done
pivot_root . mnt
umount -l /mnt
ip link set lo up
for number in 1 2 3; do ip address add 10.0.0.$number/32 dev lo; done
export container=kvraft-machine SYSTEMD_UNIT_PATH=/run/units:/etc/systemd/system:/usr/lib/systemd/system
exec /lib/systemd/systemd --system --unit=machine.target --show-status=no --log-target=console --log-level=warning
