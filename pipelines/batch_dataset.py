"""Maps for a data set: what `lotus2-video batch` does, in a few lines to be edited.

    python pipelines/batch_dataset.py clips/ more.csv 's3://bucket/clips/*.mp4' -o maps --model mini

A second run does only what is missing; `maps/manifest.jsonl` says what became of each video.
"""

from __future__ import annotations

import argparse
import sys

from lotus2_video import BatchConfig, BatchListener, Lotus2VideoError, RunConfig, run_batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="videos, folders, globs, lists (.txt, .csv, .jsonl, .parquet), URLs")
    parser.add_argument("-o", "--output", required=True, help="the folder of the maps and of manifest.jsonl")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--jobs", type=int, default=2, help="videos in flight")
    parser.add_argument("--shard", help="I/N: take the I-th of N shares, for N machines on one folder")
    options = parser.parse_args()

    config = RunConfig(
        model=options.model, maps=("depth",), format="npz"
    )  # float32 depth, pts and time base in one file
    how = BatchConfig(jobs=options.jobs, shard=options.shard)
    shown = BatchListener(ended=lambda record: print(record.status, record.input, record.error or record.output))
    try:
        outcome = run_batch(options.inputs, options.output, config, how=how, listener=shown)
        print(outcome)
        outcome.check()
    except Lotus2VideoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
