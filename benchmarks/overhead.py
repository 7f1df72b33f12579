"""Time of `dvc repro` when there is nothing to do; run it after `make repro`.

python -m benchmarks.overhead
"""

import statistics
import subprocess
import time

from benchmarks import machine

ROUNDS = 5


def main() -> None:
    """Run it a few times and print the median."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        done = subprocess.run(["dvc", "repro"], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - begin)
        if "Running stage" in done.stdout:
            raise SystemExit("something was out of date and ran: run `make repro` first")
    print(f"dvc repro with nothing to do: {statistics.median(seconds):.2f} s (wanted: below 2); {machine.describe()}")


if __name__ == "__main__":
    main()
