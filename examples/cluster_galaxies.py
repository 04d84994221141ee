# SPDX-License-Identifier: BSD-3-Clause
"""
Cluster galaxies: from a file of images to a latent space, its clusters and figures
===================================================================================

Trains a variational autoencoder on the images of an HDF5 file in the layout of Galaxy10
(``images``, and ``ans`` if there are classes to compare with), clusters its latent
space, and draws the results::

    python examples/cluster_galaxies.py --galaxies Galaxy10.h5
    python examples/cluster_galaxies.py --galaxies Galaxy10.h5 \
        --clustering hdbscan --map umap
    python examples/cluster_galaxies.py --galaxies small.h5 --recipe few-images

The training does not use classes, even if the file has them. Without ``--galaxies`` the
script uses the file ``galaxies_efigi.h5`` in the folder that the environment variable
``SKASTRO_DATA`` names or, without it, simulated galaxies.

The folder ``--out`` receives ``clusters.csv`` (cluster, outlier score and latent
numbers of each galaxy), ``reconstructions.png`` (of galaxies kept apart), ``map.png``
and ``thumbnails.png`` (the latent space, as points and as images), ``clusters.png``
(the galaxies nearest to the centers), ``neighbors.png`` (the galaxies most similar to
some), ``between.png`` (an interpolation between two), ``outliers.png``, ``history.png``
and ``pipeline.skastro``.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/cluster_galaxies.png'

import argparse
import os
import time
from pathlib import Path

import h5py
import matplotlib
import numpy as np
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from skastro import VAETransformer, make_pipeline, save_model
from skastro.datasets import make_galaxies, read_galaxy10
from skastro.inspection import (
    ClusterMosaicDisplay,
    HistoryDisplay,
    LatentSpaceDisplay,
    ReconstructionDisplay,
)
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CLUSTERINGS = ("kmeans", "mixture", "hdbscan")
N_DRAWN = 10
N_IN_ROW = 8


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--galaxies", metavar="FILE", help="HDF5 file of images")
    add("--simulate", type=int, metavar="N", help="simulate N galaxies instead")
    add("--test-size", type=float, default=0.1, help="part that is not learned from")
    add("--recipe", help="settings to start from: galaxy-vae or few-images")
    add("--latent-dim", type=int, default=35, help="latent dimensions")
    add("--epochs", type=int, help="passes over the images; 40, or the recipe's")
    add("--clustering", choices=CLUSTERINGS, default="kmeans", help="how to cluster")
    add("--n-clusters", type=int, default=8, help="of kmeans and mixture")
    add("--map", choices=("pca", "tsne", "umap"), default="tsne", help="of the figures")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of all that is drawn by chance")
    add("--out", type=Path, default=Path("cluster_galaxies_output"), help="folder")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> Bunch:
    """Read images, and classes if the file has them; or simulate images."""
    path = options.galaxies
    if path is None and options.simulate is None:
        path = Path(os.environ.get("SKASTRO_DATA", "")) / "galaxies_efigi.h5"
    if options.simulate is None and (options.galaxies or path.is_file()):
        print(f"Reading {path}")
        with h5py.File(path) as file:
            target = "ans" if "ans" in file else None
        galaxies = read_galaxy10(path, target=target)
        if galaxies.images.ndim == 4 and galaxies.images.shape[3] != 3:
            raise SystemExit("The figures are of gray images, or of those of 3 colors.")
        return Bunch(images=galaxies.images, target=galaxies.target)
    n_galaxies = options.simulate or 500
    print(f"Simulating {n_galaxies} galaxies")
    galaxies = make_galaxies(
        n_galaxies,
        size=48,
        bands=("g", "r", "z"),
        profile="both",
        sersic_index=(1, 2),
        magnitude=(17, 19),
        half_light_radius=(0.6, 2.0),
        random_state=options.seed,
    )
    images = np.stack([to_colors(image) for image in galaxies.images])
    return Bunch(images=images, target=np.array(galaxies.parameters["profile"]))


def to_colors(image: np.ndarray) -> np.ndarray:
    """Draw three bands as blue, green and red, faint light beside bright."""
    # Pixels are set to at least 1 electron: the stretch divides by the brightness.
    blue, green, red = np.maximum(np.moveaxis(image, -1, 0), 1)
    return make_lupton_rgb(red / 1.6, green, 1.6 * blue, stretch=400, Q=8)


def make_model(options: argparse.Namespace) -> Pipeline:
    """Make a pipeline of the autoencoder and the clustering."""
    settings = {"latent_dim": options.latent_dim, "device": options.device}
    settings |= {"random_state": options.seed}
    if options.recipe:
        if options.epochs is not None:
            settings["max_epochs"] = options.epochs
        vae = VAETransformer.from_recipe(options.recipe, **settings)
    else:
        settings["max_epochs"] = options.epochs or 40
        vae = VAETransformer(augment="symmetries", **settings)
    n_clusters, seed = options.n_clusters, options.seed
    if options.clustering == "kmeans":
        clustering = KMeans(n_clusters, n_init=10, random_state=seed)
    elif options.clustering == "mixture":
        clustering = GaussianMixture(
            n_clusters, covariance_type="diag", n_init=3, random_state=seed
        )
    else:
        clustering = HDBSCAN(min_cluster_size=10, min_samples=3, copy=True)
    return make_pipeline(vae, clustering)


def report(clusters: np.ndarray, target: np.ndarray | None) -> None:
    """Print the sizes of the clusters, and their agreement with classes."""
    known = [] if target is None else np.unique(target)
    print(f"{'cluster':>8}{'galaxies':>10}" + "".join(f"{name:>24}" for name in known))
    for cluster in np.unique(clusters):
        members = clusters == cluster
        shares = [f"{np.mean(target[members] == name):24.2f}" for name in known]
        print(f"{cluster:8}{members.sum():10}" + "".join(shares))
    if target is not None:
        shared = adjusted_mutual_info_score(target, clusters)
        print(f"Adjusted mutual information of clusters and classes: {shared:.3f}")


def draw_rows(
    images: np.ndarray,
    names: list[str],
    limits: tuple[float, float],
    path: Path,
    *,
    n_columns: int = N_IN_ROW,
) -> None:
    """Draw rows of images, with a name before each row."""
    n_rows, (low, high) = len(names), limits
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(1.2 * n_columns + 0.5, 1.22 * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for ax, image in zip(axes.flat, images, strict=True):
        shown = np.clip((image - low) / (high - low), 0, 1)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[:, 0], names, strict=True):
        ax.set_ylabel(name, fontsize="small")
    save_figure(figure, path)


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """Return the values of black and white."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.percentile(images, [0.5, 99.5])
    return low, high


