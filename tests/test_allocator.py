"""The allocator, in processes of its own: a setting is for the whole life of one."""

import os
import platform
import subprocess
import sys

import pytest

from vostool.allocator import bound_arenas, release_free_memory

# threads that all allocate at the same time, and then the number of arenas in use
COUNT = """
import ctypes, threading, tempfile, sys
from vostool.allocator import bound_arenas
print(bound_arenas())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
together, leave = threading.Barrier(9), threading.Barrier(9)
def allocate():
    together.wait()
    taken = libc.malloc(1000)
    leave.wait()
    libc.free(taken)
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
together.wait(); leave.wait()
for thread in threads: thread.join()
libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as report:
    stream = libc.fopen(report.name.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(report.read().count(b"<heap nr="))
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def arenas(**settings: str) -> tuple[str, int]:
    """Return whether the number of arenas was set, and how many eight threads then use."""
    environment = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"} | settings
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
    )
    was_set, count = done.stdout.split()
    return was_set, int(count)


def test_threads_share_two_arenas() -> None:
    assert arenas() == ("True", 2)


def test_the_number_that_the_environment_gives_is_kept() -> None:
    assert arenas(MALLOC_ARENA_MAX="5") == ("False", 5)


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr("vostool.allocator.glibc", lambda: None)
    assert not bound_arenas()
    release_free_memory()


# freed blocks between others that are still in use
RELEASE = """
import ctypes
from pathlib import Path
from vostool.allocator import release_free_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
libc = ctypes.CDLL(None)
libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: blocks of the heap
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(2**20) for _ in range(200)]
for block in blocks:
    ctypes.memset(block, 1, 2**20)
for block in blocks[::2]:
    libc.free(block)
before = resident()
release_free_memory()
print(before - resident())
"""


def test_freed_memory_between_blocks_in_use_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 90 * 2**20
