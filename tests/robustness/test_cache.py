"""The kernel cache on disk: whatever state it is in, answers are right, and trouble is at most a warning."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import finish, script, start
from weft.cli import main
from weft.runtime import cache

#: Uses three kernels and checks their results.
WORK = """
import json, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import weft
    a = np.arange(1, 1001, dtype=np.float32)
    x = weft.from_numpy(a)
    assert np.array_equal((x * 2).numpy(), a * 2)
    assert np.allclose(weft.log(x).numpy(), np.log(a), rtol=1e-6)
    assert x.sum().item() == a.sum()
print(json.dumps([weft.stats().kernels_compiled, weft.stats().kernels_loaded, [str(w.message) for w in caught]]))
"""


def work(folder: Path, text: str = WORK, **env: str) -> tuple[int, int, list[str]]:
    """Kernels compiled and loaded, and the warnings, of a process that works with this cache."""
    import json

    return tuple(json.loads(script(text, WEFT_CACHE_DIR=str(folder), **env)))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: Any) -> Path:
    """A cache that holds the kernels of `WORK`."""
    folder = tmp_path_factory.mktemp("warm") / "cache"
    compiled, loaded, warned = work(folder)
    assert (compiled, loaded, warned) == (3, 0, [])
    return folder


@pytest.fixture
def folder(warm: Path, tmp_path: Path) -> Path:
    """A copy of that cache, to be spoilt."""
    copy = tmp_path / "cache"
    copy.mkdir(mode=0o700)
    for file in warm.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.weft"))


def test_is_private_and_holds_one_file_for_each_kernel(warm: Path) -> None:
    assert stat.S_IMODE(warm.stat().st_mode) == 0o700
    assert len(files(warm)) == 3
    assert len(list(warm.iterdir())) == 3
    assert work(warm) == (0, 3, [])


def test_damaged_files_are_absent(warm: Path) -> None:
    """Cut off anywhere, or one bit flipped anywhere (header, checksum, names, code): never taken for whole."""
    for file in files(warm):
        data = file.read_bytes()
        assert cache._unpack(data, file.stem) is not None
        rng = np.random.default_rng(len(data))
        for keep in [0, 1, 7, 8, 39, 40, 41, 60, len(data) - 1, *rng.integers(0, len(data), 50)]:
            assert cache._unpack(data[:keep], file.stem) is None
        for place in [0, 7, 8, 39, 40, 41, 90, len(data) - 1, *rng.integers(0, len(data), 50)]:
            spoilt = bytearray(data)
            spoilt[place] ^= 1 << int(rng.integers(8))
            assert cache._unpack(bytes(spoilt), file.stem) is None
        assert cache._unpack(data + b"x", file.stem) is None
        assert cache._unpack(data, "0" * 64) is None
        assert cache._unpack(b"WEFTOBJ0" + data[8:], file.stem) is None


def test_damaged_files_are_compiled_again(folder: Path) -> None:
    first, second, third = files(folder)
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"")
    spoilt = bytearray(third.read_bytes())
    spoilt[len(spoilt) // 2] ^= 16
    third.write_bytes(spoilt)
    assert work(folder) == (3, 0, [])
    assert work(folder) == (0, 3, [])  # and replaced


def test_files_that_are_something_else(folder: Path) -> None:
    first, second, third = files(folder)
    first.write_bytes(b"\0" * 100_000)
    second.unlink()
    second.mkdir()
    third.unlink()
    third.symlink_to(folder / "nothing")
    (folder / "README").write_text("not ours")
    compiled, loaded, warned = work(folder)
    assert (compiled, loaded) == (3, 0)
    assert len(warned) == 1
    assert "cannot be written (Is a directory)" in warned[0]
    assert (folder / "README").exists()


def test_pipes_and_devices_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waited for nor read for ever, and replaced."""
    first, second, third = files(folder)
    first.unlink()
    os.mkfifo(first)
    second.unlink()
    second.symlink_to("/dev/zero")
    monkeypatch.setenv("WEFT_CACHE_DIR", str(folder))
    assert [entry.key for entry in cache.entries()] == [third.name.removesuffix(cache.SUFFIX)]
    assert work(folder) == (2, 1, [])
    assert work(folder) == (0, 3, [])


def test_clearing_removes_whatever_is_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = files(folder)
    first.unlink()
    first.mkdir()
    second.unlink()
    second.symlink_to(folder / "nothing")
    monkeypatch.setenv("WEFT_CACHE_DIR", str(folder))
    assert cache.size() < 100_000
    cache.clear()
    assert files(folder) == [first]
    assert not third.exists()


def test_eviction_passes_over_what_cannot_be_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = files(folder)
    monkeypatch.setenv("WEFT_CACHE_DIR", str(folder))
    monkeypatch.setenv("WEFT_CACHE_SIZE", "1")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == first:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    cache._evict(folder)
    assert files(folder) == [first]
    assert main(["cache", "clear"]) == 1
    assert capsys.readouterr().err == f"The kernel cache {folder} cannot be cleared: Permission denied.\n"


