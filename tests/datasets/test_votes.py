# SPDX-License-Identifier: BSD-3-Clause
"""Tables of Galaxy Zoo: names, counts, trees, and numbers of votes that are given."""

import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn, Table

from skastro.datasets import read_votes

pytestmark = pytest.mark.once

SMOOTH = "t01_smooth_or_features"
GZ2 = {
    SMOOTH: ("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact"),
    "t02_edgeon": ("a04_yes", "a05_no"),
    "t03_bar": ("a06_bar", "a07_no_bar"),
    "t04_spiral": ("a08_spiral", "a09_no_spiral"),
    "t06_odd": ("a14_yes", "a15_no"),
    "t07_rounded": ("a16_completely_round", "a17_in_between", "a18_cigar_shaped"),
    "t11_arms_number": ("a31_1", "a32_2", "a36_more_than_4"),
}
# Two galaxies, whose votes follow the tree.
COUNTS = {
    SMOOTH: [[10, 28, 2], [36, 0, 0]],
    "t02_edgeon": [[7, 21], [0, 0]],
    "t03_bar": [[20, 1], [0, 0]],
    "t04_spiral": [[12, 9], [0, 0]],
    "t06_odd": [[19, 19], [3, 33]],
    "t07_rounded": [[5, 3, 2], [30, 6, 0]],
    "t11_arms_number": [[0, 10, 2], [0, 0, 0]],
}
MATRIX = np.hstack([COUNTS[name] for name in GZ2]).astype(float)


def columns(ending, values=COUNTS, answers=GZ2):
    """Make columns of all answers whose names end so."""
    return {
        f"{question}_{answer}{ending}": np.asarray(values[question])[:, i]
        for question, names in answers.items()
        for i, answer in enumerate(names)
    }


def shares(counts=COUNTS):
    return {
        name: np.array(votes) / np.maximum(np.sum(votes, axis=1, keepdims=True), 1)
        for name, votes in counts.items()
    }


def forms():
    plain = columns("_count")
    masked = {name: MaskedColumn(values) for name, values in plain.items()}
    return {
        "mapping": plain,
        "table": Table(plain),
        "masked": Table(masked),
        "frame": pd.DataFrame(plain),
    }


@pytest.mark.parametrize("form", ["mapping", "table", "masked", "frame"])
def test_counts_of_galaxy_zoo_2(form):
    votes = read_votes(forms()[form])
    np.testing.assert_array_equal(votes.counts, MATRIX)
    assert votes.survey == "gz2"
    assert votes.questions == GZ2
    np.testing.assert_array_equal(votes.n_votes[:, :2], [[40, 28], [36, 0]])
    np.testing.assert_allclose(votes.fractions[0, :5], [0.25, 0.7, 0.05, 0.25, 0.75])
    assert np.isnan(votes.fractions[1, 3:9]).all()


def test_tree_of_galaxy_zoo_2():
    after = read_votes(columns("_count")).asked_after
    assert after[SMOOTH] == ()
    assert after["t02_edgeon"] == ((SMOOTH, "a02_features_or_disk"),)
    assert after["t03_bar"] == after["t04_spiral"] == (("t02_edgeon", "a05_no"),)
    assert after["t06_odd"] == tuple((SMOOTH, name) for name in GZ2[SMOOTH][:2])
    assert after["t07_rounded"] == ((SMOOTH, "a01_smooth"),)
    assert after["t11_arms_number"] == (("t04_spiral", "a08_spiral"),)


@pytest.mark.parametrize("ending", ["fraction", "weighted_fraction", "debiased"])
@pytest.mark.parametrize("n_votes", [[40, 36], "total_classifications"])
def test_counts_follow_the_tree_from_fractions(ending, n_votes):
    table = columns(f"_{ending}", shares())
    table["total_classifications"] = [40, 36]
    votes = read_votes(table, n_votes=n_votes)
    np.testing.assert_array_equal(votes.counts, MATRIX)


