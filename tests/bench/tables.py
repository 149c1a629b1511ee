"""Time the reading of a long `--batch` table in each format, and measure the memory of its jobs.

    python -m tests.bench.tables [--rows 100000] [--folders]

Each row names a video, two masks and a size; the outputs are named as the videos. With --folders
an output folder of each exists already, as it does where a batch is resumed. Each format is read
in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vostool.segment.batch_table import read_batch
from vostool.segment.job import Job

SIZES = (240, 320, 480)


def write_tables(folder: Path, rows: int) -> list[Path]:
    """Write the table in each format, and return their paths."""
    cells = [
        {
            "video": f"clips/{number:07d}.mp4",
            "mask": f"masks/{number:07d}.png;40:masks/late.png",
            "size": SIZES[number % len(SIZES)],
        }
        for number in range(rows)
    ]
    paths = [folder / name for name in ("t.csv", "t.jsonl", "t.parquet")]
    lines = [",".join(map(str, row.values())) for row in cells]
    paths[0].write_text("\n".join(["video,mask,size", *lines]) + "\n")
    paths[1].write_text("".join(json.dumps(row) + "\n" for row in cells))
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        return paths[:-1]
    write_table(pyarrow.Table.from_pylist(cells), paths[2])
    return paths


def resident() -> int:
    """Return how many bytes of memory this process has at present, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(table: Path) -> None:
    """Read a table and print how long it takes, and by how much the process grows."""
    before = resident()
    started, worked = time.perf_counter(), time.process_time()
    jobs = read_batch(table, Job(Path(), (), table.parent / "all"))
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    grown = resident() - before
    sys.stdout.write(
        f"{table.name:10} {len(jobs)} jobs in {seconds:.2f} s ({cpu:.2f} s of a core), "
        f"{grown / 1e6:.0f} MB\n"
    )


def main() -> None:
    """Read the command line, write the tables, and have each measured."""
    parser = argparse.ArgumentParser(prog="tests.bench.tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folders", action="store_true")
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.table is not None:
        measure(given.table)
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rows if given.folders else 0):
            (Path(folder) / "all" / f"{number:07d}").mkdir(parents=True)
        for table in write_tables(Path(folder), given.rows):
            command = (sys.executable, "-m", "tests.bench.tables", "--table", str(table))
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
