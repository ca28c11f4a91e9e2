"""lotus-2 at full FLUX.1-dev size with random weights: the published path and ours side by side, in one run on one card.

    python benchmarks/lotus2_gpu.py [--rows published,bf16,fp8,keyframes,tail,loading,streamed] [--batch 4] [--takes 5]
    python benchmarks/lotus2_gpu.py --tiny          a network of toy size on the CPU, in seconds: does the benchmark work?

Rows: the published path by stage, core only and with its ten steps, and how far it is from itself with its adapter merged, and
with one bit of its input changed;
ours in bf16 and in fp8, core only, with the peak of memory and how far its latent is from the published one; the core with
every 24th frame sharpened, in fp8; what the float32 tail of the decoder costs and how many levels it gives; loading from
files on disk (writes 25 GB to --scratch): seconds to the first frame and the peak on the road; fp8 with its blocks streamed
from host memory. Ours is the whole of `predict`, from frames in host memory to maps in host memory. Prints a table and, last,
one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_lotus2 import Published, RandomTensors, adapter_tensors, vae_config, vae_tensors

from lotus2_video.config import Kind
from lotus2_video.models.flux import FluxConfig, linear_shapes, tensor_shapes
from lotus2_video.models.flux_weights import DTYPES, Weights
from lotus2_video.models.lora import Adapter
from lotus2_video.models.lotus2 import Lotus2Predictor
from lotus2_video.models.lotus2_lcm import Lcm, lcm_shapes
from lotus2_video.models.lotus2_net import Checkpoint, Lotus2Net
from lotus2_video.models.lotus2_plan import GIB, Plan
from lotus2_video.models.lotus2_prompt import T5_TOKENS, Prompt
from lotus2_video.models.lotus2_stages import Schedule
from lotus2_video.models.lotus2_vae import Vae
from lotus2_video.models.weights import STEM, Part, adapter_name

ROWS = ("published", "bf16", "fp8", "keyframes", "tail", "loading", "streamed")
DEFAULT_ROWS = "published,bf16,fp8,keyframes,tail"
TINY = FluxConfig(64, 2, 3, 16, 2, 24, 20, True, (4, 6, 6))
PARTS: tuple[Part, ...] = ("core_predictor", "detail_sharpener")
KIND: Kind = "depth"
KEY_EVERY = 24


@dataclass
class Bench:
    """The sizes of a run, and what it found. results: milliseconds a frame, GiB, seconds or ratios, as the names say."""

    tiny: bool
    device: torch.device
    batch: int
    takes: int
    scratch: Path | None
    results: dict[str, float] = field(default_factory=dict)
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def config(self) -> FluxConfig:
        return TINY if self.tiny else FluxConfig()

    @property
    def frames(self) -> np.ndarray:
        """uint8 [8,576,1024,3] (tiny: [4,48,64,3]): smooth shapes that drift."""
        count, height, width = (4, 48, 64) if self.tiny else (8, 576, 1024)
        y, x = np.mgrid[0:height, 0:width] / height
        waves = [
            np.stack([np.sin(6 * x + 0.3 * i), np.cos(5 * y - 0.2 * i), np.sin(4 * (x + y))], -1) for i in range(count)
        ]
        return ((np.stack(waves) + 1) * 127.5).astype(np.uint8)

    def milliseconds(self, work: Callable[[], object], frames: int = 1) -> float:
        """The median of several takes after a first one that builds kernels and warms caches."""
        work()
        times = []
        for _ in range(self.takes):
            self.synchronise()
            begin = time.perf_counter()
            work()
            self.synchronise()
            times.append(time.perf_counter() - begin)
        return statistics.median(times) * 1e3 / frames

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> dict[str, float]:
        """GiB at the most since `forget_peak`: of tensors, and taken from the card."""
        if self.device.type != "cuda":
            return {"allocated": 0.0, "reserved": 0.0}
        stats = torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)
        return {"allocated": stats[0] / GIB, "reserved": stats[1] / GIB}


# -- random weights -----------------------------------------------------------------------------------------------------


def _prompt(config: FluxConfig) -> Prompt:
    random = torch.Generator().manual_seed(1)
    t5 = torch.randn(T5_TOKENS, config.joint_attention_dim, generator=random) * 0.2
    return Prompt(t5, torch.randn(config.pooled_projection_dim, generator=random))


def _lcm(config: FluxConfig, device: torch.device) -> Lcm:
    shapes = RandomTensors(lcm_shapes(config.in_channels // 4), torch.float32, gain=0.1)
    return Lcm({key: shapes.read(key, device) for key in shapes.shapes})


def _rank(config: FluxConfig) -> int:
    return 128 if config.width > 1000 else 4


def _checkpoint(bench: Bench) -> Checkpoint:
    config = bench.config
    linears = linear_shapes(config)
    adapters: dict[tuple[Part, Kind], Adapter] = {
        (part, KIND): Adapter.of(adapter_tensors(config, _rank(config), part), part, linears) for part in PARTS
    }
    base = RandomTensors(tensor_shapes(config))
    return Checkpoint(config, base, adapters, {KIND: _lcm(config, bench.device)}, Schedule(), _prompt(config))


def _ours(bench: Bench, weights: Weights, streamed: bool = False) -> Lotus2Predictor:
    plan = Plan(weights, bench.batch, streamed)
    config = vae_config(bench.tiny)
    with torch.no_grad():
        vae = Vae(config, vae_tensors(config), "random", bench.device, DTYPES[weights])
        net = Lotus2Net(_checkpoint(bench), vae, bench.device, plan)
    return Lotus2Predictor(net, (KIND,), weights)


# -- rows ---------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def published(bench: Bench) -> None:
    config = bench.config
    adapters = {part: adapter_tensors(config, _rank(config), part) for part in PARTS}
    base, vae, dtype = RandomTensors(tensor_shapes(config)), vae_tensors(vae_config(bench.tiny)), torch.bfloat16
    bench.forget_peak()
    path = Published(
        config, base, adapters, vae, _prompt(config), _lcm(config, bench.device), bench.device, dtype, bench.tiny
    )
    frame = torch.from_numpy(bench.frames[:1])

    def image() -> torch.Tensor:
        return frame.to(bench.device).permute(0, 3, 1, 2).float() / 127.5 - 1

    latent = path.encode(image(), sample=False)
    core = path.core(latent)
    bench.latents["published"] = core.float().cpu().numpy()
    bench.images["published"] = path.decode(core).float().mean(dim=1).cpu().numpy()
    found = bench.results
    found["published_encode_ms"] = bench.milliseconds(lambda: path.encode(image()))
    found["published_step_ms"] = bench.milliseconds(lambda: path.core(latent))
    found["published_decode_ms"] = bench.milliseconds(lambda: path.decode(core))
    found["published_core_ms"] = bench.milliseconds(lambda: path.decode(path.core(path.encode(image()))).float().cpu())
    brief = replace(bench, takes=max(1, bench.takes // 2))
    found["published_sharpened_ms"] = brief.milliseconds(
        lambda: path.decode(path.sharpen(path.core(path.encode(image())))).float().cpu()
    )
    found["published_peak_gib"] = bench.peak()["reserved"]
    nudged = torch.where(
        latent == latent.max(), latent * (1 + 2**-7), latent
    )  # a bit: so much any other order of sums does
    found["published_nudged_latent_error"] = _far(path.core(nudged).float().cpu().numpy(), bench.latents["published"])
    path.merge("core_predictor")
    found["published_merged_latent_error"] = _far(path.core(latent).float().cpu().numpy(), bench.latents["published"])


@torch.no_grad()
def core_only(bench: Bench, weights: Weights) -> Lotus2Predictor:
    """Ours by stage and as a whole; returns the predictor, warm."""
    bench.forget_peak()
    begin = time.perf_counter()
    ours = _ours(bench, weights)
    bench.results[f"{weights}_making_s"] = time.perf_counter() - begin
    bench.results[f"{weights}_making_peak_gib"] = bench.peak()["reserved"]
    begin = time.perf_counter()
    frames = bench.frames
    ours.predict(frames)
    bench.results[f"{weights}_first_batch_s"] = time.perf_counter() - begin
    bench.forget_peak()
    found, net = bench.results, ours._ready
    found[f"{weights}_core_ms"] = bench.milliseconds(lambda: ours.predict(frames), len(frames))
    for name, size in bench.peak().items():
        found[f"{weights}_peak_{name}_gib"] = size
    latent = ours._encode(frames[: bench.batch])
    core = net.core(KIND, latent)
    found[f"{weights}_encode_ms"] = bench.milliseconds(lambda: ours._encode(frames[:1]))
    found[f"{weights}_step_ms"] = bench.milliseconds(lambda: net.core(KIND, latent), len(latent))
    found[f"{weights}_decode_ms"] = bench.milliseconds(lambda: net.vae.decode(core[:1]))
    bench.latents[weights] = core[:1].cpu().numpy()
    bench.images[weights] = net.vae.decode(core[:1]).mean(dim=1).cpu().numpy()
    return ours


def keyframes(bench: Bench, ours: Lotus2Predictor) -> None:
    """The walk's own cost: every frame through the core, and every 24th through the core and the ten steps."""
    frames = bench.frames
    bench.forget_peak()
    one = bench.milliseconds(lambda: ours.predict(frames[:1], sharpen=True))
    bench.results["fp8_sharpened_frame_ms"] = one
    bench.results["fp8_keyframes_ms"] = bench.results["fp8_core_ms"] + one / KEY_EVERY
    bench.results["fp8_sharpening_peak_gib"] = bench.peak()["reserved"]


