"""The optimizer, the average of the weights, and the loop that both legs share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Figures = dict[str, Tensor]  # what is reported of a step, scalars on the device
Step = Callable[[float], tuple[Tensor, Figures]]  # progress from 0 to 1 -> the loss and figures


@dataclass(frozen=True)
class Pace:
    """How long a leg runs: `steps` if given, else `minutes`. until: how far along the schedule, 0 to 1. report: steps.
    warm: steps until the full learning rate."""

    minutes: float
    steps: int | None = None
    until: float = 1.0
    report: int = 100
    warm: int = 200

    def done(self, step: int, seconds: float) -> float:
        if self.steps is not None:
            return step / max(1, self.steps)
        return seconds / (60 * self.minutes) if self.minutes > 0 else 1.0


@contextmanager
def _searching() -> Iterator[None]:
    """cuDNN looks for the fastest way, once a picture shape; elsewhere, where shapes do not come back, that is not worth it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = True, 4
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class Run:
    """Weights, their average, the optimizer and the count of steps; saved and loaded whole.

    Args:
        weights: float32; those with none of the prefixes of `rates` stay as they are.
        rates: name prefix -> peak learning rate; the longest prefix counts.
    """

    def __init__(self, weights: Mapping[str, Tensor], rates: Mapping[str, float], device: torch.device):
        self.weights, groups = {}, {}
        for name, weight in weights.items():
            found = max((p for p in rates if name.startswith(p)), key=len, default=None)
            # A copy, since training writes into it.
            self.weights[name] = weight.detach().to(device).clone().requires_grad_(found is not None)
            if found is not None:
                groups.setdefault(found, []).append(self.weights[name])
        self.learning = {k: v for k, v in self.weights.items() if v.requires_grad}
        self.average = {k: v.detach().clone() for k, v in self.weights.items()}
        self.steps, self.progress = 0, 0.0
        self.optimizer = torch.optim.AdamW(
            [{"params": params, "peak": rates[p]} for p, params in groups.items()],
            lr=0.0,
            weight_decay=0.02,
            betas=(0.9, 0.98),
            fused=True,
        )

    def step(self, value: Tensor, progress: float, warm: int) -> Tensor:
        """One step down the gradient of `value`; none where that is not finite. Returns the gradient's norm."""
        pace = min(1.0, (self.steps + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = pace * group["peak"]
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.learning.values()), 1.0)
        # As torch's GradScaler tells a fused optimizer to leave the weights alone, without waiting for the device.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.step()
        self.steps, self.progress = self.steps + 1, progress
        keep = min(0.999, 1 - 10 / (10 + self.steps))
        average = [self.average[name] for name in self.learning]
        now = [v.detach() for v in self.learning.values()]
        torch._foreach_lerp_(average, now, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
        return norm.detach()

    def fit(self, make: Step, pace: Pace, hooks: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
        """Steps until the time is used up; hooks are called every so many seconds and at the end."""
        begin, start, step, recent = time.monotonic(), self.progress, 0, []
        due = [begin + seconds for seconds, _ in hooks]
        while (done := pace.done(step, time.monotonic() - begin)) < 1:
            progress = start + (pace.until - start) * done
            with _searching():
                value, figures = make(progress)
                figures["norm"] = self.step(value, progress, pace.warm)
            recent.append(torch.stack([value.detach(), *figures.values()]))
            step += 1
            if step % pace.report == 0:
                means = torch.stack(recent).nanmean(0).tolist()
                told = ", ".join(f"{n} {v:.4f}" for n, v in zip(["loss", *figures], means, strict=True))
                seconds = time.monotonic() - begin
                print(f"{seconds:5.0f} s, step {self.steps}: {told}, {1000 * seconds / step:.0f} ms", flush=True)
                recent = []
            for i, (seconds, hook) in enumerate(hooks):
                if time.monotonic() >= due[i]:
                    hook()
                    due[i] = time.monotonic() + seconds
        for _, hook in hooks:
            hook()

    def save(self, path: Path) -> None:
        state = {f"weights.{k}": v.detach().contiguous() for k, v in self.weights.items()}
        state |= {f"average.{k}": v.contiguous() for k, v in self.average.items()}
        for name, weight in self.learning.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                state[f"{key}.{name}"] = value.contiguous()
        part = path.with_name(path.name + ".new")
        save_file(state, part, {"steps": str(self.steps), "progress": str(self.progress)})
        part.replace(path)

    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        self.steps, self.progress = int(about["steps"]), float(about["progress"])
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[f"weights.{name}"])
                self.average[name].copy_(state[f"average.{name}"])
                if f"exp_avg.{name}" in state:
                    kept = {k: state[f"{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
                    self.optimizer.state[weight] = {k: v.to(weight.device) for k, v in kept.items()}
