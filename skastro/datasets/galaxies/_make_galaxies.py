# SPDX-License-Identifier: BSD-3-Clause
"""Simulated images of galaxies, and files that hold them."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from astropy.table import Table
from joblib import Parallel, delayed
from sklearn.utils import Bunch, check_random_state

from skastro.datasets._hdf5 import find_dataset, open_hdf5, reading_hdf5
from skastro.simulation import (
    GalaxyCamera,
    GalaxyPopulation,
    RealGalaxyPopulation,
    simulate_galaxies,
)
from skastro.utils import (
    LazyArray,
    atomic_hdf5,
    check_count,
    check_memory,
    check_number,
    check_option,
    check_range,
    check_real,
    check_space,
    progress_bar,
)

# AB magnitudes of a square arcsecond of a dark sky, about those of Ivezić et al. 2019.
_SKY_BRIGHTNESS = {"u": 23.0, "g": 22.3, "r": 21.2, "i": 20.5, "z": 19.6, "y": 18.6}

# In pixels. Transforms of larger galaxies with a high index do not fit into memory.
_LARGEST_RADIUS = 100

_DESCRIPTION = """\
Simulated images of galaxies
----------------------------
Number of galaxies: {n_galaxies} ({galaxies})
Images: {size} x {size} pixels of {pixel_scale:g} arcsec, bands {bands}
Unit: electrons, the sky subtracted
AB magnitude of one electron: {zero_points}
Standard deviation of the background: {background} electrons
Noise: {noise}
Point spread function: {psf}, FWHM {fwhm[0]:g} to {fwhm[1]:g} arcsec
Mean number of neighbors: {n_neighbors:g}

