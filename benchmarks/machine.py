"""The machine on which a benchmark runs, in a line."""

import contextlib
import importlib.metadata
import importlib.util
import platform
import subprocess
from pathlib import Path

from tfrnn.runtime import host

# What decides the speed of float32 products, by its name in /proc/cpuinfo.
INSTRUCTION_SETS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX", "asimd": "NEON", "sve": "SVE"}
PACKAGES = {"tensorflow": "TensorFlow", "keras": "Keras", "torch": "PyTorch"}


def describe(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the processor, the number of cores, the instruction sets and the versions, as far as they are known."""
    entries = [line.partition(":") for line in cpuinfo.read_text().splitlines()] if cpuinfo.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in reversed(entries)}  # those of the first processor
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    model = fields.get("model name") or _model_on_a_mac() or platform.processor() or platform.machine()
    sets = [name for flag, name in INSTRUCTION_SETS.items() if flag in flags]
    installed = [package for package in PACKAGES if importlib.util.find_spec(package)]
    versions = [f"{PACKAGES[package]} {importlib.metadata.version(package)}" for package in installed]
    return ", ".join(
        [model, f"{host.num_cores()} cores", *sets, f"Python {platform.python_version()}", *versions],
    )


def _model_on_a_mac() -> str:
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()
    return ""