def test_one_number_of_votes_for_all():
    votes = read_votes(columns("_fraction", shares()), n_votes=36)
    np.testing.assert_array_equal(votes.counts[0, :3], [9, 25, 2])
    np.testing.assert_array_equal(votes.n_votes[0, 1], 25)
    np.testing.assert_array_equal(votes.counts[1], MATRIX[1])


def test_numbers_of_votes_are_not_guessed():
    table = columns("_fraction", shares())
    table["total_classifications"] = [40, 36]
    with pytest.raises(ValueError, match="but not how many votes these are of"):
        read_votes(table)
    with pytest.raises(ValueError, match="leave n_votes out"):
        read_votes(columns("_count"), n_votes=40)


def test_debiased_fractions_of_the_votes_that_were_cast():
    debiased = {name: np.roll(part, 1, axis=1) for name, part in shares().items()}
    table = columns("_count") | columns("_debiased", debiased)
    votes = read_votes(table, kind="debiased")
    np.testing.assert_array_equal(votes.counts[0, :5], [2, 10, 28, 21, 7])
    np.testing.assert_array_equal(votes.n_votes, read_votes(table).n_votes)
    # Likewise where the votes that were cast are known by fractions.
    table = columns("_fraction", shares()) | columns("_debiased", debiased)
    other = read_votes(table, kind="debiased", n_votes=[40, 36])
    np.testing.assert_array_equal(other.counts, votes.counts)


def test_debiased_fractions_share_out_the_votes():
    # A galaxy of Galaxy Zoo 2 whose debiased fractions sum to 1.75.
    table = {
        f"{SMOOTH}_a01_smooth_count": [10, 0],
        f"{SMOOTH}_a02_features_or_disk_count": [38, 0],
        f"{SMOOTH}_a01_smooth_debiased": [0.847, 0],
        f"{SMOOTH}_a02_features_or_disk_debiased": [0.901, 0],
    }
    votes = read_votes(table, kind="debiased")
    np.testing.assert_array_equal(votes.counts, [[23, 25], [0, 0]])
    np.testing.assert_array_equal(votes.n_votes, [[48], [0]])
    np.testing.assert_allclose(votes.fractions[0], [23 / 48, 25 / 48])


@pytest.mark.parametrize(
    ("fractions", "n_votes", "counts"),
    [
        ([0.5, 0.5], 5, [3, 2]),
        ([0.5, 0.5], 1, [1, 0]),
        ([0.333, 0.333, 0.333], 40, [14, 13, 13]),
        ([0.062, 0.312, 0.626], 16, [1, 5, 10]),
        ([0.0, 0.0], 7, [0, 0]),
        ([np.nan, np.nan], 0, [0, 0]),
        ([np.nan, 1.0], 3, [np.nan, np.nan]),
    ],
)
def test_no_vote_is_lost_by_rounding(fractions, n_votes, counts):
    names = ("smooth", "featured-or-disk", "artifact")
    table = {
        f"smooth-or-featured_{name}_fraction": [fraction]
        for name, fraction in zip(names, fractions, strict=False)
    }
    votes = read_votes(table, n_votes=n_votes)
    np.testing.assert_array_equal(votes.counts, [counts])


FEW = {"smooth-or-featured_smooth": [1], "smooth-or-featured_featured-or-disk": [3]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (FEW | {"smooth-or-featured_total-votes": [400]}, "sum to 4 in row 0, but"),
        (
            {
                "smooth-or-featured_smooth_fraction": [0.5, 0.25],
                "smooth-or-featured_featured-or-disk_fraction": [0.5, 0.5],
            },
            r"sum to 0.75 in row 1, and not to 1 in 1 rows\. Add the columns",
        ),
        ({"smooth-or-featured_smooth": [1]}, r"one answer .* \['smooth'\]"),
        ({"smooth-or-featured_smooth_debiased": [1.0]}, r"one answer .* \['smooth'\]"),
    ],
    ids=["total", "fractions", "one", "one fraction"],
)
def test_an_answer_without_a_column(table, message):
    with pytest.raises(ValueError, match=message):
        read_votes(table, n_votes=None if len(table) == 3 else 4)


