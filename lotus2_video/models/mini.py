"""The mini: our own small network, inside the package; OpenVINO on a CPU, torch in bf16 on a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..config import Kind
from ..errors import UsageError, WeightsError
from ..frames import Maps
from . import ModelOptions, mini_net

SHORT = 288  # pixels of the short side given to the network, unless asked otherwise
FILE = "mini.safetensors"
ROWS = ".rows"  # suffix of the scales of a matrix kept as int8


def weights_path(folder: str | None = None) -> Path:
    """Where the weights are: in `folder`, or in the package."""
    return (Path(folder) if folder else Path(__file__).parent) / FILE


class MiniPredictor:
    """Depth of each frame by itself; see `mini_net` for the network. Raises WeightsError, UsageError."""

    kinds: tuple[Kind, ...] = ("depth",)

    def __init__(self, options: ModelOptions):
        path = weights_path(options.weights)
        weights = load_weights(path)
        device = _pick_device(options.device)
        precision = _pick_precision(options.precision, device)
        self._short = options.res or SHORT
        self.device = device
        self.fingerprint = f"mini-{_digest(path)}-{device.partition(':')[0]}-{precision}"
        make = _openvino_runner if device == "cpu" else _torch_runner
        self._run = make(weights, device, precision)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The short side at `res`, both sides the nearest multiple of the network's stride."""
        scale = self._short / min(height, width)
        stride = mini_net.STRIDE
        return max(stride, round(height * scale / stride) * stride), max(stride, round(width * scale / stride) * stride)

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        if sharpen:
            raise UsageError("the mini has no detail sharpener yet", "--sharpen", "use --sharpen none")
        return [Maps(depth=depth) for depth in self._run(rgb)]

    def close(self) -> None:
        pass


Runner = Callable[[np.ndarray], np.ndarray]  # uint8 [N,h,w,3] -> disparity float32 [N,h,w] in [0,1]


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights by name, float32. Raises WeightsError where the file is missing, broken, or not the mini's.

    Large matrices are kept as int8 with one scale a row, under `NAME.rows`: half the size of half precision.
    """
    found = _read(path)
    scales = {name: found.pop(name + ROWS) for name in [*found] if name + ROWS in found}
    for name, shape in mini_net.shapes(("depth",)).items():
        if name not in found:
            raise WeightsError(f"lacks {name}", path, "it is not a checkpoint of this version of the mini")
        if found[name].shape != shape:
            raise WeightsError(f"{name} has shape {found[name].shape}, not {shape}", path)
    if extra := sorted(found.keys() - mini_net.shapes(("depth",)).keys()):
        raise WeightsError(f"has {extra[0]}, which the mini does not know", path)
    weights = {name: weight.astype(np.float32) for name, weight in found.items()}
    for name, scale in scales.items():
        weights[name] *= scale.reshape(-1, *[1] * (weights[name].ndim - 1))
    return weights


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(
            "no weights of the mini here", path, "check --weights, or install the package again"
        ) from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a complete safetensors file ({error})", path) from error


def _pick_device(name: str) -> str:
    """ "cpu" or a CUDA device. "auto" takes a GPU where there is one and torch to run it; torch is loaded only then."""
    if name == "cpu" or (name == "auto" and not has_nvidia_driver()):
        return "cpu"
    try:
        from .torch_device import pick_device
    except ModuleNotFoundError as error:
        if name == "auto":
            return "cpu"
        raise UsageError(f"{name} needs torch", "--device", "pip install 'lotus2-video[gpu]', or use cpu") from error
    return str(pick_device(name))


def has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _pick_precision(precision: str, device: str) -> str:
    if precision == "fp8":
        raise UsageError("the mini runs in fp32 or bf16, not fp8", "--precision")
    return {"cpu": "fp32"}.get(device, "bf16") if precision == "auto" else precision


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _openvino_runner(weights: dict[str, np.ndarray], device: str, precision: str) -> Runner:
    """One picture at a time, so that a map cannot depend on its neighbours; compiled once for each picture size."""
    import openvino as ov

    from .mini_openvino import build

    core, ready = ov.Core(), {}
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision)}
    if threads := os.environ.get("OMP_NUM_THREADS"):  # which OpenVINO does not know; it changes no bit of a map
        settings["INFERENCE_NUM_THREADS"] = threads

    def run(rgb: np.ndarray) -> np.ndarray:
        size = rgb.shape[1:3]
        if size not in ready:
            ready[size] = core.compile_model(build(weights, size), "CPU", settings).create_infer_request()
        return np.stack([ready[size].infer([frame[None]])[0][0, 0].copy() for frame in rgb])

    return run


def _torch_runner(weights: dict[str, np.ndarray], device: str, precision: str) -> Runner:
    import torch

    from .mini_torch import core, place
    from .torch_device import upload

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    on_device = place({name: torch.from_numpy(weight) for name, weight in weights.items()}, torch.device(device), dtype)

    @torch.inference_mode()
    def run(rgb: np.ndarray) -> np.ndarray:
        picture = upload(rgb, torch.device(device)).permute(0, 3, 1, 2).float() / 255
        return core(on_device, picture, ("depth",))[0][:, 0].float().clamp(0, 1).cpu().numpy()

    return run
