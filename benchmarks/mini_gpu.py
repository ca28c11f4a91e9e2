"""The mini on a GPU beside its teacher, for `throughput.py --rows gpu`: frames on the card to maps on the card, in batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lotus2_video.models import mini, mini_net
from lotus2_video.models.mini_torch import TorchMini

KINDS = ("depth", "normal")
Rates = dict[str, float]
Work = Callable[[Tensor], object]  # uint8 [N,h,w,3] on the device


def gpu_rates(teacher: str | None, batches: list[int], tiny: bool = False) -> Rates:
    """Frames a second, the median of takes in turn, so that a card that slows down slows both.

    Of each batch the mini at its default size for 16:9, depth alone and with normals, op by op, as a CUDA graph (`graphed`)
    and `compiled`, in bfloat16; compiled also in float16, in which it is used. Of the first batch the teacher in bfloat16,
    compiled, at 224x392 (random weights where no folder is given). tiny: toy sizes on the CPU, where nothing is really
    compiled: does the benchmark work?
    """
    device = torch.device("cpu" if tiny else "cuda")
    size, small = ((48, 64), (28, 42)) if tiny else ((288, 512), (224, 392))
    precision = "fp32" if tiny else "bf16"  # which a CPU starts slowly
    weights = mini.load_weights(mini.weights_path())
    works: dict[str, tuple[Work, Tensor]] = {}
    for batch in [2] if tiny else batches:
        frames = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, device=device)
        network = TorchMini(weights, KINDS, precision, device)
        works[f"depth_{batch}"] = TorchMini(weights, KINDS[:1], precision, device), frames
        works[f"depth_normal_{batch}"] = network, frames
        works[f"depth_normal_{batch}_compiled"] = compiled(network, tiny), frames
        if not tiny:
            half = TorchMini(weights, KINDS, "fp16", device)
            works[f"depth_normal_{batch}_compiled_fp16"] = compiled(half, tiny), frames
            works[f"depth_normal_{batch}_graph"] = graphed(network, frames), frames
    seen = torch.randint(0, 256, (2 if tiny else batches[0], *small, 3), dtype=torch.uint8, device=device)
    works["teacher_compiled"] = compiled(_teacher(teacher, device), tiny), seen
    with torch.inference_mode():
        rates = _in_turn(works, *((0.0, 1) if tiny else (0.4, 5)))
    best = max(rate for name, rate in rates.items() if name.startswith("depth_normal") and not name.endswith("fp16"))
    return rates | {"best_depth_normal": best, "over_teacher": best / rates["teacher_compiled"]}


def compiled(work: Work, tiny: bool) -> Work:
    """All of it or an error; `tiny` only looks whether it can be taken whole."""
    return torch.compile(
        lambda frames: work(frames), fullgraph=True, dynamic=False, backend="eager" if tiny else "inductor"
    )


def graphed(work: Work, frames: Tensor) -> Work:
    """The same kernels for frames at this place, started all at once."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.inference_mode():
        with torch.cuda.stream(side):
            for _ in range(2):
                work(frames)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            maps = work(frames)

    def replay(_: Tensor) -> object:
        graph.replay()
        return maps

    return replay


def _teacher(folder: str | None, device: torch.device) -> Work:
    from transformers import AutoModelForDepthEstimation, DepthAnythingConfig

    if folder:
        network = AutoModelForDepthEstimation.from_pretrained(folder)
    else:
        network = AutoModelForDepthEstimation.from_config(DepthAnythingConfig(**_SMALL))
    network = network.to(device, torch.bfloat16, memory_format=torch.channels_last).eval()
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))

    def depth(frames: Tensor) -> Tensor:
        pixels = ((frames.permute(0, 3, 1, 2).float() / 255 - mean) / std).to(torch.bfloat16)
        return network(pixels).predicted_depth

    return depth


# Depth-Anything-V2-Small.
_SMALL = {
    "backbone_config": {
        "model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "image_size": 518,
        "patch_size": 14, "out_indices": [3, 6, 9, 12], "reshape_hidden_states": False, "apply_layernorm": True,
    },
    "reassemble_hidden_size": 384, "neck_hidden_sizes": [48, 96, 192, 384], "fusion_hidden_size": 64,
}  # fmt: skip


def _in_turn(works: dict[str, tuple[Work, Tensor]], least: float, rounds: int) -> Rates:
    """least: seconds a take lasts."""
    often = {}
    for name, (work, frames) in works.items():
        _seconds(work, frames, 3)  # compiles, and warms up
        often[name] = max(1, round(least / _seconds(work, frames, 1)))
    takes = [{name: often[name] * len(f) / _seconds(w, f, often[name]) for name, (w, f) in works.items()}
             for _ in range(rounds)]  # fmt: skip
    return {name: statistics.median(take[name] for take in takes) for name in works}


def _seconds(work: Work, frames: Tensor, times: int) -> float:
    wait = torch.cuda.synchronize if frames.is_cuda else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        work(frames)
    wait()
    return time.perf_counter() - begin
