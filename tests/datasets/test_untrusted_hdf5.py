# SPDX-License-Identifier: BSD-3-Clause
"""HDF5 files that refer to other files, or take more memory than there is."""

import h5py
import numpy as np
import pytest

from skastro.datasets import read_galaxies, read_galaxy10
from skastro.sevi import read_sevi

SHAPE = (4, 6, 6)
PIXELS = np.arange(np.prod(SHAPE), dtype="u1").reshape(SHAPE)


def external_storage(file, folder):
    secret = folder / "secret"
    secret.write_bytes(PIXELS.tobytes())
    file.create_dataset("images", SHAPE, "u1", external=[(str(secret), 0, PIXELS.size)])


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["pixels"] = PIXELS
    file["images"] = h5py.ExternalLink("other.h5", "/pixels")


def soft_link_to_an_external_one(file, folder):
    external_link(file, folder)
    file.move("images", "group/hidden")
    file["images"] = h5py.SoftLink("/group/hidden")


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["pixels"] = PIXELS
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "pixels", SHAPE)
    file.create_virtual_dataset("images", layout)


def label_elsewhere(file, folder):
    file["images"] = PIXELS
    secret = folder / "secret"
    secret.write_bytes(bytes(4))
    del file["ans"]
    file.create_dataset("ans", (4,), "u1", external=[(str(secret), 0, 4)])


@pytest.fixture(
    params=[
        external_storage,
        external_link,
        soft_link_to_an_external_one,
        virtual,
        label_elsewhere,
    ]
)
def path(request, tmp_path):
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        file["ans"] = np.zeros(4, "u1")
        request.param(file, tmp_path)
    return path


@pytest.mark.parametrize("lazy", [False, True])
def test_other_files_are_read_on_request_only(path, lazy):
    with pytest.raises(ValueError, match=r"galaxies\.h5: '.*another file.*allow_exter"):
        read_galaxy10(path, lazy=lazy, verbose=0)
    galaxies = read_galaxy10(path, lazy=lazy, allow_external=True, verbose=0)
    np.testing.assert_array_equal(galaxies.images[:], PIXELS)


def test_all_readers_refuse(path):
    for read in (read_sevi, read_galaxies):
        with pytest.raises(ValueError, match=r"galaxies\.h5: '.*another file"):
            read(path)


def test_more_than_memory(tmp_path):
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        # Nothing of it is stored.
        file.create_dataset("images", (10**9, 64, 64), "u1", chunks=(1, 64, 64))
    with pytest.raises(
        OSError, match=r"galaxies\.h5: its content takes .*4\.1e\+03 GB"
    ):
        read_galaxy10(path, target=None, verbose=0)
    galaxies = read_galaxy10(path, target=None, lazy=True)
    np.testing.assert_array_equal(galaxies.images[5:7], np.zeros((2, 64, 64)))


def test_a_chunk_larger_than_memory(tmp_path):
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (1, 2**18, 2**18), "u1")
    with pytest.raises(OSError, match=r"galaxies\.h5: its content takes .*68\.7 GB"):
        read_galaxy10(path, target=None, lazy=True)


def test_one_long_text_among_many(tmp_path):
    path = tmp_path / "galaxies.h5"
    names = np.full(3000, "a", object)
    names[7] = "b" * 5000
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((3000, 2, 2), "u1")
        file.create_dataset("name", data=names, dtype=h5py.string_dtype())
    with pytest.raises(OSError, match=r"galaxies\.h5: its content takes .*0\.06 GB"):
        read_galaxy10(path, target=None, max_bytes=10**6, verbose=0)


def test_limit_of_images(tmp_path):
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        file["images"] = PIXELS
    galaxies = read_galaxy10(path, target=None, max_bytes=PIXELS.nbytes, verbose=0)
    np.testing.assert_array_equal(galaxies.images, PIXELS)
    with pytest.raises(OSError, match="max_bytes"):
        read_galaxy10(path, target=None, max_bytes=PIXELS.nbytes - 1, verbose=0)
