"""The on-disk cache of object code: what was compiled once is never compiled again on this machine by this user.

A file is named by the hash of everything its content depends on, its key, and holds ``MAGIC``, the SHA-256 of the key and
the rest, a line with the kernel's name, a line with the names of its entry points, and the object code. Files are written
beside their place and renamed into it, so that readers and writers in any number of processes see whole files or none; one
that is damaged all the same, or stands under another's name, fails its checksum and counts as absent. Directory and files
must be the user's own: code is loaded from them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weft.errors import CacheWarning

if TYPE_CHECKING:
    from pathlib import Path  # like hashlib imported when first used: they take a quarter of Weft's import time

MAGIC = b"WEFTOBJ2"
SUFFIX = ".weft"
#: Seconds after which an unfinished file was left by a process that died.
STALE = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached kernel: its name, its key, the size of its file in bytes, and when it was last used (Unix time)."""

    name: str
    key: str
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Code:
    """Compiled code: the kernel's name, the names of its entry points, and an object file's bytes."""

    name: str
    symbols: tuple[str, ...]
    object: bytes


_warned: set[str] = set()
_checked: dict[str, bool] = {}


def directory() -> Path:
    """Where the cache is: ``WEFT_CACHE_DIR``, else ``weft`` in the user's cache folder."""
    from pathlib import Path

    if given := os.environ.get("WEFT_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "weft"


def capacity() -> int:
    """The size in bytes above which the least recently used files are removed: ``WEFT_CACHE_SIZE``, else 512 MiB."""
    try:
        return int(os.environ["WEFT_CACHE_SIZE"])
    except (KeyError, ValueError):
        return 512 << 20


def load(key: str) -> Code | None:
    """The code kept under ``key``, or None: absent, damaged, or the directory cannot be trusted."""
    if not usable():
        return None
    path = str(directory() / (key + SUFFIX))
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            data = file.read() if status.st_uid == os.geteuid() else b""
    except OSError:
        return None
    code = _unpack(data, key)
    if code is not None and time.time() - status.st_mtime > 60:
        with suppress(OSError):
            os.utime(path)  # eviction goes by this time
    return code


def save(key: str, code: Code) -> None:
    """Keep ``code`` under ``key``. A directory that cannot be written is reported once and then left alone."""
    if not usable():
        return
    folder = directory()
    draft = folder / f".{key[:16]}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        try:
            with open(draft, "xb") as file:
                file.write(_pack(code, key))
            os.replace(draft, folder / (key + SUFFIX))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _evict(folder)
    except OSError as error:
        _warn(
            f"The kernel cache {folder} cannot be written ({error.strerror or error}); kernels compiled now will be compiled "
            "again next time."
        )


def _open(path: str, flags: int) -> int:
    """A descriptor of a file; never waits, and refuses what is no file: a pipe that nobody writes, a device without end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a file", path)
    return descriptor


def entries() -> list[Entry]:
    """What the cache holds, most recently used first."""
    result = []
    for path, size, used in _files(directory()):
        try:
            with open(path, "rb", opener=_open) as file:
                head = file.read(len(MAGIC) + 32 + 256)
        except OSError:
            continue
        if head.startswith(MAGIC):
            name = head[len(MAGIC) + 32 :].split(b"\n", 1)[0].decode(errors="replace")
            result.append(Entry(name, path.name.removesuffix(SUFFIX), size, used))
    return sorted(result, key=lambda entry: -entry.used)


def size() -> int:
    """The bytes that the cache's files take."""
    return sum(size for _, size, _ in _files(directory()))


def clear() -> None:
    """Remove every cached kernel. Kernels that are loaded already stay loaded.

    Raises ``OSError`` where the folder does not let its files be removed.
    """
    folder = directory()
    for path, _, _ in _files(folder):
        path.unlink(missing_ok=True)
    _sweep(folder)


def _pack(code: Code, key: str) -> bytes:
    rest = f"{code.name}\n{' '.join(code.symbols)}\n".encode() + code.object
    return MAGIC + _checksum(rest, key) + rest


def _checksum(rest: bytes, key: str) -> bytes:
    import hashlib

    return hashlib.sha256(key.encode() + rest).digest()


def _unpack(data: bytes, key: str) -> Code | None:
    start = len(MAGIC) + 32
    if not data.startswith(MAGIC) or _checksum(data[start:], key) != data[len(MAGIC) : start]:
        return None
    name, symbols, code = data[start:].split(b"\n", 2)
    return Code(name.decode(), tuple(symbols.decode().split()), code)


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """The cached files with their sizes and times; those that others remove meanwhile are left out, and folders."""
    result = []
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.endswith(SUFFIX):
                    try:
                        status = item.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if not stat.S_ISDIR(status.st_mode):
                        result.append((folder / item.name, status.st_size, status.st_mtime))
    except OSError:
        return []
    return result


def _evict(folder: Path) -> None:
    """Remove the least recently used files until the cache is at four fifths of its capacity, if it is above it."""
    files = _files(folder)
    total, limit = sum(size for _, size, _ in files), capacity()
    if total <= limit:
        return
    for path, size, _ in sorted(files, key=lambda file: file[2]):
        if total <= limit * 4 // 5:
            break
        with suppress(OSError):
            path.unlink()
        total -= size
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what processes that died while writing left behind."""
    for draft in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > STALE:
                draft.unlink(missing_ok=True)


def usable() -> bool:
    """Whether the directory exists (made on the way) and is this user's alone to write; asked once for each path."""
    path = str(directory())
    if path not in _checked:
        _checked[path] = _check(path)
    return _checked[path]


def _check(path: str) -> bool:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        _warn(f"The kernel cache {path} cannot be used ({error}); kernels will be compiled in every process.")
        return False
    if not stat.S_ISDIR(status.st_mode):
        reason = "is not a directory"
    elif status.st_uid != os.geteuid():
        reason = "belongs to another user"
    elif status.st_mode & 0o022:
        reason = f"can be written by others; run: chmod go-w {path}"
    else:
        return True
    _warn(f"The kernel cache {path} is not used because it {reason}; kernels will be compiled in every process.")
    return False


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, CacheWarning, stacklevel=3)
