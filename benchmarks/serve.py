"""Load `srgan serve` with 100 clients on loopback: ``python benchmarks/serve.py`` (two minutes on two cores).

A Compact network of 32 features and 8 layers with random weights upscales JPEG images of 160x120 pixels four times. Each client sends its
next image when it has the answer, or after the seconds of `Retry-After` if it is refused. The service has its default limits. At
first one client alone measures the time without others.

The last lines are ``value NAME VALUE``: images per second, times of accepted requests in seconds (p50, p99), share of refusals, errors
other than 429, memory of the service and its processes in MB before the load and at most during it.
"""

import argparse
import asyncio
import io
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch
from PIL import Image

from data import photograph
from srgan.export import onnx
from srgan.models.registry import build_generator

HEIGHT, WIDTH = 120, 160
ALONE = 10  # images of the client that is alone


def main() -> None:
    """Run the measurement and print the values last."""
    parser = argparse.ArgumentParser(description="Load the service.")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--images", type=int, default=2, help="of each client")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        model = Path(folder) / "4x-benchmark-compact-fp32.onnx"
        onnx.export_onnx(model, build_generator("compact", scale=4, features=32, depth=8).eval(), {"sr.objective": "gan"})
        command = [sys.executable, "-c", "from srgan.commands.main import main; main()", "serve", "--model", str(model), "--port", "0"]
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert service.stderr
            address = next(found[1] for line in service.stderr if (found := re.match(r"listening on (\S+)", line)))
            asyncio.run(load(address, service, chosen.clients, chosen.images))
        finally:
            service.terminate()
            service.communicate()


async def load(address: str, service: subprocess.Popen, clients: int, images: int) -> None:
    """Measure one client, then many."""
    reading = asyncio.create_task(asyncio.to_thread(lambda: service.stderr and service.stderr.read()))  # else its pipe fills
    buffer = io.BytesIO()
    Image.fromarray(photograph(0, HEIGHT, WIDTH)).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()
    alone, _ = await client(address, content, ALONE)
    before, largest = memory(service.pid), 0.0
    start = time.perf_counter()
    asking = asyncio.gather(*(client(address, content, images) for _ in range(clients)))
    while not asking.done():
        largest = max(largest, memory(service.pid))
        await asyncio.sleep(0.2)
    seconds = time.perf_counter() - start
    taken = [one for times, _ in asking.result() for one in times]
    states: Counter[int] = sum((states for _, states in asking.result()), Counter())
    print(f"{clients} clients: {sum(states.values())} requests in {seconds:.1f} s, by status: {dict(states)}")
    print(f"value alone_p50_seconds {np.percentile(alone, 50):.3f}")
    print(f"value images_per_second {states[200] / seconds:.1f}")
    print(f"value p50_seconds {np.percentile(taken, 50):.3f}")
    print(f"value p99_seconds {np.percentile(taken, 99):.3f}")
    print(f"value refused_share {states[429] / sum(states.values()):.3f}")
    print(f"value errors {sum(number for status, number in states.items() if status not in (200, 429))}")
    print(f"value memory_before_mb {before:.0f}")
    print(f"value memory_peak_mb {largest:.0f}")
    service.terminate()
    await reading


async def client(address: str, content: bytes, images: int) -> tuple[list[float], Counter[int]]:
    """Send images one after the other. Return the times of the accepted requests, and the number of answers of each status."""
    times: list[float] = []
    states: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=address, timeout=120) as connection:
        while len(times) < images:
            start = time.perf_counter()
            answer = await connection.post("/upscale", content=content)
            states[answer.status_code] += 1
            if answer.status_code == 429:
                await asyncio.sleep(float(answer.headers["Retry-After"]))
            else:
                times.append(time.perf_counter() - start)
    return times, states


def memory(pid: int) -> float:
    """Return the proportional memory of a process and its children in MB, so that shared pages count once."""
    service = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in (service, *service.children(recursive=True))) / 1e6


if __name__ == "__main__":
    main()