def test_totals_within_rounding():
    table = {"smooth-or-featured_total-votes": [4.2]} | FEW
    np.testing.assert_array_equal(read_votes(table).counts, [[1, 3]])


def test_counts_of_the_first_question_tell_the_votes_on_others():
    table = columns("_count", {SMOOTH: COUNTS[SMOOTH]}, {SMOOTH: GZ2[SMOOTH]})
    edge = {"t02_edgeon": GZ2["t02_edgeon"]}
    table |= columns("_fraction", shares(), edge)
    votes = read_votes(table)
    np.testing.assert_array_equal(votes.counts, MATRIX[:, :5])
    with pytest.raises(ValueError, match="leave n_votes out"):
        read_votes(table, n_votes=40)


def test_the_first_kind_that_all_answers_have():
    table = columns("_weighted_fraction", shares()) | columns("_count")
    del table[f"{SMOOTH}_a03_star_or_artifact_count"]
    votes = read_votes(table, n_votes=[40, 36], questions=[SMOOTH])
    np.testing.assert_array_equal(votes.counts, COUNTS[SMOOTH])
    with pytest.raises(ValueError, match="no count of the answers"):
        read_votes(table, kind="count", n_votes=40)
    del table[f"{SMOOTH}_a01_smooth_weighted_fraction"]
    with pytest.raises(ValueError, match="no kind of columns for all its answers"):
        read_votes(table, n_votes=40)


def test_unknown_values():
    table = {name: values.astype(float) for name, values in columns("_count").items()}
    table["t02_edgeon_a04_yes_count"][0] = np.nan
    votes = read_votes(table)
    assert np.isnan(votes.counts[0, 3:5]).all()
    assert np.isnan(votes.n_votes[0, 1])
    np.testing.assert_array_equal(votes.counts[1], MATRIX[1])
    # A fraction of no votes may be unknown.
    part = shares()
    part["t02_edgeon"][1] = np.nan
    found = read_votes(columns("_fraction", part), n_votes=[40, 36])
    np.testing.assert_array_equal(found.counts, MATRIX)


DECALS = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "bulge-size": ("dominant", "large", "none"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}
DECALS_COUNTS = {
    "smooth-or-featured": [[10, 28, 2]],
    "disk-edge-on": [[7, 21]],
    "bulge-size": [[5, 16, 0]],
    "merging": [[30, 5, 2, 1]],
}
DECALS_MATRIX = np.hstack([*DECALS_COUNTS.values()]).astype(float)


@pytest.mark.parametrize("campaign", ["", "-dr5", "-gz2"])
def test_galaxy_zoo_decals(campaign):
    answers = {name + campaign: value for name, value in DECALS.items()}
    counts = {name + campaign: value for name, value in DECALS_COUNTS.items()}
    table = columns("", counts, answers)
    table |= columns("_fraction", shares(counts), answers)
    table |= {f"{name}_total-votes": np.sum(counts[name], axis=1) for name in answers}
    table |= {"iauname": ["J1"], "bar_length": [0.1], "merging_flag": ["x"]}
    votes = read_votes(table)
    np.testing.assert_array_equal(votes.counts, DECALS_MATRIX)
    assert votes.survey == "decals"
    assert votes.questions == answers
    assert votes.asked_after[f"bulge-size{campaign}"] == (
        (f"disk-edge-on{campaign}", "no"),
    )


def test_fractions_of_decals_with_their_numbers_of_votes():
    table = columns("_fraction", shares(DECALS_COUNTS), DECALS)
    table |= {
        f"{name}_total-votes": np.sum(votes, axis=1)
        for name, votes in DECALS_COUNTS.items()
    }
    np.testing.assert_array_equal(read_votes(table).counts, DECALS_MATRIX)


