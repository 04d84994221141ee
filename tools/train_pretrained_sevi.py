# SPDX-License-Identifier: BSD-3-Clause
"""Train the pretrained weights of SEVIRegressor, measure them and write their card.

    python tools/train_pretrained_sevi.py sevi-1shell

writes ``sevi-1shell.safetensors`` and ``sevi-1shell.md`` to
``skastro/sevi/pretrained``.
``--card-only`` measures the weights that lie there, and writes the card anew.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import skorch
import torch
from pretrained_card import write_card
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from tqdm import tqdm

import skastro
from skastro import SEVIRegressor
from skastro.base._pretrained import Pretrained
from skastro.networks import PolarNet
from skastro.sevi import SEVISimulator

N_SHELLS = {"sevi-1shell": 1, "sevi-2shell": 2}
DEFAULT_N_IMAGES = {"sevi-1shell": 20_000, "sevi-2shell": 30_000}
# Parts of the training images by their size. The rings of the network are pixels wide
# at 256, so that it has to see what the pixels of other sizes make of them.
SIZES = {256: 0.8, 300: 0.1, 512: 0.1}
N_ELECTRONS = (3e2, 3e6)
BACKGROUND = (0.0, 0.3)
# The parameters of the estimator that the weights depend on.
PARAMETERS = {
    "module": "polar",
    "n_betas": 12,
    "scale_target": True,
    "normalization": "auto",
}
_AT_ONCE = 32


class ProfileNet(PolarNet):
    """The same network, on profiles that were computed once for many epochs."""

    def profiles(self, x: torch.Tensor) -> torch.Tensor:
        """Take them as they are."""
        return x[:, 0]


def simulate_profiles(n_shells: int, n_images: int, seed: int) -> Dataset:
    """Simulate images of all sizes, and keep their profiles and coefficients."""
    generator = torch.Generator().manual_seed(seed)
    profiles, targets = [], []
    with tqdm(total=n_images, unit="image", desc="simulate") as progress:
        for size, part in SIZES.items():
            simulator = SEVISimulator(
                n_shells=n_shells,
                size=size,
                n_electrons=N_ELECTRONS,
                background=BACKGROUND,
            )
            network = PolarNet((size, size), n_outputs=1)
            n_left = round(n_images * part)
            while n_left:
                n = min(_AT_ONCE, n_left)
                images, beta = simulator(n, generator)
                profiles.append(network.profiles(images[:, None]))
                targets.append(beta)
                n_left -= n
                progress.update(n)
    return Dataset(torch.cat(profiles).numpy(), torch.cat(targets).numpy())


def train(name: str, options: argparse.Namespace) -> Pretrained:
    """Train a network, and gather what belongs to it."""
    started = time.process_time()
    n_shells = N_SHELLS[name]
    n_images = options.n_images or DEFAULT_N_IMAGES[name]
    pool = simulate_profiles(n_shells, n_images, options.seed)
    fresh = simulate_profiles(n_shells, options.n_valid, options.seed + 1)
    simulated = time.process_time()
    settings: dict[str, Any] = {
        "lr": options.lr,
        "batch_size": options.batch_size,
        "max_epochs": options.max_epochs,
        "random_state": options.seed,
    }
    reg = SEVIRegressor(
        ProfileNet,
        module__input_size=(256, 256),
        normalization="counts",
        device="cpu",
        train_split=predefined_split(fresh),
        **settings,
    ).fit(pool, None)
    losses = reg.history[:, "valid_loss"]
    learned = {
        "target_mean": torch.as_tensor(reg.target_mean_),
        "target_scale": torch.as_tensor(reg.target_scale_),
        "residual_std": torch.as_tensor(reg.residual_std_),
        **{
            f"prior.{part}": getattr(reg.prior_, part)
            for part in ("lower", "upper", "mean", "sigma")
        },
    }
    training = {
        "n_images": n_images,
        "n_valid": options.n_valid,
        "sizes": {str(size): part for size, part in SIZES.items()},
        "n_electrons": N_ELECTRONS,
        "background": BACKGROUND,
        "seeds": {"training": options.seed, "validation": options.seed + 1},
        **settings,
        "n_weights": sum(weight.numel() for weight in reg.module_.parameters()),
        "train_loss": reg.history[-1, "train_loss"],
        "valid_loss": min(losses),
        "best_epoch": int(np.argmin(losses)) + 1,
        "simulation_cpu_s": round(simulated - started),
        "training_cpu_s": round(time.process_time() - simulated),
        "versions": {
            "skastro": skastro.__version__,
            "torch": torch.__version__,
            "skorch": skorch.__version__,
        },
    }
    return Pretrained(
        reg.module_.state_dict(),
        learned,
        {
            "parameters": PARAMETERS,
            "target_shape": reg.target_shape_,
            "ranges": {"radius": reg.radius, "radius_width": reg.radius_width},
            # As many rings as the network has, of at most a pixel of width.
            "least_size": 2 * reg.module_.n_rings - 1,
            "training": training,
        },
    )


def main() -> None:
    """Train, save, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=N_SHELLS)
    folder = Path(skastro.__file__).parent / "sevi" / "pretrained"
    parser.add_argument("--output", type=Path, default=folder, metavar="FOLDER")
    parser.add_argument("--n-images", type=int, help="images to train on")
    parser.add_argument("--n-valid", type=int, default=2000)
    parser.add_argument("--max-epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-test", type=int, default=100, help="images of each row")
    parser.add_argument("--n-refined", type=int, default=100, help="of these images")
    parser.add_argument("--card-only", action="store_true", help="train nothing")
    options = parser.parse_args()
    path = options.output / f"{options.name}.safetensors"
    if not options.card_only:
        train(options.name, options).save(path)
    write_card(path, options.n_test, min(options.n_refined, options.n_test))


if __name__ == "__main__":
    main()