def draw_latent_space(
    pipe: Pipeline, galaxies: Bunch, options: argparse.Namespace
) -> None:
    """Draw the map, with clusters and classes, and images of the clusters."""
    images, out = galaxies.images, options.out
    points = LatentSpaceDisplay.from_estimator(
        pipe, images, method=options.map, random_state=options.seed
    )
    save_figure(points.figure_, out / "map.png")
    # The same map again, without computing it anew.
    by_class = galaxies.target is not None
    thumbnails = LatentSpaceDisplay(
        points.embedding,
        labels=galaxies.target if by_class else points.labels,
        label_name="Class" if by_class else points.label_name,
        noise_label=points.noise_label,
        images=images,
        axis_names=points.axis_names,
        random_state=options.seed,
    ).plot()
    save_figure(thumbnails.figure_, out / "thumbnails.png")
    mosaic = ClusterMosaicDisplay.from_estimator(pipe, images)
    save_figure(mosaic.figure_, out / "clusters.png")


def draw_neighbors(images: np.ndarray, latent: np.ndarray, out: Path) -> None:
    """Draw some galaxies, each followed by its neighbors in the latent space."""
    chosen = np.linspace(0, len(images) - 1, 5).astype(int)
    search = NearestNeighbors(n_neighbors=N_IN_ROW).fit(latent)
    _, rows = search.kneighbors(latent[chosen])
    names = [f"galaxy {row}" for row in chosen]
    draw_rows(images[rows.ravel()], names, limits_of(images), out / "neighbors.png")


def draw_between(
    vae: VAETransformer, images: np.ndarray, latent: np.ndarray, out: Path
) -> None:
    """Draw an interpolation between two distant galaxies."""
    axis = np.linalg.svd(latent - latent.mean(axis=0), full_matrices=False)[2][0]
    order = np.argsort(latent @ axis)
    # Not the extremes, which are outliers.
    start, end = order[len(order) // 50], order[-len(order) // 50]
    points = np.linspace(latent[start], latent[end], N_IN_ROW)
    between = vae.inverse_transform(points)
    # The galaxies themselves are at the ends.
    shown = np.concatenate([images[[start]], between, images[[end]]])
    draw_rows(shown, [""], limits_of(images), out / "between.png", n_columns=len(shown))


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure atomically."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    galaxies = load(options)
    order = np.random.default_rng(options.seed).permutation(len(galaxies.images))
    n_apart = max(round(options.test_size * len(order)), 1)
    apart, learned = np.sort(order[:n_apart]), np.sort(order[n_apart:])
    known = Bunch(
        images=galaxies.images[learned],
        target=None if galaxies.target is None else galaxies.target[learned],
    )
    print(f"Training on {len(learned)} images of shape {known.images.shape[1:]}")
    start = time.perf_counter()
    pipe = make_model(options)
    clusters = pipe.fit_predict(known.images)
    vae = pipe[0]
    print(
        f"Trained in {time.perf_counter() - start:.0f} s; "
        f"{vae.n_active_dimensions_} of {options.latent_dim} dimensions are active"
    )
    report(clusters, known.target)
    latent = vae.transform(known.images)
    bound = vae.score_samples(known.images)
    table = Table({"row": learned, "cluster": clusters, "score": bound})
    for name, column in zip(vae.get_feature_names_out(), latent.T, strict=True):
        table[name] = column
    with atomic_write(options.out / "clusters.csv") as file:
        table.write(file, format="ascii.csv")

    drawn = galaxies.images[apart[:N_DRAWN]]
    reconstructions = ReconstructionDisplay.from_estimator(vae, drawn, residuals=True)
    save_figure(reconstructions.figure_, options.out / "reconstructions.png")
    history = HistoryDisplay.from_estimator(vae)
    save_figure(history.figure_, options.out / "history.png")
    draw_latent_space(pipe, known, options)
    draw_neighbors(known.images, latent, options.out)
    draw_between(vae, known.images, latent, options.out)
    outlying = known.images[np.argsort(bound)[:N_IN_ROW]]
    limits = limits_of(known.images)
    draw_rows(outlying, ["outliers"], limits, options.out / "outliers.png")
    save_model(pipe, options.out / "pipeline.skastro")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


if __name__ == "__main__":
    main()
