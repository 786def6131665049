"""What keeps a process of generated code from the rest of the machine; every layer is the kernel's, none is Python's.

In: limits and the folder it may write. Out: the names of the layers that hold. Runs inside the child, before the code; Linux.
Imports the standard library only, for the child starts without ours. Layers that a kernel or a container forbids are left out of the
list that comes back, and the caller decides what that means.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Callable

NAMESPACES, READ_ONLY, LANDLOCK, CAPABILITIES, SECCOMP = "namespaces", "read-only files", "landlock", "no capabilities", "seccomp"

# linux/sched.h
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET, CLONE_THREAD = 0x20000000, 0x40000000, 0x10000

# System calls the code may not make: (x86_64, aarch64). Sockets; other processes and their memory; signals; leaving the group that is
# killed; mounts, namespaces, keys and modules; io_uring, which goes round this filter; memory that no limit counts (memfd, System V).
DENIED = {
    "socket": (41, 198), "bind": (49, 200), "connect": (42, 203), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "setsid": (112, 157), "setpgid": (109, 154),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "userfaultfd": (323, 282), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "personality": (135, 92), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
}  # fmt: skip
CLONE, CLONE3, PRLIMIT = (56, 220), (435, 435), (302, 261)
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # linux/audit.h, column of the tables above

libc = ctypes.CDLL(None, use_errno=True)


def namespaces() -> bool:
    """Own users, processes, network, mounts: True in the first process of them. The process that called stays behind as its watcher."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if libc.unshare(flags) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:  # without a map the code is nobody: as good
            file.write(text)
    if child := os.fork():
        _watch(child)
    die_with_parent()
    return True


def _watch(child: int) -> None:
    """End as the child ends. Its pipes are closed here, or nobody would see that it is gone."""
    os.closerange(0, 1024)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def die_with_parent() -> None:
    libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL


def read_only(folder: str, n_bytes: int) -> bool:
    """Every mount read-only, and `folder` a file system of its own of `n_bytes`. Needs the mount namespace."""
    options = f"size={n_bytes},nr_inodes=1000,mode=700".encode()
    private, no_suid_no_dev = 0x44000, 0x6  # MS_REC | MS_PRIVATE; MS_NOSUID | MS_NODEV
    if libc.mount(b"none", b"/", None, private, None) or libc.mount(b"tmpfs", folder.encode(), b"tmpfs", no_suid_no_dev, options):
        return False
    os.chdir(folder)  # the new file system, whatever else is refused
    at_fdcwd, recursive, rdonly, nosuid, mount_setattr = -100, 0x8000, 1, 2, 442
    set_ = struct.pack("4Q", rdonly | nosuid, 0, 0, 0)
    clear = struct.pack("4Q", 0, rdonly, 0, 0)
    if libc.syscall(mount_setattr, at_fdcwd, b"/", recursive, set_, len(set_)):
        return False
    return libc.syscall(mount_setattr, at_fdcwd, folder.encode(), 0, clear, len(clear)) == 0


def landlock(folder: str, readable: list[str]) -> bool:
    """Files: `folder` to write, `readable` to read, nothing else; no TCP, no signals out. Source: docs of Linux, userspace-api/landlock."""
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return False
    everything = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    fields = (everything, *([3] if version >= 4 else []), *([3] if version >= 6 else []))
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    rules = libc.syscall(444, attributes, len(attributes), 0)
    read_file, write_file, read_dir = 4, 2, 8
    not_made_here = 1 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 15  # execute, devices, sockets, fifos, ioctl
    _allow(rules, folder, everything & ~not_made_here)
    for path in readable:
        _allow(rules, path, read_file | read_dir if os.path.isdir(path) else read_file)
    _allow(rules, "/dev/null", read_file | write_file)
    done = libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, rules, 0) == 0
    os.close(rules)
    return done


def _allow(rules: int, path: str, rights: int) -> None:
    if os.path.exists(path):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(445, rules, 1, struct.pack("=Qi", rights, fd), 0)
        os.close(fd)


def no_capabilities() -> bool:
    return libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) == 0


def seccomp() -> bool:
    """DENIED calls answer EPERM; no process is made or become (threads may be); limits of others stay. Also sets no_new_privs."""
    if platform.machine() not in ARCHITECTURES:
        return False
    program = _filter(*ARCHITECTURES[platform.machine()])
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    pointer = struct.pack("H6xP", len(program), ctypes.addressof(buffer))
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, pointer, 0, 0) == 0  # NO_NEW_PRIVS; SECCOMP_MODE_FILTER


def _filter(architecture: int, column: int) -> list[tuple[int, int, int, int]]:
    """Classic BPF steps (code, jump if true, jump if false, constant). Source: linux/bpf_common.h, linux/seccomp.h."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refused, unknown = 0x7FFF0000, 0x80000000, 0x50000 | 1, 0x50000 | 38  # EPERM, ENOSYS
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    steps += [(at_least, 0, 1, 0x40000000), (give, 0, 0, refused)]  # x32 calls, by other numbers
    for number in (numbers[column] for numbers in DENIED.values()):
        if number is not None:
            steps += [(equal, 0, 1, number), (give, 0, 0, refused)]
    steps += [(equal, 0, 1, CLONE3[column]), (give, 0, 0, unknown)]  # its flags stand in memory: libraries then take clone
    for number, test in ((CLONE[column], (any_bit, 0, 1, CLONE_THREAD)), (PRLIMIT[column], (equal, 0, 1, 0))):
        # the call's first argument (its low half): flags of clone, the process of prlimit64 (0: itself)
        steps += [(equal, 0, 4, number), (load, 0, 0, 16), test, (give, 0, 0, allow), (give, 0, 0, refused)]
    steps += [(give, 0, 0, allow)]
    return steps


def limits(cpu_seconds: int, memory_bytes: int, file_bytes: int, open_files: int, processes: int) -> None:
    """Resource limits, soft and hard alike; a second of CPU more before the hard kill, for a message."""
    for which, soft, hard in (
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, open_files, open_files),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(which, (soft, hard))


def confine(folder: str, readable: list[str], disk_bytes: int, limit: Callable[[], None]) -> list[str]:
    """Every layer the kernel grants, in the order they need; the names of those that hold."""
    held = []
    os.chdir(folder)
    if namespaces():
        held.append(NAMESPACES)
        if read_only(folder, disk_bytes):
            held.append(READ_ONLY)
    limit()
    for name, layer in ((LANDLOCK, lambda: landlock(folder, readable)), (CAPABILITIES, no_capabilities), (SECCOMP, seccomp)):
        if layer():
            held.append(name)
    return held
