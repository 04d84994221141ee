# SPDX-License-Identifier: BSD-3-Clause
"""What is installed, and what it runs on."""

import platform
from importlib.metadata import version

import torch

PACKAGES = ("skastro", "torch", "scikit-learn", "skorch", "numpy", "scipy", "astropy")


def describe_installation() -> str:
    """List versions, devices and threads, a line each."""
    lines = [f"{name} {version(name)}" for name in PACKAGES]
    lines.append(f"Python {platform.python_version()}, {platform.platform()}")
    devices = ["cpu"]
    devices += [
        f"cuda:{number} ({torch.cuda.get_device_name(number)})"
        for number in range(torch.cuda.device_count())
    ]
    devices += ["mps"] * torch.backends.mps.is_available()
    lines.append(f"devices: {', '.join(devices)}")
    lines.append(f"threads: {torch.get_num_threads()}")
    return "\n".join(lines)
