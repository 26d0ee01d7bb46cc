"""The command line, run as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def weft(*arguments: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weft", *arguments],
        env={**os.environ, "WEFT_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_info(tmp_path: Path) -> None:
    done = weft("info", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert {"weft", "python", "numpy", "llvmlite", "CPU", "threads", "cache", "cache size"} <= set(rows)
    assert rows["cache"] == str(tmp_path)
    assert rows["cache size"].startswith("0 bytes of")
    assert rows["tiles"].count("(the model's choice)") == 2


def test_wrong_epochs(tmp_path: Path) -> None:
    for epochs in ("abc", "1"):
        done = weft("demo", "--epochs", epochs, cache=tmp_path)
        assert done.returncode == 2
        assert f"argument --epochs: must be a whole number of at least 2, not {epochs}" in done.stderr
    assert "usage: weft" in weft("--help", cache=tmp_path).stdout


def test_tune(tmp_path: Path) -> None:
    done = weft("info", "--tune", cache=tmp_path, COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("GFLOP/s") >= 6
    assert len(re.findall(r"in use", done.stdout)) == 2
    chosen = {
        m[0]: f"{m[0]} {m[1]} x {m[2]} (measured by weft info --tune)"
        for line in done.stdout.splitlines()
        if "in use" in line and (m := re.findall(r"\w+", line))
    }
    # The next process uses what was found: the tiles are loaded, not compiled, and are those.
    after = weft("info", cache=tmp_path).stdout
    assert ", ".join(chosen.values()) in after
    listed = weft("cache", "list", cache=tmp_path).stdout
    assert "gemm_float32_" in listed
    assert "gemm_float64_" in listed


def test_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    code = "import weft; (weft.ones((3,)) + 1).numpy()"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "WEFT_CACHE_DIR": str(folder)}, check=True, timeout=120
    )
    listed = weft("cache", "list", cache=folder).stdout.splitlines()
    assert listed
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d +[\d,]+  [0-9a-f]{12}  \w+$", line) for line in listed)
    assert weft("cache", "size", cache=folder).stdout.startswith(f"{len(listed)} kernels, ")
    assert weft("cache", "clear", cache=folder).stdout.startswith(f"Removed {len(listed)} kernels")
    assert weft("cache", "list", cache=folder).stdout.startswith("No kernels in")


@pytest.mark.parametrize("arguments", [(), ("cache",), ("cache", "burn"), ("demo", "--epochs", "0"), ("paint",)])
def test_wrong_arguments(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = weft(*arguments, cache=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: weft")


def test_demo(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = weft(
        "demo", "--epochs", "2", "--report", str(report), "--no-progress", cache=tmp_path / "cache", COLUMNS="200"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"The [\d,]+ final weights are bit-identical in all three modes", done.stdout)
    assert re.search(r"eager\W+lazy\W+static", done.stdout)
    (accuracies,) = re.findall(r"test accuracy.*", done.stdout)
    assert len(set(re.findall(r"[\d.]+%", accuracies))) == 1  # the same in every mode
    for row in ("time per step", "kernels per step", "launches per step", "first step, cold", "break-even, warm"):
        assert row in done.stdout
    page = report.read_text()
    assert "<script" not in page
    assert not re.search(r'(src|href)="', page)  # nothing is loaded from elsewhere
    assert page.count("<svg") >= 3
    assert "llvmlite" in page


def test_demo_is_interruptible(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "weft.cli", "demo", "--epochs", "10000", "--report", str(tmp_path / "r.html")],
        env={**os.environ, "WEFT_CACHE_DIR": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Training")
    time.sleep(2)  # somewhere in a compilation or a step
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.rstrip().endswith("Interrupted; nothing was left running.")
    assert "Traceback" not in err
    assert not (tmp_path / "r.html").exists()


def test_demo_without_its_extra(tmp_path: Path) -> None:
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('no rich', name='rich')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = weft("demo", cache=tmp_path / "cache", PYTHONPATH=path)
    assert done.returncode == 1
    assert done.stderr.strip() == "weft demo needs rich; install what it needs with: pip install 'weft[demo]'"
