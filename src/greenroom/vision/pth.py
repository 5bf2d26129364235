"""Turns a .pth file into safetensors, in a process of its own: `python -m greenroom.vision.pth IN OUT`.

The only place of the vision side that names torch, and only while weights are fetched. `weights_only=True` lets
torch read tensors and nothing else, so that a tampered file cannot run code.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(source: Path, target: Path) -> None:
    """Write every floating tensor of the file."""
    import torch
    from safetensors.torch import save_file

    state = torch.load(source, map_location="cpu", weights_only=True)
    floats = {
        name: value.float().contiguous()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    save_file(floats, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
