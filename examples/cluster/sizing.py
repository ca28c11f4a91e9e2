"""How many cores a GPU needs, how much object store, and what a pile of clips costs: from measured rates, on paper.

    python examples/cluster/sizing.py --gpu-fps 120 --gpus 8 --gpu-price 2.50 --core-price 0.04

gpu-fps: frames a second of the model alone on one GPU, `X_alone_fps` of `benchmarks/scaling.py --rows busy` there. The prices
are an hour's, in your currency. The other defaults were measured for 720p with the mini, see README.md.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

WALK, FLOW = 0.028, 0.006


@dataclass(frozen=True)
class Rates:
    """What was measured. Times are CPU seconds a frame; sizes are those of the network's frames and maps.

    busy: share of a GPU's time in the model. walk: decoding, shrinking, fold, upsampling and encoding, all in the driver.
    flow: optical flow, on the workers without a GPU.
    """

    gpu_fps: float
    busy: float
    walk: float
    flow: float
    height: int
    width: int

    @property
    def frame_bytes(self) -> int:
        """Of a frame at most, with its depth, its flow and the flow's mask."""
        return self.height * self.width * (3 + 4 + 9)


def cores(rates: Rates, gpus: int) -> tuple[int, int]:
    """Of the driver's machine, and of the others together, that keep so many GPUs busy."""
    frames = rates.gpu_fps * rates.busy * gpus
    return math.ceil(frames * rates.walk), math.ceil(frames * rates.flow)


def store_bytes(rates: Rates, gpus: int, jobs: int, chunk: int, window: int) -> int:
    """The most that the object store of the driver's machine holds: the window of every video in flight, half as much again."""
    in_flight = window * gpus + 2
    return math.ceil(1.5 * jobs * in_flight * (chunk * rates.frame_bytes + 3 * rates.height * rates.width))


def hours(rates: Rates, gpus: int, frames: int) -> float:
    return frames / (rates.gpu_fps * rates.busy * gpus) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-fps", type=float, required=True)
    parser.add_argument("--busy", type=float, default=0.9)
    parser.add_argument("--walk", type=float, default=WALK)
    parser.add_argument("--flow", type=float, default=FLOW)
    parser.add_argument("--size", default="288x512", help="of the network's frames; lotus-2: the source's own")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=120, help="of a clip")
    parser.add_argument("--gpu-price", type=float, default=0.0)
    parser.add_argument("--core-price", type=float, default=0.0)
    given = parser.parse_args()
    height, width = (int(side) for side in given.size.split("x"))
    rates = Rates(given.gpu_fps, given.busy, given.walk, given.flow, height, width)
    here, there = cores(rates, given.gpus)
    took = hours(rates, given.gpus, given.clips * given.frames)
    store = store_bytes(rates, given.gpus, given.jobs, given.chunk, given.window)
    print(f"frames a second         {rates.gpu_fps * rates.busy * given.gpus:12,.1f}")
    print(f"cores, driver           {here:12,}")
    print(f"cores, for the flow     {there:12,}")
    print(f"object store, GB        {store / 1e9:12,.2f}")
    print(f"hours                   {took:12,.1f}")
    print(f"GPU hours               {took * given.gpus:12,.1f}")
    print(f"cost                    {took * (given.gpus * given.gpu_price + (here + there) * given.core_price):12,.0f}")


if __name__ == "__main__":
    main()