Made by skastro.datasets.make_galaxies with GalSim; its documentation describes the
simulation.
"""
_SPLIT_NAMES = {2: ("train", "test"), 3: ("train", "valid", "test")}
# Galaxies in one task: enough to make the overhead of a process negligible.
_TASK = 32

_UNITS = {
    "half_light_radius": "arcsec",
    "position_angle": "deg",
    "rotation": "deg",
    "psf_fwhm": "arcsec",
    "x": "pix",
    "y": "pix",
    "stamp_size": "pix",
}
# Minimum number of bytes to read at once: few enough for random rows.
_CHUNK_BYTES = 2**20
_ADVICE = "Files of simulated galaxies are made by make_galaxies(out=...)."


def make_galaxies(
    n_galaxies: int = 1000,
    *,
    size: int = 128,
    stamp_size: int | tuple[int, int] | None = None,
    bands: str | Sequence[str] = "r",
    profile: str = "sersic",
    magnitude: float | tuple[float, float] = (18.0, 22.0),
    half_light_radius: float | tuple[float, float] = (0.4, 2.5),
    sersic_index: float | tuple[float, float] = (0.5, 6.0),
    ellipticity: float | tuple[float, float] = (0.0, 0.7),
    bulge_fraction: float | tuple[float, float] = (0.0, 1.0),
    n_neighbors: float = 0.0,
    real_catalog: str | os.PathLike | None = None,
    pixel_scale: float = 0.2,
    psf: str = "moffat",
    psf_fwhm: float | tuple[float, float] = (0.6, 1.0),
    noise: str | None = "poisson",
    zero_point: float | Mapping[str, float] = 32.0,
    sky_brightness: float | Mapping[str, float] | None = None,
    read_noise: float = 9.0,
    splits: Sequence[float] | None = None,
    out: str | os.PathLike | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: int = 1,
) -> Bunch:
    """Simulate images of galaxies as a survey camera takes them, with GalSim.

    Galaxies have a Sérsic profile, or a bulge (de Vaucouleurs) and an exponential disk,
    or they are images by the Hubble Space Telescope. They are within half a pixel of
    the center, are convolved with a point spread function and the pixel, and have the
    noise of photons, sky and electronics. The parameters of each galaxy are known.
    GalSim [1]_ draws the images; install it with ``pip install "skastro[sim]"``. Read
    more in the :ref:`User Guide <simulated_galaxies>`.

    From a range, values are drawn uniformly (radii: in the logarithm), independently
    for each parameter. A number stands for the same value in all galaxies. Quantities
    of angles are converted.

    Parameters
    ----------
    n_galaxies : int, default=1000
        Number of galaxies.
    size : int, default=128
        Height and width of the images, in pixels; at least 8.
    stamp_size : int or tuple of (int, int), default=None
        Height and width of the stamp on which a galaxy is imaged, or their range.
        Stamps smaller than `size` are surrounded by zeros, larger ones cropped. None
        means `size`.
    bands : str or sequence of str, default="r"
        Filters of LSST, "u", "g", "r", "i", "z" or "y". A single name gives images
        without a channel axis, a sequence one channel per band.
    profile : {"sersic", "bulge+disk", "both"}, default="sersic"
        Profile of the galaxies; "both" means half of each kind.
    magnitude : float or tuple of (float, float), default=(18, 22)
        Range of the total AB magnitude in the first band, including the light outside
        the image.
    half_light_radius : float or tuple of (float, float), default=(0.4, 2.5)
        Range of the radius with half of the light in the first band before blurring, in
        arcsec: the geometric mean of the semi-axes of the ellipse. At most 100 pixels,
        and less if an index above 4 and a high ellipticity would need Fourier
        transforms of more than 16384 x 16384 pixels.
    sersic_index : float or tuple of (float, float), default=(0.5, 6)
        Range of the Sérsic index, within 0.3 to 6.2. Drawn values are rounded to 0.1,
        because GalSim prepares each index separately.
    ellipticity : float or tuple of (float, float), default=(0, 0.7)
        Range of 1 - b/a, with the semi-axes a and b; at most 0.95. It is the same for
        bulge and disk.
    bulge_fraction : float or tuple of (float, float), default=(0, 1)
        Range of the bulge's fraction of the light in the first band. The half-light
        radius of the bulge is 0.1 to 0.6 of that of the disk.
    n_neighbors : float, default=0
        Mean number of neighbors. They are drawn from the same ranges and distributed
        uniformly between the galaxy's half-light radius and the corners of its stamp.
    real_catalog : str or path-like, default=None
        Catalog of images of real galaxies in the format of
        ``galsim.RealGalaxyCatalog``, such as that of COSMOS which
        ``galsim_download_cosmos`` fetches. Its galaxies in the range of magnitudes are
        then used, with their own magnitudes and sizes, randomly rotated; `profile` and
        the ranges of radius, index, ellipticity and bulge have no effect. Their images
        contain the noise of the original images. Needs one band, and a PSF wider than
        that of the telescope.
    pixel_scale : float, default=0.2
        Side of a pixel, in arcsec.
    psf : {"moffat", "kolmogorov", "gaussian"}, default="moffat"
        Point spread function: Moffat's with β = 3.5, that of a turbulent atmosphere, or
        a Gaussian; round, the same in all bands.
    psf_fwhm : float or tuple of (float, float), default=(0.6, 1)
        Range of its full width at half maximum, in arcsec; at least one pixel.
    noise : {"poisson", "gaussian"} or None, default="poisson"
        "poisson": counts of galaxy and sky have a Poisson distribution, and Gaussian
        `read_noise` is added. "gaussian": only the noise of the sky and the
        electronics, with the same variance. None: no noise; everything else is the same
        for the same `random_state`.
    zero_point : float or mapping of str to float, default=32
        AB magnitude that gives one electron in the whole exposure, for all bands or by
        the name of the band. 32 is typical of 30 s with an 8 m telescope.
    sky_brightness : float or mapping of str to float, default=None
        AB magnitude of a square arcsecond of the sky. None means dark skies: u 23.0,
        g 22.3, r 21.2, i 20.5, z 19.6, y 18.6, about those of [2]_. Infinity means no
        sky.
    read_noise : float, default=9
        Standard deviation of the noise of the electronics, in electrons per pixel.
    splits : sequence of two or three floats, default=None
        Fractions for training and test, or for training, validation and test, such as
        ``(0.8, 0.1, 0.1)``. They become a column ``split`` of "train", "valid" and
        "test". Galaxies are in random order, so each part is a range of rows.
    out : str or path-like, default=None
        HDF5 file to write the images into while they are made, so that they need not
        fit into memory. An existing file is replaced when the new one is complete. See
        :func:`read_galaxies` for its content.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers, independent of `n_jobs`; pass an int for the same
        images every time.
    n_jobs : int, default=None
        Number of processes. None means 1 unless in a
        :obj:`joblib.parallel_config` context, -1 all processors.
    verbose : int, default=1
        1 shows a progress bar, 0 is silent.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : ndarray or LazyArray of shape (n, size, size) or (n, size, size, \
n_bands), float32
            Electrons, with the mean of the sky subtracted. A
            :class:`~skastro.datasets.LazyArray`, which reads rows when they are
            indexed, if `out` is given.
        parameters : :class:`~astropy.table.Table` of n rows
            ``magnitude``; ``half_light_radius`` (arcsec); ``sersic_index`` (NaN for
            bulge and disk); ``bulge_fraction`` and ``bulge_radius_ratio``, of
            the radii of bulge and disk (NaN for Sérsic's profile); ``ellipticity``,
            1 - b/a; ``position_angle`` of the long axis, in degrees from the direction
            of growing columns (+x) to that of growing rows (+y), 0 to 180; ``g1`` and
            ``g2``, the ellipticity (a - b)/(a + b) times cosine and sine of twice the
            position angle; ``profile``, "sersic" or "bulge+disk"; with several bands
            ``magnitude_g`` and so on, and the ``redshift`` of the colors; ``psf_fwhm``
            (arcsec); ``x`` and ``y``, the center in pixels from that of the first
            column and row; ``stamp_size`` (pixels); ``n_neighbors``; ``snr`` in the
            first band, with optimal weights; ``split`` if given. Real galaxies have
            ``catalog_index`` and ``rotation`` (degrees) instead of shapes.
        bands : tuple of str
            The bands, in the order of the channels.
        zero_points : ndarray of shape (n_bands,)
            AB magnitudes of one electron.
        background_std : ndarray of shape (n_bands,)
            Standard deviation of an empty pixel, in electrons; 0 without noise.
        pixel_scale : float
            Side of a pixel, in arcsec.
        filename : str or None
            The file, if `out` is given.
        DESCR : str
            Description of the data set.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.
    FileNotFoundError
        If the catalog, or the folder of `out`, does not exist.

    See Also
    --------
    read_galaxies : Open a file that was written with `out`.
    make_spectra : Simulated spectra.

    References
    ----------
    .. [1] Rowe, B. T. P. et al. 2015, Astronomy and Computing 10, 121,
       doi:10.1016/j.ascom.2015.02.002.
    .. [2] Ivezić, Ž. et al. 2019, ApJ 873, 111, doi:10.3847/1538-4357/ab042c.

    Examples
    --------
    >>> from skastro.datasets import make_galaxies
    >>> galaxies = make_galaxies(
    ...     4, size=32, sersic_index=(0.5, 2), random_state=0, verbose=0
    ... )
    >>> galaxies.images.shape
    (4, 32, 32)
    >>> galaxies.parameters["magnitude"].round(2).tolist()
    [20.77, 19.33, 20.98, 20.61]
    """
    n_galaxies = check_count(n_galaxies, "n_galaxies", 1)
    size = check_count(size, "size", 8)
    stamps: tuple[float, float] = (size, size)
    if stamp_size is not None:
        stamps = check_range(stamp_size, "stamp_size", 8, np.inf, integer=True)
    names = _check_bands(bands)
    magnitude = check_range(magnitude, "magnitude")
    least = np.nextafter(0, 1)
    pixel_scale = check_number(pixel_scale, "pixel_scale", least, unit="arcsec")
    read_noise = check_number(read_noise, "read_noise", 0)
    n_neighbors = check_number(n_neighbors, "n_neighbors", 0)
    fwhm = check_range(psf_fwhm, "psf_fwhm", pixel_scale, unit="arcsec")
    camera = GalaxyCamera(
        size=size,
        pixel_scale=pixel_scale,
        psf=check_option(psf, "psf", GalaxyCamera.PSFS),
        noise=check_option(noise, "noise", GalaxyCamera.NOISES),
        zero_points=_check_per_band(zero_point, "zero_point", names),
        sky_brightness=_check_per_band(
            _SKY_BRIGHTNESS if sky_brightness is None else sky_brightness,
            "sky_brightness",
            names,
        ),
        read_noise=read_noise,
    )
    longest = _LARGEST_RADIUS * pixel_scale
    modeled = {
        "profile": check_option(profile, "profile", GalaxyPopulation.PROFILES),
        "half_light_radius": check_range(
            half_light_radius, "half_light_radius", least, longest, unit="arcsec"
        ),
        "sersic_index": check_range(sersic_index, "sersic_index", 0.3, 6.2),
        "ellipticity": check_range(ellipticity, "ellipticity", 0, 0.95),
        "bulge_fraction": check_range(bulge_fraction, "bulge_fraction", 0, 1),
    }
    split = _check_splits(splits, n_galaxies)
    if real_catalog is None:
        models = GalaxyPopulation(bands=names, magnitude=magnitude, **modeled)
        _check_extent(models, camera, fwhm[0])
        population: GalaxyPopulation | RealGalaxyPopulation = models
    else:
        if len(names) > 1:
            raise ValueError(
                "real_catalog has images in one band only, but bands are "
                f"{list(names)}; name one."
            )
        population = RealGalaxyPopulation(real_catalog, magnitude)

    seed = check_random_state(random_state).randint(2**31 - 1)
    rng = np.random.default_rng(seed)
    drawn = population.draw(n_galaxies, rng)
    drawn["psf_fwhm"] = rng.uniform(*fwhm, n_galaxies)
    drawn["stamp_size"] = rng.integers(*stamps, n_galaxies, endpoint=True)
    drawn["offset_x"], drawn["offset_y"] = rng.uniform(-0.5, 0.5, (2, n_galaxies))
    about = Bunch(
        bands=names,
        zero_points=np.array(camera.zero_points),
        background_std=camera.background_std * (noise is not None),
        pixel_scale=pixel_scale,
    )
    about.DESCR = _DESCRIPTION.format(
        n_galaxies=n_galaxies,
        galaxies=profile if real_catalog is None else "real galaxies",
        size=size,
        pixel_scale=pixel_scale,
        bands=", ".join(names),
        zero_points=", ".join(f"{value:g}" for value in about.zero_points),
        background=", ".join(f"{value:.4g}" for value in about.background_std),
        noise=noise or "none",
        psf=psf,
        fwhm=fwhm,
        n_neighbors=n_neighbors,
    )
    shape: tuple[int, ...] = (n_galaxies, size, size)
    if not isinstance(bands, str):
        shape += (len(names),)
    batches = _simulate_all(drawn, n_jobs, n_neighbors, population, camera, seed)

    def fill(images: Any) -> Table:
        """Make the images, and return the table of parameters."""
        return _fill_images(images, batches, drawn, size, split, verbose)

    if out is not None:
        _write_galaxies(out, shape, fill, about)
        return read_galaxies(out)
    images = np.empty(shape, dtype=np.float32)
    table = fill(images)
    return Bunch(images=images, parameters=table, filename=None, **about)


def read_galaxies(path: str | os.PathLike) -> Bunch:
    """Open a file of simulated galaxies that :func:`make_galaxies` has written.

    The file holds the data set ``images``, float32, with the attributes ``bands``,
    ``zero_points``, ``background_std`` and ``pixel_scale``, and the table
    ``parameters``, which ``astropy.table.Table.read(path, "parameters")`` reads too.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch`
        The result of :func:`make_galaxies`; ``images`` is a
        :class:`~skastro.datasets.LazyArray`, and ``images[:]`` reads all of it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is not an HDF5 file, or damaged.
    ValueError
        If it is an HDF5 file with other content.

    See Also
    --------
    make_galaxies : Makes such files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skastro.datasets import make_galaxies, read_galaxies
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "galaxies.h5"
    ...     _ = make_galaxies(3, size=16, sersic_index=1, out=path, verbose=0)
    ...     galaxies = read_galaxies(path)
    ...     galaxies.images[:2].shape, len(galaxies.parameters)
    ((2, 16, 16), 3)
    """
    with reading_hdf5(path) as hdf5:
        images = find_dataset(hdf5, "images", _ADVICE)
        check_memory(find_dataset(hdf5, "parameters", _ADVICE).nbytes, path)
        missing = {"bands", "zero_points", "background_std", "pixel_scale"}
        missing -= set(images.attrs)
        if missing:
            raise ValueError(
                f"{path}: its images lack the attributes {sorted(missing)}. {_ADVICE}"
            )
        galaxies = Bunch(
            images=None,
            parameters=Table.read(hdf5, path="parameters", character_as_bytes=False),
            bands=tuple(map(str, images.attrs["bands"])),
            zero_points=np.asarray(images.attrs["zero_points"]),
            background_std=np.asarray(images.attrs["background_std"]),
            pixel_scale=float(images.attrs["pixel_scale"]),
            filename=os.fspath(path),
            DESCR=str(hdf5.attrs.get("DESCR", "")),
        )
    # A separate handle, which closes when the array is deleted.
    galaxies.images = LazyArray(open_hdf5(path)["images"])
    return galaxies


def _check_bands(bands: str | Sequence[str]) -> tuple[str, ...]:
    """Check the names of one or several bands."""
    one = isinstance(bands, str) or not isinstance(bands, Iterable)
    names: tuple[Any, ...] = (bands,) if one else tuple(bands)
    unknown = [name for name in names if name not in GalaxyPopulation.BANDS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            "bands must be one or several different ones of "
            f"{list(GalaxyPopulation.BANDS)}; got {bands!r}."
        )
    return names


def _check_per_band(
    value: float | Mapping[str, float], name: str, bands: tuple[str, ...]
) -> tuple[float, ...]:
    """Check a magnitude for all bands, or one for each by its name."""
    if isinstance(value, Mapping):
        missing = [band for band in bands if band not in value]
        if missing:
            raise ValueError(
                f"{name} has no value for {missing}; it has {sorted(value)}."
            )
        values = tuple(value[band] for band in bands)
    else:
        values = (value,) * len(bands)
    for number in values:
        check_real(number, name)
        if (
            np.isnan(number)
            or number == -np.inf
            or (name == "zero_point" and number == np.inf)
        ):
            raise ValueError(f"{name} must be a magnitude; got {number!r}.")
    return tuple(float(number) for number in values)


def _check_extent(
    population: GalaxyPopulation, camera: GalaxyCamera, fwhm: float
) -> None:
    """Refuse ranges whose largest galaxies would not fit into memory."""
    length = max(
        camera.transform_length(light, fwhm)
        for light in population.most_extended(camera.options)
    )
    if length > camera.LONGEST_TRANSFORM:
        raise ValueError(
            "half_light_radius, sersic_index and ellipticity (or bulge_fraction) are "
            "too large together for the pixel scale and the point spread function: "
            f"GalSim would compute with {length} x {length} pixels, more than "
            f"{camera.LONGEST_TRANSFORM} x {camera.LONGEST_TRANSFORM}. Lower the upper "
            "limit of one of them."
        )


def _check_splits(splits: Sequence[float] | None, n_galaxies: int) -> np.ndarray | None:
    """Check the fractions of a split, and return the name of the part of each row."""
    if splits is None:
        return None
    parts = np.asarray(splits)
    if parts.shape not in ((2,), (3,)) or parts.dtype.kind not in "iuf":
        raise ValueError(
            "splits must be two or three numbers, such as (0.8, 0.1, 0.1); got "
            f"{splits!r}."
        )
    if not (parts > 0).all() or not np.isclose(parts.sum(), 1):
        raise ValueError(
            f"splits must be positive and have the sum 1; got {splits!r}, with the sum "
            f"{parts.sum():g}."
        )
    ends = np.round(np.cumsum(parts) * n_galaxies).astype(int)
    counts = np.diff(ends, prepend=0)
    if not counts.all():
        raise ValueError(
            f"splits {splits!r} of {n_galaxies} galaxies leave a part empty; make more."
        )
    return np.repeat(_SPLIT_NAMES[parts.size], counts)


def _simulate_all(
    drawn: dict[str, np.ndarray], n_jobs: int | None, *common: Any
) -> Iterator[tuple]:
    """Make the images of all galaxies, batch by batch and in order."""
    n_galaxies = len(drawn["stamp_size"])
    starts = range(0, n_galaxies, _TASK)
    tasks = (
        delayed(_simulate_some)(
            {name: values[start : start + _TASK] for name, values in drawn.items()},
            start,
            *common,
        )
        for start in starts
    )
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    yield from zip(starts, results, strict=True)


def _simulate_some(
    galaxies: dict[str, np.ndarray],
    first: int,
    n_neighbors: float,
    population: GalaxyPopulation | RealGalaxyPopulation,
    camera: GalaxyCamera,
    seed: int,
) -> dict[str, np.ndarray]:
    return simulate_galaxies(
        galaxies,
        population=population,
        camera=camera,
        seed=seed,
        first=first,
        n_neighbors=n_neighbors,
    )


def _fill_images(
    images: Any,
    batches: Iterator[tuple],
    drawn: dict[str, np.ndarray],
    size: int,
    split: np.ndarray | None,
    verbose: int,
) -> Table:
    """Write the images into the array, and collect the parameters in a table."""
    n_galaxies = len(images)
    snr = np.empty(n_galaxies)
    n_neighbors = np.empty(n_galaxies, dtype=np.int64)
    with progress_bar(
        total=n_galaxies,
        desc="Simulating galaxies",
        unit=" galaxies",
        disable=not verbose,
    ) as bar:
        for start, batch in batches:
            rows = slice(start, start + len(batch["snr"]))
            images[rows] = batch["images"].reshape(-1, *images.shape[1:])
            snr[rows] = batch["snr"]
            n_neighbors[rows] = batch["n_neighbors"]
            bar.update(len(batch["snr"]))

    hidden = ("flux", "flux_old", "flux_young", "offset_x", "offset_y")
    table = Table(
        {name: values for name, values in drawn.items() if name not in hidden}
    )
    # If the number of padding pixels is odd, there is one more after than before.
    side = np.minimum(drawn["stamp_size"], size)
    center = (size - side) // 2 + (side - 1) / 2
    table["x"] = center + drawn["offset_x"]
    table["y"] = center + drawn["offset_y"]
    table["n_neighbors"] = n_neighbors
    table["snr"] = snr
    if split is not None:
        table["split"] = split
    for name in set(table.colnames) & set(_UNITS):
        table[name].unit = _UNITS[name]
    return table


def _write_galaxies(
    path: str | os.PathLike,
    shape: tuple[int, ...],
    fill: Callable[[h5py.Dataset], Table],
    about: Bunch,
) -> None:
    """Write a file while `fill` makes its images and returns their table."""
    rows = max(1, min(shape[0], _CHUNK_BYTES // (4 * math.prod(shape[1:]))))
    with atomic_hdf5(path) as hdf5:
        check_space(path, 4 * math.prod(shape))
        images = hdf5.create_dataset(
            "images", shape, dtype="<f4", chunks=(rows, *shape[1:])
        )
        images.attrs["bands"] = list(about.bands)
        images.attrs["zero_points"] = about.zero_points
        images.attrs["background_std"] = about.background_std
        images.attrs["pixel_scale"] = about.pixel_scale
        images.attrs["unit"] = "electron"
        hdf5.attrs["DESCR"] = about.DESCR
        table = fill(images)
        table.write(hdf5, path="parameters", serialize_meta=True)
