"""The GPU benchmark in its toy size: that it runs, and that both sides of it compute the same function."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "lotus2_gpu.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", *arguments], capture_output=True, text=True, timeout=600, check=False
    )


def test_the_published_path_and_ours_agree_and_every_row_is_there() -> None:
    done = _run("--rows", "published,bf16,keyframes,tail")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["bf16_latent_error"] < 0.05  # another function, or other weights, would be off by 1
    assert found["fp8_latent_error"] < 0.25
    for name in ("published_core_ms", "published_sharpened_ms", "bf16_core_ms", "fp8_core_ms", "fp8_keyframes_ms"):
        assert found[name] > 0
    assert found["decode_tail_float32_levels"] > 5 * found["decode_tail_bf16_levels"]
    assert "core only, bf16: times faster than published" in done.stdout


def test_an_unknown_row_is_named() -> None:
    done = _run("--rows", "bf17")
    assert done.returncode != 0
    assert "no row bf17; there are published, bf16" in done.stderr