@torch.no_grad()
def tail(bench: Bench) -> None:
    """The decoder with its last layers in float32, as ours, and with all of it in bf16, as published."""
    config = vae_config(bench.tiny)
    latent = torch.randn(1, 16, *(side // 8 for side in bench.frames.shape[1:3]), device=bench.device)
    for name in ("float32", "bf16"):
        vae = Vae(config, vae_tensors(config), "random", bench.device, torch.bfloat16)
        if name == "bf16":
            vae.last = torch.bfloat16
            vae._vae.decoder.conv_out.bfloat16()  # before anything is recorded
        bench.results[f"decode_tail_{name}_ms"] = bench.milliseconds(lambda vae=vae: vae.decode(latent))
        levels = vae.decode(latent).to(vae.last).mean(dim=1).unique().numel()
        bench.results[f"decode_tail_{name}_levels"] = levels


def streamed(bench: Bench) -> None:
    bench.forget_peak()
    ours = _ours(bench, "fp8", streamed=True)
    frames = bench.frames
    bench.results["streamed_core_ms"] = bench.milliseconds(lambda: ours.predict(frames), len(frames))
    bench.results["streamed_peak_gib"] = bench.peak()["reserved"]
    ours.close()


# -- loading from files -------------------------------------------------------------------------------------------------


def loading(bench: Bench) -> None:
    """Writes a checkpoint of full size, then loads it as a user does, in a process of its own with cold caches."""
    from safetensors.torch import save_file

    root = Path(tempfile.mkdtemp(dir=bench.scratch))
    try:
        _write_checkpoint(bench, root, save_file)
        for weights in ("bf16", "fp8"):
            command = [
                sys.executable,
                __file__,
                "--load",
                str(root),
                "--precision",
                weights,
                "--batch",
                str(bench.batch),
            ]
            command += ["--tiny"] if bench.tiny else []
            environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(root / weights), "LOTUS2_VIDEO_CACHE": str(root)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            bench.results |= json.loads(done.stdout.strip().splitlines()[-1])
    finally:
        shutil.rmtree(root)


def _write_checkpoint(bench: Bench, root: Path, save_file: Callable[..., None]) -> None:
    config, cpu = bench.config, torch.device("cpu")
    base = RandomTensors(tensor_shapes(config))
    for folder in ("base/transformer", "base/vae", "base/scheduler", "lotus-2"):
        (root / folder).mkdir(parents=True)
    keys, weight_map = list(base.shapes), {}
    for shard in range(3):
        name = f"{STEM}-0000{shard + 1}-of-00003.safetensors"
        tensors = {key: base.read(key, bench.device).to(cpu) for key in keys[shard::3]}
        save_file(tensors, root / "base/transformer" / name)
        weight_map |= dict.fromkeys(tensors, name)
    _json(root / "base/transformer" / f"{STEM}.safetensors.index.json", {"weight_map": weight_map})
    _json(root / "base/transformer/config.json", asdict(config))
    _json(root / "base/vae/config.json", vae_config(bench.tiny))
    _json(root / "base/scheduler/scheduler_config.json", {})
    vae = vae_tensors(vae_config(bench.tiny))
    save_file({key: vae.read(key, cpu) for key in vae.shapes}, root / "base/vae" / f"{STEM}.safetensors")
    for part in PARTS:
        adapter = adapter_tensors(config, _rank(config), part)
        tensors = {key: adapter.read(key, bench.device).float().to(cpu) for key in adapter.shapes}
        save_file(tensors, root / "lotus-2" / adapter_name(part, KIND))
    lcm = RandomTensors(lcm_shapes(config.in_channels // 4), torch.float32, gain=0.1)
    save_file({key: lcm.read(key, cpu) for key in lcm.shapes}, root / "lotus-2" / adapter_name("lcm", KIND))


def _json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values))


def _load(bench: Bench, root: Path, weights: str, begin: float) -> None:
    """In a process of its own: from start to first frame, and the peak on the way."""
    from lotus2_video.models import ModelOptions, make_predictor
    from lotus2_video.models.lotus2_prompt import prompt_path, save_prompt
    from lotus2_video.models.weights import find

    save_prompt(_prompt(bench.config), prompt_path(find(str(root))))  # the text encoders are not part of this
    options = ModelOptions((KIND,), str(root), None, bench.device.type, weights)
    made = make_predictor("lotus-2", options)
    loaded, peak = time.perf_counter() - begin, bench.peak()
    made.predict(bench.frames[: bench.batch])
    found = {"loading_s": loaded, "first_frame_s": time.perf_counter() - begin, "loading_peak_gib": peak["reserved"]}
    bench.forget_peak()
    made.predict(bench.frames)
    found["running_peak_gib"] = bench.peak()["reserved"]
    print(json.dumps({f"{weights}_{name}": value for name, value in found.items()}))


# -- the table ----------------------------------------------------------------------------------------------------------


def _far(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative error."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def distances(bench: Bench) -> None:
    """How far our latents and maps are from the published path's in bf16."""
    for name in set(bench.latents) - {"published"} if "published" in bench.latents else ():
        bench.results[f"{name}_latent_error"] = _far(bench.latents[name], bench.latents["published"])
        change = np.abs(bench.images[name] - bench.images["published"])
        bench.results[f"{name}_map_change_mean"], bench.results[f"{name}_map_change_max"] = (
            float(change.mean()),
            float(change.max()),
        )


def ratios(found: dict[str, float]) -> list[tuple[str, float, float, float]]:
    """The rows with a target: name, found, must, stretch; larger is better for the speeds, smaller for the rest."""
    rows = []
    for name, ours, theirs, must, stretch in (
        ("core only, bf16: times faster than published", "bf16_core_ms", "published_core_ms", 2.4, 2.9),
        ("core only, fp8: times faster than published", "fp8_core_ms", "published_core_ms", 3.2, 4.2),
        ("core + every 24th sharpened, fp8: times faster", "fp8_keyframes_ms", "published_sharpened_ms", 18, 24),
    ):
        if ours in found and theirs in found:
            rows.append((name, found[theirs] / found[ours], must, stretch))
    for name, key, must, stretch in (
        ("peak of the card, core only, bf16, GiB", "bf16_peak_reserved_gib", 20, 17),
        ("peak of the card, core only, fp8, GiB", "fp8_peak_reserved_gib", 12, 10),
        ("latent, bf16 against published bf16", "bf16_latent_error", 1e-2, 1e-2),
        ("seconds to the first frame, bf16", "bf16_first_frame_s", 60, 25),
        ("seconds to the first frame, fp8", "fp8_first_frame_s", 60, 25),
    ):
        if key in found:
            rows.append((name, found[key], must, stretch))
    for weights in ("bf16", "fp8"):
        if f"{weights}_loading_peak_gib" in found:
            most = found[f"{weights}_running_peak_gib"] + 2
            rows.append((f"peak on the road, {weights}, GiB", found[f"{weights}_loading_peak_gib"], most, most))
    return rows


def show(bench: Bench) -> None:
    for name, value in bench.results.items():
        print(f"{name:36} {value:12.4g}")
    print(f"\n{'':50} {'found':>9} {'must':>9} {'stretch':>9}")
    for name, value, must, stretch in ratios(bench.results):
        print(f"{name:50} {value:9.3g} {must:9.3g} {stretch:9.3g}")
    device = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "CPU"
    print(json.dumps({"device": device, "torch": torch.__version__, "batch": bench.batch, **bench.results}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=DEFAULT_ROWS, help=f"of {','.join(ROWS)}")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--takes", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where the checkpoint of the row `loading` is written")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="bf16", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    begin = time.perf_counter()
    args = _arguments()
    device = torch.device("cpu" if args.tiny else "cuda")
    if args.tiny:
        torch.set_num_threads(1)  # tensors this small only wait for each other's threads
    bench = Bench(args.tiny, device, args.batch, 1 if args.tiny else args.takes, args.scratch)
    if args.load:
        _load(bench, args.load, args.precision, begin)
        return
    rows = args.rows.split(",")
    unknown = set(rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if "published" in rows:
        published(bench)
    if "bf16" in rows:
        core_only(bench, "bf16").close()
    if "fp8" in rows or "keyframes" in rows:
        ours = core_only(bench, "fp8")
        if "keyframes" in rows:
            keyframes(bench, ours)
        ours.close()
        del ours
    for name, row in (("tail", tail), ("streamed", streamed), ("loading", loading)):
        if name in rows:
            bench.forget_peak()
            row(bench)
    distances(bench)
    show(bench)


if __name__ == "__main__":
    main()
