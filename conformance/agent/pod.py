"""
Runs a program as a container runs it in the node's network: a root directory with the program and a few directories of the node
alone, /proc of a PID namespace of its own with a read-only /proc/sys, and few capabilities. Started in new mount and PID namespaces.

    pod.py '{"root": ..., "mounts": [{"source", "target", "readOnly"}], "capabilities": [12], "command": [...], "env": {...}}'
"""
import ctypes
import json
import os
import subprocess
import sys

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = 40

spec = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
root = spec["root"]


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def inside(path):
    return root + path


mount("-t", "tmpfs", "none", root)
program = spec["command"][0]
subprocess.run(["cp", spec["program"], inside(program)], check=True)
os.mkdir(inside("/proc"))
mount("-t", "proc", "proc", inside("/proc"))
for one in spec["mounts"]:
    os.makedirs(inside(one["target"]), exist_ok=True)
    mount("--rbind", one["source"], inside(one["target"]))
    if one["readOnly"]:
        mount("-o", "remount,bind,ro", inside(one["target"]))
mount("--bind", inside("/proc/sys"), inside("/proc/sys"))
mount("-o", "remount,bind,ro", inside("/proc/sys"))
mount("-o", "remount,ro", root)
os.chroot(root)
os.chdir("/")
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
for capability in range(LAST_CAPABILITY + 1):
    if capability not in spec["capabilities"]:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execve(program, spec["command"], spec["env"])
