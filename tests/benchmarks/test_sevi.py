# SPDX-License-Identifier: BSD-3-Clause
"""The comparison for electron images: its baselines, its bounds and its tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import truncnorm

from skastro.sevi import SEVIPrior, SEVISimulator, ShellBasis

pytestmark = pytest.mark.once


def scenes_of(n, n_shells=1, seed=0, **options):
    simulator = SEVISimulator(n_shells=n_shells, **options)
    return simulator.draw(n, torch.Generator().manual_seed(seed))


def test_all_methods_get_the_same_electrons():
    from benchmarks.sevi_cases import CASES, draw_scenes, throw

    batch = throw(CASES["two-5e2"], 3, 2, seed=8)
    totals = batch.images.sum((1, 2))
    assert (totals > 800).all()
    for size, images in batch.centered.items():
        assert images.shape == (2, size, size)
        np.testing.assert_array_equal(images.sum((1, 2)), totals)
    # Twice the moment of inertia, but for the side of the pixels.
    for images, side in ((batch.images, 2 / 256), (batch.centered[511], 1 / 256)):
        axis = (np.arange(images.shape[1]) - (images.shape[1] - 1) / 2) * side
        squares = np.einsum("nij,ij->n", images, axis[:, None] ** 2 + axis**2) / totals
        expected = np.mean(batch.scenes["radius"].numpy() ** 2, axis=1)
        assert (np.abs(squares / expected - 0.75) < 0.2).all()
    fewer = throw(CASES["two-5e2"], 3, 1, seed=8)
    np.testing.assert_array_equal(fewer.images, batch.images[:1])
    tilted = draw_scenes(CASES["one-1e5-tilt2"], 3, seed=8)
    plain = draw_scenes(CASES["one-1e5"], 3, seed=8)
    torch.testing.assert_close(tilted["beta"], plain["beta"], rtol=0, atol=0)
    assert (tilted["tilt"] == 2).all()
    close = draw_scenes(CASES["two-close-0.02"], 3, seed=8)["radius"]
    assert close.diff(dim=1).sub(0.02).abs().max() < 1e-12
    assert close.min() >= 0.3
    assert close.max() <= 0.9


@pytest.mark.parametrize(("size", "shape"), [(255, False), (511, False), (511, True)])
def test_pyabel_finds_the_coefficients_without_noise(size, shape):
    pytest.importorskip("abel")
    from benchmarks.sevi_pyabel import Settings, coefficients, radial_terms

    scenes = scenes_of(1, 2, seed=4)
    scenes["radius"][:] = torch.tensor([[0.4, 0.7]])
    scenes["radius_width"][:] = 0.008
    basis = ShellBasis(size, extent=size / (size + 1))
    shells = [scenes[k] for k in ("beta", "radius", "radius_width", "n_electrons")]
    image = basis.expected(*shells)[0].numpy()
    settings = Settings(20, shape=shape, size=size, subtract=True)
    terms = radial_terms(image + 7.0, settings)
    scale = (size + 1) / 2
    radius, width = (part[0].numpy() * scale for part in shells[1:3])
    beta = coefficients(terms, radius, width, settings)
    np.testing.assert_allclose(beta, scenes["beta"][0], atol=1e-2)
    # Orders that were not asked for are zero.
    lower = Settings(8, size=size)
    beta = coefficients(radial_terms(image, lower), radius, width, lower)
    assert (beta[:, 4:] == 0).all()
    assert (beta[:, :4] != 0).all()


def test_close_shells_share_no_radii():
    from benchmarks.sevi_pyabel import Settings, coefficients

    terms = np.zeros((2, 128))
    terms[:, 60] = 1.0, 2 * 0.3
    terms[:, 64] = 1.0, 2 * 0.7
    radius, width = np.array([60.0, 64.0]), np.array([2.0, 2.0])
    beta = coefficients(terms, radius, width, Settings(2))
    np.testing.assert_allclose(beta[:, 0], [0.3, 0.7])


def test_maximum_likelihood_scatters_as_the_bound_says():
    from benchmarks.sevi_limits import cramer_rao, maximum_likelihood, shell_basis

    scenes = {
        name: part.expand(80, *part.shape[1:]).clone()
        for name, part in scenes_of(1, 2, n_electrons=1e5, background=0.2).items()
    }
    scenes["radius"][:] = torch.tensor([0.45, 0.75])
    simulator = SEVISimulator(n_shells=2, size=64)
    images = simulator.count(scenes, torch.Generator().manual_seed(1))
    basis = shell_basis(64)
    beta, std, converged = maximum_likelihood(images, scenes, basis)
    assert converged.all()
    pulls = (beta - scenes["beta"]) / std
    assert abs(pulls.std() - 1) < 0.08
    assert pulls.mean(0).abs().max() < 4 / np.sqrt(80)
    # Radii and widths are not known to the bound, which hardly matters.
    bound = cramer_rao({name: part[:1] for name, part in scenes.items()}, basis)
    ratio = (beta - scenes["beta"]).square().mean(0) / bound[0]
    assert 0.75 < ratio.mean() < 1.1


def test_prior_informed_limit_between_prior_and_bound(monkeypatch):
    from benchmarks import sevi_limits
    from benchmarks.sevi_limits import cramer_rao, prior_informed, shell_basis

    monkeypatch.setattr(sevi_limits, "_SWEEPS", 50)

    basis, generator = shell_basis(32), torch.Generator().manual_seed(0)
    scenes = scenes_of(25, 2, n_electrons=3e4)
    limit = prior_informed(scenes, basis, generator)
    # The bound is of unbiased answers, on average over the truths.
    assert (limit.mean(0) < cramer_rao(scenes, basis).mean(0)).all()
    nothing = scenes_of(60, 1, n_electrons=1.0)
    limit = prior_informed(nothing, basis, generator).mean((0, 1))
    prior = SEVIPrior().sample(4000, 1, torch.Generator().manual_seed(2))["beta"]
    ratio = limit / prior[:, 0].var(0)
    assert 0.85 < ratio[1:].min()
    assert ratio.max() < 1.1


def test_gibbs_samples_of_truncated_normals():
    from benchmarks.sevi_gibbs import truncated_normal_samples

    rows = torch.cat([torch.eye(2), torch.tensor([[-1.0, 1.0]])]).double()
    low = torch.tensor([0.0, -torch.inf, -torch.inf]).double()
    high = torch.tensor([0.5, torch.inf, torch.inf]).double()
    # Two distributions, in a hundred chains each.
    centers = (-1.0, 9.0)
    mean = torch.tensor([[center, 2.0] for center in centers]).double()
    mean = mean.repeat_interleave(100, dim=0)
    precision = torch.diag(torch.tensor([4.0, 1.0])).double().expand(200, 2, 2)
    shift = mean * torch.tensor([4.0, 1.0])
    start = torch.tensor([[0.2, 1.0]]).double().expand(200, 2)
    options = (60, torch.Generator().manual_seed(0))
    samples = truncated_normal_samples(
        precision, shift, start, rows, low, high, *options
    )[10:]
    assert ((samples[..., 0] >= 0) & (samples[..., 0] <= 0.5)).all()
    for center, chains in zip(centers, samples.split(100, dim=1), strict=True):
        ends = ((0 - center) / 0.5, (0.5 - center) / 0.5)
        exact = truncnorm(*ends, loc=center, scale=0.5)
        assert abs(chains[..., 0].mean() - exact.mean()) < 0.1 * exact.std()
        assert abs(chains[..., 0].std() / exact.std() - 1) < 0.05
        assert abs(chains[..., 1].mean() - 2) < 0.05
    # Correlated, and with an order, against the samples that happen to keep it.
    covariance = np.array([[1.0, 0.8], [0.8, 1.0]])
    low[0], high[0], low[2] = -torch.inf, torch.inf, 0.0
    precision = torch.linalg.inv(torch.as_tensor(covariance)).expand(200, 2, 2)
    chains = truncated_normal_samples(
        precision, torch.zeros_like(shift), start, rows, low, high, *options
    )
    chains = chains[10:].flatten(0, 1).numpy()
    free = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 40000)
    kept = free[free[:, 1] >= free[:, 0]]
    np.testing.assert_allclose(chains.mean(0), kept.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(chains.T), np.cov(kept.T), atol=0.06)


def test_scores_and_tables(tmp_path):
    from benchmarks.sevi_cases import Batch, Case
    from benchmarks.sevi_methods import METHODS
    from benchmarks.sevi_scores import Answer, append, missing, score, table

    path = tmp_path / "scores.csv"
    scenes = scenes_of(2, 2)
    scenes["radius"][:] = torch.tensor([[0.5, 0.504], [0.5, 0.7]])
    batch = Batch(Case(2, 1.0), 100, scenes, np.zeros((2, 4, 4)), {})
    beta = scenes["beta"].numpy().copy()
    beta[0, 0, 0] += 0.5
    beta[1, 1, 3] -= 0.1
    std = np.full_like(beta, 0.25)
    interval = np.stack([beta - 0.4, beta + 0.4], axis=-1)
    for name, size in (("two-5e4", 1.0), ("two-5e4-tilt2", 2.0)):
        truth = scenes["beta"].numpy()
        found = truth + size * (beta - truth)
        answer = Answer(found, std, interval, failed=np.array([True, False]))
        append(path, score(batch, name, "skastro", answer, 3.0))
        variance = np.ones((2, 2, 12)) * size
        append(path, score(batch, name, "ml", Answer(variance=variance), 1.0))
    assert not missing(path, "two-5e4", "skastro", [100, 101])
    assert missing(path, "two-5e4", "skastro", [101, 102])
    assert missing(path, "two-5e4", "limit", [100])

    rows = pd.read_csv(path)
    append(path, rows)
    assert len(pd.read_csv(path)) == len(rows) == 8
    first = rows.iloc[0]
    assert first[["loss_1", "loss_2"]].tolist() == pytest.approx([0.4 * 0.25, 0])
    assert rows.iloc[1]["loss_2"] == pytest.approx(2 / 17 * 0.01)
    assert first[["n_pulls", "n_inside"]].tolist() == [24, 23]
    assert first["pull_sum"] == pytest.approx(2)
    assert first["pull_squares"] == pytest.approx(4)

    scores, costs, separations = table(path, METHODS).split("\n\n")
    lines = [[cell.strip() for cell in line.split("|")] for line in scores.split("\n")]
    loss = (0.1 + 0.02 / 17) / 4
    assert lines[2][1:4] == ["two-5e4", "skastro", "2"]
    assert lines[2][4].startswith(f"{loss:.3g} ±")
    assert lines[2][6:] == ["0.29", "0.979", "0.500", "1.5", ""]
    assert lines[3][6:9] == ["", "", ""]
    assert "| two-5e4-tilt2 | skastro | 2 | 4.00 |" in costs
    assert f"| {2.0:.2f} |" in costs
    assert f"| two-5e4 | skastro | {0.05:.3g} (1) |  |  |  |" in separations


def test_from_the_command_line(tmp_path, capsys):
    pytest.importorskip("abel")
    from benchmarks.bench_sevi import main

    scores = tmp_path / "scores.csv"
    arguments = ["--scores", str(scores), "--cases", "one-1e4", "one-1e5-tilt2"]
    arguments += ["--methods", "pyabel-16", "crlb", "ml", "--n-images", "2"]
    main(arguments)
    rows = pd.read_csv(scores)
    main([*arguments, "--table"])
    main(arguments)
    assert len(pd.read_csv(scores)) == len(rows) == 10
    losses = rows.groupby(["case", "method"]).loss_1.mean()
    assert 1e-4 < losses["one-1e4", "crlb"] < 4e-3
    assert 2e-4 < losses["one-1e4", "pyabel-16"] < 2e-2
    # Images that are not round have no such bound here.
    assert ("one-1e5-tilt2", "crlb") not in losses
    assert (
        "order 16, unregularized" in rows.settings[rows.method == "pyabel-16"].iloc[0]
    )
    assert "PyAbel rBasex, order 16" in capsys.readouterr().out