def test_predictions_of_desi_follow_the_tree():
    table = columns("_fraction", shares(DECALS_COUNTS), DECALS)
    votes = read_votes(table, n_votes=40)
    np.testing.assert_array_equal(votes.counts, DECALS_MATRIX)


def test_some_questions():
    table = columns("_fraction", shares())
    votes = read_votes(table, n_votes=[40, 36], questions=["t04_spiral", "t02_edgeon"])
    assert list(votes.questions) == ["t02_edgeon", "t04_spiral"]
    np.testing.assert_array_equal(votes.counts[0], [7, 21, 12, 9])
    with pytest.raises(ValueError, match="Did you mean 't03_bar'"):
        read_votes(table, n_votes=40, questions=["t03_bars"])
    alone = {name: v for name, v in table.items() if name.startswith("t04")}
    with pytest.raises(ValueError, match="depends on the answer 'a05'"):
        read_votes(alone, n_votes=40)


def test_files(tmp_path):
    for name in ("votes.csv", "votes.fits"):
        Table(columns("_count")).write(tmp_path / name)
        np.testing.assert_array_equal(read_votes(tmp_path / name).counts, MATRIX)
    # The SkyServer puts a line before the names.
    content = (tmp_path / "votes.csv").read_text()
    (tmp_path / "sky.csv").write_text(f"#Table1\n{content}")
    np.testing.assert_array_equal(read_votes(tmp_path / "sky.csv").counts, MATRIX)
    with pytest.raises(FileNotFoundError):
        read_votes(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({f"{SMOOTH}_a01_smooth_fraction": [1.5, 0]}, {"n_votes": 40}, "from 0 to 1"),
        ({f"{SMOOTH}_a01_smooth_fraction": [-99, 0]}, {"n_votes": 40}, "such as -99"),
        ({f"{SMOOTH}_a01_smooth_fraction": [np.inf, 0]}, {"n_votes": 40}, "inf"),
        ({}, {"n_votes": -1}, "from 0 on"),
        ({}, {"n_votes": [1, 2, 3]}, r"shape \(3,\) for 2 galaxies"),
        ({}, {"n_votes": "votes"}, "is no column"),
        ({}, {"n_votes": 40, "kind": "share"}, "kind must be one of"),
        ({}, {"n_votes": 40, "survey": "gz3"}, "survey must be one of"),
        ({}, {"n_votes": 40, "survey": "decals"}, "no columns of votes"),
        ({"smooth-or-featured_smooth": [3, 4]}, {}, "choose by survey="),
        ({"clumpy-appearance_yes": [3, 4]}, {}, "in another way"),
        ({"t12_clumpy_a39_yes_fraction": [0, 1]}, {}, "in another way"),
    ],
)
def test_refusals(change, settings, message):
    with pytest.raises(ValueError, match=message):
        read_votes(columns("_fraction", shares()) | change, **settings)


def test_what_is_no_table():
    with pytest.raises(TypeError, match="must be a file, a Table"):
        read_votes([1, 2])
    with pytest.raises(ValueError, match="its columns are flux"):
        read_votes({"flux": [1.0]})


def test_votes_of_real_galaxies(data_dir):
    file = data_dir / "gz2_votes.csv"
    if not file.is_file():
        pytest.skip("the folder holds no votes")
    table = Table.read(file)
    votes = read_votes(file, n_votes="total_classifications")
    assert votes.counts.shape == (698, 37)
    # The votes on all questions together are known, but for weights of volunteers.
    total = np.nansum(votes.n_votes, axis=1)
    assert np.median(np.abs(total / table["total_votes"] - 1)) < 0.05
    smooth = votes.fractions[:, 0]
    expected = table["t01_smooth_or_features_a01_smooth_weighted_fraction"]
    np.testing.assert_allclose(smooth, expected, atol=0.05)
