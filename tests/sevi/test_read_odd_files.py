# SPDX-License-Identifier: BSD-3-Clause
"""Text with blanks, coefficients that are numbered otherwise, and huge ids."""

import h5py
import numpy as np
import pytest

from skastro.sevi import read_sevi

COUNTS = np.arange(20).reshape(4, 5)


@pytest.mark.parametrize("mark", [",", ";", ", ", " ", "\t"])
@pytest.mark.parametrize("heading", ["", "a b c d e\n", " \n# x\n"])
def test_lines_of_blanks_and_blanks_at_the_ends(tmp_path, mark, heading):
    lines = [f"  {mark.join(map(str, row))} \t" for row in COUNTS]
    path = tmp_path / "image.txt"
    path.write_text(heading + "\n   \n\t\n".join(lines) + "\n  \n\n")
    np.testing.assert_array_equal(read_sevi(path).images, COUNTS[None])


def test_heading_alone_is_no_image(tmp_path):
    path = tmp_path / "image.txt"
    path.write_text("x y count\n  \n# 1 2 3\n")
    with pytest.raises(ValueError, match="it has no lines of numbers"):
        read_sevi(path)


def shells(path, numbers, ids=(7,)):
    names = [f"beta{number}" for number in numbers]
    table = np.zeros(
        1, [("SphereId", "u8"), ("R", float)] + [(n, float) for n in names]
    )
    table["SphereId"] = ids
    for number, name in zip(numbers, names, strict=True):
        table[name] = number / 100
    with h5py.File(path, "w") as file:
        file["Answer"] = table
    return path


def test_numbered_coefficients_are_those_of_one_to_twelve(tmp_path):
    right = read_sevi(shells(tmp_path / "a.h5", range(1, 13)))
    np.testing.assert_allclose(right.beta, [np.arange(1, 13) / 100])
    for numbers in (range(12), range(2, 14), [*range(1, 12), 13]):
        path = shells(tmp_path / "a.h5", numbers)
        with pytest.raises(ValueError, match="expected 'beta1' to 'beta12'"):
            read_sevi(path)


def test_ids_of_64_bits_are_refused(tmp_path):
    path = shells(tmp_path / "a.h5", range(1, 13), [2**63 + 5])
    with pytest.raises(ValueError, match="has ids up to 9223372036854775813"):
        read_sevi(path)
