# SPDX-License-Identifier: BSD-3-Clause
"""Downloading the Galaxy10 data sets."""

import os
from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch

from skastro.datasets._download import fetch_file, find_data_home
from skastro.datasets.galaxies._galaxy10 import read_galaxy10
from skastro.utils import LazyArray


class _Remote(NamedTuple):
    name: str
    url: str
    sha256: str


_FILES = {
    "sdss": _Remote(
        "Galaxy10.h5",
        "https://zenodo.org/records/10844811/files/Galaxy10.h5",
        "969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
    ),
    "decals": _Remote(
        "Galaxy10_DECals.h5",
        "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5",
        "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
    ),
}


def fetch_galaxy10(
    variant: str = "sdss",
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    lazy: bool = False,
    url: str | None = None,
    n_retries: int = 3,
    verbose: int = 1,
) -> Bunch | tuple[np.ndarray | LazyArray, np.ndarray]:
    """Download a Galaxy10 data set, once, and read it.

    ========== ======== ============== ==================================
    `variant`  images   size           in memory
    ========== ======== ============== ==================================
    "sdss"     21 785   69 x 69 x 3    0.3 GB
    "decals"   17 736   256 x 256 x 3  3.5 GB, or on disk by ``lazy=True``
    ========== ======== ============== ==================================

    Both have ten classes, which are named as in the data sets' description. The file
    is compared with its checksum whenever it is read. Read more in the
    :ref:`User Guide <reading_images>`.

    Parameters
    ----------
    variant : {"sdss", "decals"}, default="sdss"
        Which data set.
    data_home : path-like, default=None
        Folder in which to keep the file. None means what the environment variable
        ``SKASTRO_HOME`` says, or else the folder ``skastro`` where the operating
        system keeps caches, such as ``~/.cache/skastro``.
    download_if_missing : bool, default=True
        If False, a file that is not there is an error.
    return_X_y : bool, default=False
        Return ``(images, target)`` alone.
    lazy : bool, default=False
        Leave the images on disk, from where estimators read them batch by batch.
    url : str, default=None
        Where to download from, such as a mirror. None means zenodo.org, records
        10844811 and 10845026.
    n_retries : int, default=3
        How often to go on by itself when the connection breaks off in the middle. What
        has arrived is kept in any case, also if the process is killed, and the next
        call goes on from there.
    verbose : int, default=1
        Whether to show a progress bar; 0 is silent.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch` or tuple (images, target)
        What :func:`read_galaxy10` returns.

    Raises
    ------
    FileNotFoundError
        If the file is absent and `download_if_missing` is False.
    ConnectionError
        If the server cannot be reached. The message says where to put a file that was
        downloaded by other means.
    OSError
        If the server refuses, or if the file's checksum is wrong. What was downloaded
        is then deleted; a file that was there before is left as it is.
    ValueError
        If `variant` is unknown.

    See Also
    --------
    read_galaxy10 : Read any file in this layout.

    Examples
    --------
    >>> from skastro.datasets import fetch_galaxy10
    >>> galaxies = fetch_galaxy10("sdss")  # doctest: +SKIP
    >>> galaxies.images.shape  # doctest: +SKIP
    (21785, 69, 69, 3)
    """
    if variant not in _FILES:
        raise ValueError(
            f"variant must be one of {', '.join(map(repr, _FILES))}; got {variant!r}."
        )
    remote = _FILES[variant]
    path = fetch_file(
        remote.url if url is None else url,
        find_data_home(data_home) / remote.name,
        sha256=remote.sha256,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        verbose=verbose,
    )
    galaxies = read_galaxy10(path, variant=variant, lazy=lazy, verbose=verbose)
    return (galaxies.images, galaxies.target) if return_X_y else galaxies
