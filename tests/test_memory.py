"""The counters that tell what is alive in C, and the injector that makes an allocation fail."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from libevent_cffi import util
from libevent_cffi._native import ffi, lib


@pytest.fixture(autouse=True)
def _no_fault_is_left() -> Iterator[None]:
    yield
    lib.lev_memory_fail_after(-1)


def test_counters_return_to_where_they_were() -> None:
    """What libevent allocates and frees leaves the counters as they were."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()
    for size in (0, 1, 1000, 1_000_000):
        buffer = lib.evbuffer_new()
        lib.evbuffer_add(buffer, bytes(size), size)
        assert util.memory_counters().blocks > before.blocks
        assert util.memory_counters().bytes >= before.bytes + size
        lib.evbuffer_free(buffer)
    after = util.memory_counters()
    assert (after.blocks, after.bytes) == (before.blocks, before.bytes)


def test_counters_catch_a_leak() -> None:
    """A buffer that is not freed shows, until it is freed."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()
    leaked = lib.evbuffer_new()
    assert util.memory_counters().blocks == before.blocks + 1
    lib.evbuffer_free(leaked)
    assert util.memory_counters().blocks == before.blocks


def test_peak_stays_when_memory_is_freed() -> None:
    """peak_bytes is the most that was alive at any time."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()
    block = lib.lev_malloc(before.peak_bytes + 100_000)
    lib.lev_free(block)
    after = util.memory_counters()
    assert after.peak_bytes >= before.bytes + before.peak_bytes + 100_000
    assert after.bytes == before.bytes


def test_realloc_keeps_the_count_right() -> None:
    """A block that grows, shrinks, begins as NULL or ends as 0 bytes is one block or none."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()
    block = lib.lev_realloc(ffi.NULL, 10)
    for size in (100_000, 10, 5_000):
        block = lib.lev_realloc(block, size)
        assert util.memory_counters().blocks == before.blocks + 1
        assert util.memory_counters().bytes >= before.bytes + size
    assert lib.lev_realloc(block, 0) == ffi.NULL
    assert util.memory_counters()[:2] == before[:2]


def test_calloc_gives_zeroes_and_refuses_an_overflow() -> None:
    """lev_calloc() clears, and does not multiply past the end of a size_t."""
    block = ffi.gc(lib.lev_calloc(100, 3), lib.lev_free)
    assert bytes(ffi.buffer(block, 300)) == bytes(300)
    assert lib.lev_calloc(2**63, 4) == ffi.NULL


def test_empty_requests_are_blocks_and_null_is_freed_quietly() -> None:
    """malloc(0) gives a block, free(NULL) does nothing."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()
    for block in (lib.lev_malloc(0), lib.lev_calloc(0, 0)):
        assert block != ffi.NULL
        lib.lev_free(block)
    lib.lev_free(ffi.NULL)
    assert util.memory_counters()[:2] == before[:2]


def test_counting_is_exact_between_threads() -> None:
    """Many threads at once lose no count."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters()

    def work() -> None:
        for _ in range(2000):
            lib.lev_free(lib.lev_realloc(lib.lev_malloc(64), 640))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert util.memory_counters()[:2] == before[:2]


def test_the_nth_allocation_fails_once() -> None:
    """lev_memory_fail_after(n) lets n - 1 allocations pass, fails one, and is over."""
    lib.lev_memory_fail_after(3)
    results = [lib.lev_malloc(8) for _ in range(5)]
    assert [block == ffi.NULL for block in results] == [False, False, True, False, False]
    for block in results:
        lib.lev_free(block)


def test_the_injector_can_be_called_off() -> None:
    """-1 means that nothing fails."""
    lib.lev_memory_fail_after(1)
    lib.lev_memory_fail_after(-1)
    block = lib.lev_malloc(8)
    assert block != ffi.NULL
    lib.lev_free(block)


def test_a_failing_allocation_reaches_libevent() -> None:
    """libevent itself allocates through the injector, and reports the failure."""
    lib.lev_memory_fail_after(1)
    assert lib.evbuffer_new() == ffi.NULL
    buffer = lib.evbuffer_new()
    lib.lev_memory_fail_after(1)
    assert lib.evbuffer_add(buffer, b"x" * 10_000, 10_000) == -1
    lib.evbuffer_free(buffer)


def test_a_failing_allocation_is_a_memory_error() -> None:
    """What a class cannot get from C is a MemoryError, and leaves nothing behind."""
    gc.collect()
    before = util.memory_counters().blocks
    lib.lev_memory_fail_after(1)
    with pytest.raises(MemoryError):
        util.MonotonicTimer()
    assert util.memory_counters().blocks == before
