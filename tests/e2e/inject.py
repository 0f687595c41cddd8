# SPDX-License-Identifier: BSD-2-Clause
"""Makes a running process do one system call, as a taken-over one would: for amd64, by ptrace."""
import ctypes
import os
import signal
import time

ATTACH, DETACH, STEP, GETREGS, SETREGS = 16, 17, 9, 12, 13
NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
         "ds es fs gs").split()
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


class Regs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


class Killed(Exception):
    """The process died of the signal that is the argument."""


def trace(request, pid, regs=None):
    if LIBC.ptrace(request, pid, None, ctypes.byref(regs) if regs else None) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request}, {pid})")


def wait(pid):
    status = os.waitpid(pid, 0x40000000)[1]  # __WALL: it is not our child
    if os.WIFSIGNALED(status):
        raise Killed(os.WTERMSIG(status))
    assert os.WIFSTOPPED(status), status
    return os.WSTOPSIG(status)


def attach(pid):
    """The registers of PID, stopped where it waits in a system call of its own."""
    regs = Regs()
    while True:
        trace(ATTACH, pid)
        wait(pid)
        trace(GETREGS, pid, regs)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(regs.rip - 2)
            if memory.read(2) == b"\x0f\x05":
                return regs
        trace(DETACH, pid)
        time.sleep(0.01)


def syscall(pid, nr, *args):
    """What the kernel answers: a negative errno, or a result."""
    saved, regs = attach(pid), Regs()
    for name, _ in Regs._fields_:
        setattr(regs, name, getattr(saved, name))
    for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), [*args, 0, 0, 0, 0, 0, 0]):
        setattr(regs, name, value & (1 << 64) - 1)
    regs.rax, regs.orig_rax, regs.rip = nr, (1 << 64) - 1, saved.rip - 2
    trace(SETREGS, pid, regs)
    trace(STEP, pid)
    stop = wait(pid)
    while stop == signal.SIGSYS:  # about to die of it
        trace(STEP, pid)
        stop = wait(pid)
    trace(GETREGS, pid, regs)
    trace(SETREGS, pid, saved)
    trace(DETACH, pid)
    return ctypes.c_longlong(regs.rax).value
