"""The machine: device and precision, versions that fit, disk, memory, files, ports."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from stream_app.doctor.findings import Finding, error, ok, warning
from stream_app.doctor.port import port_findings
from stream_app.settings import Settings

__all__ = ["machine_findings", "memory_bytes", "pin_findings"]

GIB = 1 << 30

#: Rows of a million users are about 1.2 GB, kernels and torch 0.6 GB.
MEMORY_BYTES = 2 * GIB
DISK_BYTES = GIB

#: Connections to brokers, files of the model, logs, besides those of the web server.
OWN_FILES = 256


def machine_findings(settings: Settings) -> list[Finding]:
    """Everything that needs no broker."""
    return [
        *device_findings(settings), *pin_findings(), *disk_findings(), *memory_findings(), *file_findings(settings),
        *port_findings(settings),
    ]  # fmt: skip


def device_findings(settings: Settings) -> list[Finding]:
    """Where the models run, and with which numbers."""
    import torch

    from tsrec_models.base import ModelError
    from tsrec_models.devices import resolve_device

    try:
        device = resolve_device(settings.device)
    except (ModelError, ValueError, RuntimeError) as one:
        return [error("device", f"TSREC_DEVICE={settings.device}: {one}", "use cpu or auto, or install a torch for it")]
    half = str(device.half or device.product_dtype).removeprefix("torch.")
    precision = f"{half} where it serves" if half != "float32" else "float32"
    text = f"models run on {device.torch_device}, {precision}; torch {torch.__version__}, {os.cpu_count()} cores"
    if settings.device == "auto" and not torch.cuda.is_available() and _has_gpu():
        return [warning(
            "device", f"{text}, though there is an NVIDIA device",
            "install a torch build with CUDA, and give the container the device",
        )]  # fmt: skip
    return [ok("device", text)]


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists()


def pin_findings(distribution: str = "tsrec") -> list[Finding]:
    """Versions that are pinned (`==`) against those installed."""
    try:
        wanted = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return [warning("pins", f"{distribution} is not installed as a package", "pip install . (or -e .)")]
    wrong = []
    for line in wanted:
        match = re.match(r"([\w.-]+)==([\w.]+)\s*(;.*extra.*)?$", line)
        if match is None or match[3]:
            continue
        try:
            there = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match[1]} is missing, {match[2]} is needed")
            continue
        if there.partition("+")[0] != match[2]:
            wrong.append(f"{match[1]} is {there}, {match[2]} is needed")
    if wrong:
        return [error("pins", "; ".join(wrong), "pip install -c constraints.txt . in an environment of its own")]
    return [ok("pins", "every pinned package has its version")]


def disk_findings() -> list[Finding]:
    """Room where logs and temporary files go, and whether compiled kernels can be kept."""
    findings = []
    for path in sorted({Path(tempfile.gettempdir()), Path.cwd()}):
        free = shutil.disk_usage(path).free
        if free < DISK_BYTES:
            findings.append(warning(
                "disk", f"{path} has {free / GIB:.1f} GiB left", "make room: logs and downloads of models fail first",
                free_bytes=free,
            ))  # fmt: skip
    package = Path(__file__).resolve().parents[1]
    cache = os.environ.get("NUMBA_CACHE_DIR")
    if not os.access(cache or package, os.W_OK) and not any(package.rglob("*.nbi")):
        findings.append(warning(
            "kernels", f"{cache or package} cannot be written: kernels are compiled anew at each start, for a minute",
            "set NUMBA_CACHE_DIR to a folder that can, and that stays",
        ))  # fmt: skip
    return findings or [ok("disk", f"{shutil.disk_usage(Path.cwd()).free / GIB:.0f} GiB left")]


def memory_bytes() -> tuple[int, int] | None:
    """(available, limit) for this process: the machine's, or the container's where that is less; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        return None
    available, total = (int(lines[name].split()[0]) << 10 for name in ("MemAvailable", "MemTotal"))
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return available, total
    if limit.isdigit():
        return min(available, int(limit) - used), min(total, int(limit))
    return available, total


def memory_findings() -> list[Finding]:
    """Whether a worker's state has room."""
    found = memory_bytes()
    if found is None:
        return [ok("memory", "this system does not tell its memory")]
    available, limit = found
    text = f"{available / GIB:.1f} GiB of {limit / GIB:.1f} GiB are free"
    if available < MEMORY_BYTES:
        return [warning(
            "memory", text, "a worker with a million users needs about 2 GiB: fewer processes, or a larger machine",
            available_bytes=available,
        )]  # fmt: skip
    return [ok("memory", text, available_bytes=available)]


def file_findings(settings: Settings) -> list[Finding]:
    """Open files that are allowed, against the connections that may come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.web_connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        return [warning(
            "files", f"{soft} open files are allowed, and {needed} may be needed",
            f"ulimit -n {needed} (the hard limit is {hard}), or lower TSREC_WEB_CONNECTIONS", limit=soft,
        )]  # fmt: skip
    return [ok("files", f"{soft if soft != resource.RLIM_INFINITY else 'any number of'} open files are allowed")]
