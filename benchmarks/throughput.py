"""How fast and how lean the command is on this machine, as ratios measured in one run.

    python benchmarks/throughput.py [--teacher FOLDER] [--frames 300] [--rows model,command,memory,startup]
    python benchmarks/throughput.py --rows gpu [--teacher FOLDER] [--batches 64,128,256] [--tiny]

Rows: the model alone, depth and depth with normals, and beside it, with --teacher, the teacher run by transformers in torch
at its own default size and through OpenVINO at 224x392; the whole command over the model alone on the same frames (a 720p
film made here); upsampling over the model; peak memory at 2,000 frames over 200; `--version` and `--help` over `python -c
pass`; and, only when asked for, the model on a GPU beside the teacher compiled there, see `mini_gpu.py`.
Prints a table and, last, one JSON line. Each figure is the median of several takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from lotus2_video import Maps, ModelOptions, make_predictor, open_source
from lotus2_video.config import Kind
from lotus2_video.ops.resample import shrink, upsample

COMMAND = [sys.executable, "-m", "lotus2_video.cli"]


def median_seconds(work: Callable[[], object], takes: int) -> float:
    work()  # the first take compiles and warms caches
    return statistics.median(seconds(work) for _ in range(takes))


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def film(path: Path, source: Path | None, frames: int) -> Path:
    """`frames` frames of 1280x720 H.264: `source` there and back again, or a drifting pattern."""
    pictures = _pictures(source) if source else [_pattern(i) for i in range(40)]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures[order[i % len(order)]], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _pictures(source: Path, most: int = 120) -> list[np.ndarray]:
    with open_source(str(source)) as opened:
        return [cv2.resize(frame.rgb, (1280, 720), interpolation=cv2.INTER_AREA) for frame in islice(opened, most)]


@lru_cache(maxsize=40)
def _pattern(i: int) -> np.ndarray:
    y, x = np.mgrid[:720, :1280].astype(np.float32)
    return (127 + 100 * np.dstack([np.sin((x + 9 * i) / 90), np.cos(y / 70), np.sin((x - y) / 110)])).astype(np.uint8)


def small_frames(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    with open_source(str(path)) as source:
        return [shrink(frame.rgb, size) for frame in source]


Work = tuple[Callable[[], object], int]  # and how many frames it does


def model_rates(teacher: str | None) -> dict[str, float]:
    """Frames a second on the CPU, one frame after another: the mini, and the teacher beside it, in turn."""
    works = {
        "depth_224x384": mini_work(("depth",), "auto", (224, 384)),
        "depth": mini_work(("depth",), "auto"),
        "depth_normal": mini_work(("depth", "normal"), "auto"),
        "depth_normal_fp32": mini_work(("depth", "normal"), "fp32"),
    } | (teacher_works(teacher) if teacher else {})
    for work, _ in works.values():
        work()  # the first take compiles and warms caches
    takes = [{name: seconds(work) / frames for name, (work, frames) in works.items()} for _ in range(5)]
    rates = {f"{name}_fps": 1 / statistics.median(take[name] for take in takes) for name in works}
    ours = [name for name in works if name.startswith("depth") and teacher]
    return rates | {
        f"{name}_over_teacher": statistics.median(take["teacher_torch"] / take[name] for take in takes) for name in ours
    }


def mini_work(kinds: tuple[Kind, ...], precision: str, size: tuple[int, int] | None = None) -> Work:
    """Frames one after another through the mini, at its default size for 16:9 unless said otherwise."""
    predictor = make_predictor("mini", ModelOptions(kinds=kinds, device="cpu", precision=precision))
    shape = (20, *(size or predictor.input_size(720, 1280)), 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: predictor.predict(frames), len(frames)


def run_command(clip: Path, out: Path, *words: str) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [*COMMAND, str(clip), "-o", str(out), "--overwrite", "--quiet", "--device", "cpu", *words], check=True
    )
    return time.perf_counter() - begin


def command_over_model(clip: Path, frames: int, work: Path) -> dict[str, float]:
    """Past start-up: the command on the whole film minus the command on its first frames, over the model alone."""
    predictor = make_predictor("mini", ModelOptions(device="cpu"))
    small = np.stack(small_frames(clip, predictor.input_size(720, 1280))[:100])
    alone, whole = [], []
    for _ in range(3):  # in turn, so that a drifting machine touches both alike
        alone.append(median_seconds(lambda: predictor.predict(small), 1) / len(small))
        whole.append(run_command(clip, work / "out.mp4") / frames)
    ratio = statistics.median(w / a for w, a in zip(whole, alone, strict=True))
    return {"model_ms": 1000 * statistics.median(alone), "command_ms": 1000 * statistics.median(whole), "ratio": ratio}


def upsampling_over_model() -> dict[str, float]:
    predictor = make_predictor("mini", ModelOptions(device="cpu"))
    rng = np.random.default_rng(0)
    guide = cv2.GaussianBlur(rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8), (0, 0), 3)
    small = shrink(guide, predictor.input_size(1080, 1920))
    maps = Maps(depth=predictor.predict(small[None])[0].depth)
    up = median_seconds(lambda: upsample(maps, guide, "guided"), 9)
    model = median_seconds(lambda: predictor.predict(small[None]), 15)
    return {"upsample_1080p_ms": 1000 * up, "model_ms": 1000 * model, "ratio": up / model}


def teacher_works(folder: str) -> dict[str, Work]:
    """The teacher in torch at 518x924 (its default for 16:9), and through OpenVINO at 224x392 in the precision it picks."""
    import openvino as ov
    import torch
    from transformers import AutoModelForDepthEstimation

    network = AutoModelForDepthEstimation.from_pretrained(folder).float().eval()

    class Depth(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network(pixels).predicted_depth

    example = torch.randn(1, 3, 224, 392)
    converted = ov.convert_model(Depth(), example_input=example, input=[1, 3, 224, 392])
    request = ov.Core().compile_model(converted, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    picture, frames = torch.randn(1, 3, 518, 924), 10
    return {
        "teacher_torch": (torch.inference_mode()(lambda: network(picture)), 1),
        "teacher_openvino": (lambda: [request.infer([example.numpy()]) for _ in range(frames)], frames),
    }


def peak_memory(clip: Path, out: Path) -> float:
    """MiB, of the command on `clip`."""
    words = [*COMMAND, str(clip), "-o", str(out), "--overwrite", "--quiet", "--device", "cpu"]
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the command failed with {process.returncode}")
    return usage.ru_maxrss / 1024


def startup_over_python() -> dict[str, float]:
    def start(words: list[str]) -> float:
        return median_seconds(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL), 9)

    bare = start([sys.executable, "-c", "pass"])
    version, usage = (start(["lotus2-video", flag]) / bare for flag in ("--version", "--help"))
    return {"python_ms": 1000 * bare, "version_ratio": version, "help_ratio": usage}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", help="folder of the teacher, for transformers")
    parser.add_argument("--clip", type=Path, help="a film to make the 720p film from (default: a drifting pattern)")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rows", default="model,command,upsample,memory,startup")
    parser.add_argument("--batches", default="128", help="of the row gpu: frames at once, several with commas between")
    parser.add_argument(
        "--tiny", action="store_true", help="the row gpu at toy size on the CPU: does the benchmark work?"
    )
    options = parser.parse_args()
    rows, found = options.rows.split(","), {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "model" in rows:
            found["model"] = model_rates(options.teacher)
        if "gpu" in rows:
            from mini_gpu import gpu_rates

            batches = [int(batch) for batch in options.batches.split(",")]
            found["gpu"] = gpu_rates(options.teacher, batches, options.tiny)
        if "command" in rows:
            clip = film(work / "clip.mp4", options.clip, options.frames)
            found["command_over_model"] = command_over_model(clip, options.frames, work)
        if "upsample" in rows:
            found["upsample_over_model"] = upsampling_over_model()
        if "memory" in rows:
            few, many = (peak_memory(film(work / f"{n}.mp4", options.clip, n), work / "out.mp4") for n in (200, 2000))
            found["memory"] = {"mib_200": few, "mib_2000": many, "ratio": many / few}
        if "startup" in rows:
            found["startup"] = startup_over_python()
    for row, values in found.items():
        print(f"{row:22}" + "  ".join(f"{name} {value:.2f}" for name, value in values.items()))
    print(json.dumps({"benchmark": "throughput", "cores": len(os.sched_getaffinity(0))} | found))


if __name__ == "__main__":
    main()