def test_file_under_the_name_of_another(folder: Path) -> None:
    """A file copied over another has a right checksum, and is the wrong kernel."""
    first, second, third = files(folder)
    data = first.read_bytes()
    second.write_bytes(data)
    third.write_bytes(data)
    assert work(folder) == (2, 1, [])


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    compiled, _, warned = work(blocked / "cache")
    assert compiled == 3
    assert len(warned) == 1
    assert "cannot be used" in warned[0]
    compiled, _, warned = work(blocked)
    assert compiled == 3
    assert len(warned) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(folder: Path) -> None:
    folder.chmod(0o500)
    for file in files(folder)[:2]:
        file.chmod(0o000)
    compiled, loaded, _ = work(folder)
    assert (compiled, loaded) == (2, 1)
    folder.chmod(0o000)
    compiled, loaded, _ = work(folder)
    assert (compiled, loaded) == (3, 0)
    folder.chmod(0o700)


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy as this process's cache."""
    monkeypatch.setenv("WEFT_CACHE_DIR", str(folder))
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setattr(cache, "_checked", {})
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user(folder: Path) -> None:
    os.chown(folder, 12345, -1)
    compiled, loaded, warned = work(folder)
    assert (compiled, loaded) == (3, 0)
    assert len(warned) == 1
    assert "belongs to another user" in warned[0]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_directory_that_others_may_write(here: Path, mode: int) -> None:
    here.chmod(mode)
    with pytest.warns(weft.CacheWarning, match="can be written by others; run: chmod go-w"):
        assert cache.load(files(here)[0].stem) is None
    cache.save("0" * 64, cache.Code("k", ("f",), b"code"))
    assert len(files(here)) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user(here: Path) -> None:
    """A file that another user put here, perhaps while the directory was open to all, is not loaded."""
    first, second, _ = files(here)
    os.chown(first, 12345, -1)
    assert cache.load(first.stem) is None
    assert cache.load(second.stem) is not None


def test_symbolic_link_to_a_directory(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert work(link) == (0, 3, [])


def full_disk(folder: Path) -> bool:
    """Mount a tiny file system on the folder, if this is allowed."""
    folder.mkdir(mode=0o700)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return made.returncode == 0


def test_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    if not full_disk(folder):
        pytest.skip("cannot mount a file system")
    try:
        (folder / "filler").write_bytes(b"x" * 8192)
        compiled, _, warned = work(folder)
        assert compiled == 3
        assert len(warned) == 1
        assert "cannot be written" in warned[0]
        assert [f.name for f in folder.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_file_size_limit(tmp_path: Path) -> None:
    """A write that ends early leaves nothing behind."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    folder = tmp_path / "cache"
    compiled, _, warned = work(folder, limit + WORK)
    assert compiled == 3
    assert len(warned) == 1
    assert "File too large" in warned[0]
    assert list(folder.iterdir()) == []


def test_no_space_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a name that differs each time")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(weft.CacheWarning, match=r"No space left on device\)"):
        cache.save("0" * 64, cache.Code("k", ("f",), b"code"))
    cache.save("1" * 64, cache.Code("k", ("f",), b"code"))  # warned once
    assert len(list(here.iterdir())) == 3
    assert cache.load("0" * 64) is None


def test_eviction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its capacity the least recently used files go, down to four fifths of it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WEFT_CACHE_DIR", str(folder))
    monkeypatch.setenv("WEFT_CACHE_SIZE", "100000")
    now = time.time()
    for k in range(9):
        cache.save(f"{k:064x}", cache.Code("k", ("f",), bytes(10_000)))
        os.utime(folder / f"{k:064x}.weft", (now - 1000 + k, now - 1000 + k))
    assert cache.load("0" * 64) is not None  # used now: the oldest no more
    draft = folder / ".0123-1-aa.tmp"
    draft.write_bytes(b"left by a process that died")
    os.utime(draft, (now - 1e6, now - 1e6))
    (folder / ".4567-1-bb.tmp").write_bytes(b"being written")
    cache.save("f" * 64, cache.Code("k", ("f",), bytes(10_000)))
    assert cache.size() <= 80_000
    kept = {f.stem[-1] for f in files(folder)}
    assert {"0", "f", "8"} <= kept
    assert not {"1", "2"} & kept
    assert not draft.exists()
    assert (folder / ".4567-1-bb.tmp").exists()


def test_kernel_larger_than_the_whole_cache(tmp_path: Path) -> None:
    assert work(tmp_path / "cache", WEFT_CACHE_SIZE="1") == (3, 0, [])
    assert files(tmp_path / "cache") == []


def test_cleared_while_in_use(folder: Path) -> None:
    text = WORK.replace(
        "x = weft.from_numpy(a)", "x = weft.from_numpy(a); x * 2; from weft.runtime import cache; cache.clear()"
    )
    compiled, loaded, warned = work(folder, text)
    assert (compiled, loaded, warned) == (2, 1, [])
    assert len(files(folder)) == 2


def test_sixteen_processes_start_cold(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    text = """
    import numpy as np, weft
    a = np.arange(1, 1001, dtype=np.float32)
    assert np.array_equal((weft.from_numpy(a) * 2).numpy(), a * 2)
    print("right")
    """
    processes = [start(text, WEFT_CACHE_DIR=str(folder), OPENBLAS_NUM_THREADS="1") for _ in range(16)]
    assert [finish(p, timeout=120) for p in processes] == ["right\n"] * 16
    assert len(files(folder)) == len(list(folder.iterdir())) == 1
    (file,) = files(folder)
    assert cache._unpack(file.read_bytes(), file.stem) is not None


def test_home_that_cannot_be_written() -> None:
    import json

    printed = script(WORK, WEFT_CACHE_DIR="", HOME="/nonexistent/home", XDG_CACHE_HOME="/proc/weft")
    compiled, _, warned = json.loads(printed)
    assert compiled == 3
    assert len(warned) == 1
