"""systemd, started as PID 1 in namespaces of its own, on this system's files.

What it sees is this root under an overlay in memory: what it writes is gone with it. It has a network
of its own (the loopback), units of its own (but for the journal, nothing of this system's is started),
a read-only /sys and /proc/sys, and none of the capabilities that reach past the namespaces."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

from .bulkhead import ROOT
from .wait import until

UNITS = pathlib.Path("/usr/lib/systemd/system")
SYSTEMD = "/lib/systemd/systemd"
DROPPED = ("sys_module", "sys_time", "sys_rawio", "sys_boot", "syslog", "mac_admin", "wake_alarm")

# In the new namespaces, before systemd. $1: an empty directory, $2: how cgroups are mounted here,
# $3: the capabilities to drop, $4: this repository, which stays where it is, read-only.
BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
for directory in run tmp etc/systemd/system etc/systemd/system.conf.d; do
    mkdir -p "$directory"
    mount -t tmpfs -o mode=0755 tmpfs "$directory"
done
mkdir -p ".$4"
mount --bind "$4" ".$4"
mount -o remount,bind,ro ".$4"
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s null dev/console
mount -t tmpfs tmpfs sys/fs/cgroup
if [ "$2" = unified ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
# No unit of this system's: what targets want is masked, but for the journal.
for unit in usr/lib/systemd/system/*.target.wants/*; do
    case ${unit##*/} in
    systemd-journald*) ;;
    *) ln -sf /dev/null "etc/systemd/system/${unit##*/}" ;;
    esac
done
: > etc/fstab
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mkdir old-root
pivot_root . old-root
umount --lazy /old-root
exec setpriv --bounding-set "$3" env -i container=bulkhead-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target --log-target=journal
"""


def missing():
    """Why a machine can't be started here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, to start systemd in namespaces of its own"
    for tool in ("unshare", "nsenter", "pivot_root", "setpriv"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not pathlib.Path(SYSTEMD).exists():
        return "needs systemd"
    return None


def hierarchy():
    """How cgroups are mounted here, and where systemd's own group goes."""
    for kind, mark, place in (("unified", "cgroup.controllers", "/sys/fs/cgroup"),
                              # systemd 257 refuses to start without; with the old ones beside it here.
                              ("unified", "cgroup.controllers", "/sys/fs/cgroup/unified"),
                              ("named", "cgroup.procs", "/sys/fs/cgroup/systemd")):
        if (pathlib.Path(place) / mark).exists():
            return kind, pathlib.Path(place)
    return None, None


class Machine:
    def __init__(self, directory):
        self.directory = directory
        self.kind, place = hierarchy()
        self.group = place and place / f"bulkhead-test-{os.getpid()}"
        self.outer, self.pid = None, None

    def start(self):
        """True when systemd runs; False when this place does not let it."""
        if self.group is None:
            return False
        try:
            self.group.mkdir()
        except OSError:
            return False
        self.outer = subprocess.Popen(
            ["unshare", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--fork",
             "--kill-child", "sh", "-c", BOOT, "sh", self.directory, self.kind,
             ",".join(f"-{name}" for name in DROPPED), ROOT],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=self.enter, start_new_session=True)
        try:
            self.pid = until(self.first_process, "PID 1")
            until(lambda: self.outer.poll() is not None or self.is_up(), "systemd to be up")
        except AssertionError:
            return False
        return self.outer.poll() is None

    def enter(self):
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def first_process(self):
        children = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        with contextlib.suppress(FileNotFoundError):
            return int((children.read_text().split() or [0])[0])

    def is_up(self):
        return self.ask("systemctl", "is-active", "basic.target").stdout.strip() == "active"

    def inside(self, *command):
        return ["nsenter", "--target", str(self.pid), "--pid", "--mount", "--net", "--uts", "--ipc",
                "--cgroup", "--", *command]

    def ask(self, *command, **more):
        return subprocess.run(self.inside(*command), capture_output=True, text=True, timeout=120,
                              stdin=None if "input" in more else subprocess.DEVNULL, **more)

    def run(self, *command, **more):
        made = self.ask(*command, **more)
        if made.returncode != 0:
            journal = self.ask("journalctl", "--no-pager", "--lines=40").stdout
            raise AssertionError(f"{command}: {made.stdout}{made.stderr}{journal}")
        return made.stdout

    def show(self, unit, *names):
        """systemctl show: the values of these properties."""
        text = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names))
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return found[names[0]] if len(names) == 1 else found

    def stop(self):
        if self.outer is not None:
            self.outer.send_signal(signal.SIGKILL)  # --kill-child: all of it ends
            self.outer.communicate()
        if self.group is not None and self.group.exists():
            until(self.remove_groups, "its cgroups to be empty")

    def remove_groups(self):
        for directory, _, _ in os.walk(self.group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        return not self.group.exists()
