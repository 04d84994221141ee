# SPDX-License-Identifier: BSD-3-Clause
"""Counting the electrons of SEVI files in the pixels of images."""

from collections.abc import Iterator

import numpy as np
from astropy.table import Table
from sklearn.utils import Bunch
from tqdm import tqdm

from skastro.datasets._sevi_join import Join, Lookup, different_ids, parts
from skastro.datasets._sevi_shells import Shells, in_place, place_shells
from skastro.datasets._sevi_tables import SEVITable


def read_electrons(
    tables: dict[str, SEVITable],
    shells: Shells | None,
    *,
    size: int,
    extent: float,
    n_shells: int | None,
    return_electrons: bool,
    verbose: int,
) -> Bunch:
    """Count electrons, a part of the table at a time.

    Parameters
    ----------
    tables : dict of str to SEVITable
        ``DetectedElectrons``, and ``GeneratedElectrons`` where there is such a table.
    shells : Shells or None
        The table of shells.
    size : int
        Height and width of the images, in pixels.
    extent : float
        Half the side of the images.
    n_shells : int or None
        Shells of an image, where it is known.
    return_electrons : bool
        Whether to give the electrons themselves too.
    verbose : int
        Whether to show progress where reading takes more than two seconds.

    Returns
    -------
    found : Bunch
        ``images`` (n_images, size, size), float32, polarised along axis 1; ``image_id``
        (n_images,); ``shells``, as given, or what electrons tell of them, or None;
        ``place`` (n_images, most_shells), rows of the shells, and ``n_electrons``, of
        the same shape, each None where it is not known; ``electrons``, a Table, or
        None.

    Raises
    ------
    ValueError
        If electrons have no partner, or it is not clear to which image they belong.
    """
    # Loads PyTorch, which is not needed for images.
    from skastro.simulation.sevi import bin_electrons

    detected, generated = tables["DetectedElectrons"], tables.get("GeneratedElectrons")
    detected.require("x", "z")
    if not len(detected):
        raise ValueError(f"{detected.where} has no rows; expected one an electron.")
    owner = _find_owner(detected, generated, shells)
    join = None
    can_join = generated is not None and detected.has("electron_id")
    if owner == "generated" or (return_electrons and can_join):
        join = Join(generated, detected)
    if shells is None and owner != "image_id":
        shells = Shells(detected.where, _shell_ids(owner, detected, join))

    place = column_of = None
    if owner == "image_id":
        ids = image_id = different_ids(detected, "image_id")
        image_of = np.arange(len(image_id))
        if shells is not None:
            image_id, place = place_shells(shells, image_id, n_shells)
    else:
        ids = shells.id
        image_id, place = place_shells(shells, None, n_shells)
        image_of, column_of = _image_and_column(place)
    lookup = Lookup(ids, detected.where if shells is None else shells.where)

    def find_rows(rows: slice, partner: np.ndarray | None) -> np.ndarray:
        if owner is None:
            return np.zeros(rows.stop - rows.start, dtype=np.int64)
        if owner == "generated":
            return lookup.find(join.shell_id[partner], join.generated.where)
        return lookup.find(detected.read(owner, rows), detected.where)

    images = np.zeros((len(image_id), size, size), dtype=np.float32)
    counts = np.zeros(len(ids), dtype=np.int64)
    kept: list[dict[str, np.ndarray]] = []
    for rows in _with_progress(detected, verbose):
        x, z = detected.read("x", rows), detected.read("z", rows)
        partner = None if join is None else join.find(rows)
        row = find_rows(rows, partner)
        counts += np.bincount(row, minlength=len(counts))
        for image, inside in _groups(image_of[row]):
            images[image] += bin_electrons(x[inside], z[inside], size, extent)
        if return_electrons:
            part = {"image": image_of[row], "x": x, "z": z}
            if column_of is not None:
                part["shell"] = column_of[row]
            if detected.has("electron_id"):
                part["electron_id"] = detected.read("electron_id", rows)
            if partner is not None:
                part["generated_row"] = partner
            kept.append(part)
    n_electrons = None
    if owner != "image_id":
        n_electrons = in_place(counts.astype(np.float64), place)
    return Bunch(
        images=images,
        image_id=image_id,
        shells=shells,
        place=place,
        n_electrons=n_electrons,
        electrons=_electron_table(kept, generated) if return_electrons else None,
    )


def _find_owner(
    detected: SEVITable, generated: SEVITable | None, shells: Shells | None
) -> str | None:
    """Say where it stands to which image or shell electrons belong."""
    for column in ("image_id", "shell_id"):
        if detected.has(column):
            return column
    if generated is not None and generated.has("shell_id"):
        if detected.has("electron_id"):
            return "generated"
    if shells is None or len(shells.id) == 1:
        return None
    raise ValueError(
        f"{detected.where} does not tell of which of the {len(shells.id)} shells an "
        "electron is. Expected is a column ImageId or DistributionId, or ElectronId "
        "and a table GeneratedElectrons with the column DistributionId; it has the "
        f"columns {list(detected.names)}."
    )


def _shell_ids(owner: str | None, detected: SEVITable, join: Join | None) -> np.ndarray:
    """Name the shells that electrons tell of, without a table of shells."""
    if owner is None:
        return np.zeros(1, dtype=np.int64)
    if owner == "generated":
        return np.unique(join.shell_id)
    return different_ids(detected, owner)


def _image_and_column(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the image of each shell, and which of its shells it is."""
    image, column = np.nonzero(place >= 0)
    order = np.argsort(place[image, column])
    return image[order], column[order]


def _groups(image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each image that occurs, and the positions at which it does."""
    order = np.argsort(image, kind="stable")
    names, first = np.unique(image[order], return_index=True)
    yield from zip(names, np.split(order, first[1:]), strict=True)


def _with_progress(table: SEVITable, verbose: int) -> Iterator[slice]:
    with tqdm(
        total=len(table),
        desc="Reading",
        unit="electron",
        unit_scale=True,
        delay=2,
        disable=not verbose,
    ) as bar:
        for rows in parts(table):
            yield rows
            bar.update(rows.stop - rows.start)


def _electron_table(
    kept: list[dict[str, np.ndarray]], generated: SEVITable | None
) -> Table:
    table = Table()
    for name in kept[0]:
        table[name] = np.concatenate([part[name] for part in kept])
    if "generated_row" in table.colnames:
        for column, name in (("radius", "r"), ("cos_theta", "cos_theta")):
            if generated.has(column):
                table[name] = generated.read(column)[table["generated_row"]]
    return table
