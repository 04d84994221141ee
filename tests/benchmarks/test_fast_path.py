# SPDX-License-Identifier: BSD-3-Clause
"""The comparison of training loops runs, and compares like with like."""

import numpy as np
import pytest
import torch

from skastro.networks import get_module

pytestmark = pytest.mark.once


def test_tiny_comparison_runs_and_is_written(tmp_path, capsys):
    from benchmarks.__main__ import main

    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\nOther rows.\n", encoding="utf-8")
    main(
        [
            *("--quick", "--write", "--only", "tiny-64"),
            *("--device", "cpu", "--results", str(results)),
        ]
    )
    printed = capsys.readouterr().out.strip()
    assert "--only tiny-64" in printed
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    split = next(i for i, row in enumerate(rows) if row[0].startswith("skastro's"))
    rates, ratios = rows[2:split], rows[split + 2 :]
    labels = ["(a)", "(b)", "(c)", "(c)", "(c)", "(d)", "(e)"]
    assert [row[0][:3] for row in rates] == labels
    assert all(float(row[1].split()[0].replace(",", "")) > 0 for row in rates)
    assert [row[0][:3] for row in ratios] == ["(a)", "(b)", "(d)", "(d)", "(e)"]
    text = results.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\nOther rows.\n")
    assert printed in text


def test_unknown_comparison_is_refused(capsys):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(["--only", "tiny", "spectrum"])
    assert "no 'spectrum'; known are spectra, tiny-64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "ndim", "settings", "plain_settings"),
    [
        ("resnet18", 1, {"stem": "stride1"}, {"stride1": True}),
        ("resnet18", 2, {}, {}),
        ("resnet50", 2, {}, {"n_blocks": (3, 4, 6, 3), "bottleneck": True}),
    ],
)
def test_plain_network_computes_what_ours_does(name, ndim, settings, plain_settings):
    from benchmarks.networks import PlainResNet

    ours = get_module(name, ndim)(n_channels=3, n_outputs=4, width=8, **settings)
    plain = PlainResNet(3, 4, ndim=ndim, width=8, **plain_settings)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert shapes == {key: value.shape for key, value in ours.state_dict().items()}
    plain.load_state_dict(ours.state_dict())
    X = torch.randn(4, 3, *[33] * ndim, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        ours.train(training)
        plain.train(training)
        torch.testing.assert_close(plain(X), ours(X), rtol=1e-3, atol=1e-4)


def test_spectra_vary_alike_one_by_one_and_in_batches():
    from benchmarks.variations import vary_spectra, vary_spectrum

    # Standard deviation 3, largest value 300: pushes stand out of the noise.
    flux = np.zeros(10_000, np.float32)
    flux[0] = 300
    rng = np.random.default_rng(0)
    one_by_one = np.stack([vary_spectrum(flux, rng) for _ in range(400)])
    batch = torch.from_numpy(flux).expand(400, -1)
    at_once = vary_spectra(batch, generator=torch.Generator().manual_seed(0)).numpy()
    for varied in (one_by_one, at_once):
        change = varied - flux
        pushed = np.abs(change) > 150
        assert pushed.sum(axis=1).max() == 1
        assert pushed.any(axis=1).mean() == pytest.approx(0.5, abs=0.1)
        assert (change[pushed] > 0).mean() == pytest.approx(0.5, abs=0.15)
        assert change[~pushed].std() == pytest.approx(1, rel=0.01)


def test_images_vary_alike_one_by_one_and_in_batches():
    from benchmarks.variations import vary_image, vary_images

    # A blot of one color away from the center on a dark ground.
    image = np.zeros((33, 33, 3), np.uint8)
    image[14:19, 24:29] = (120, 60, 40)
    rng = np.random.default_rng(0)
    one_by_one = np.stack([vary_image(image, rng) for _ in range(400)]) / 255
    batch = torch.from_numpy(image).permute(2, 0, 1).expand(400, -1, -1, -1) / 255
    generator = torch.Generator().manual_seed(0)
    at_once = vary_images(batch, generator=generator).permute(0, 2, 3, 1).numpy()
    expected = None
    for varied in (one_by_one, at_once):
        light = varied.sum(axis=3)
        mass = light.sum(axis=(1, 2))
        row, column = np.indices(light.shape[1:]) - 16
        angle = np.degrees(
            np.arctan(np.abs((light * row).sum((1, 2)) / (light * column).sum((1, 2))))
        )
        right = ((light * column).sum(axis=(1, 2)) > 0).mean()
        assert right == pytest.approx(0.5, abs=0.1)
        assert angle.max() == pytest.approx(30, abs=3)
        assert angle.mean() == pytest.approx(15, abs=2)
        color = varied.sum(axis=(1, 2)) / mass[:, None]
        assert color.std(axis=0).min() > 0.02
        figures = [mass.mean(), mass.std(), *color.mean(axis=0)]
        if expected is None:
            expected = figures
        else:
            np.testing.assert_allclose(figures, expected, rtol=0.15)


def test_results_of_others_stay(tmp_path):
    from benchmarks.report import update

    path = tmp_path / "RESULTS.md"
    order = ["a", "b", "c"]
    update(path, "cpu", {"c": "third", "a": "first"}, order)
    update(path, "cuda", {"a": "on the GPU"}, order)
    update(path, "cpu", {"b": "second", "a": "first anew"}, order)
    text = path.read_text(encoding="utf-8")
    assert text == (
        "# Results\n\n"
        "## The fast path, CPU\n\n<!-- fast path, cpu -->\n\n"
        "<!-- a -->\n\nfirst anew\n\n<!-- b -->\n\nsecond\n\n<!-- c -->\n\nthird\n\n"
        "<!-- end -->\n\n"
        "## The fast path, GPU\n\n<!-- fast path, cuda -->\n\n"
        "<!-- a -->\n\non the GPU\n\n<!-- end -->\n"
    )


def test_hdf5_file_is_made_and_trained_on(tmp_path):
    import h5py

    from benchmarks.hdf5 import make_file, measure

    path = tmp_path / "images.h5"
    n_images = make_file(path, 0.01)
    with h5py.File(path) as file:
        assert file["images"].shape == (n_images, 69, 69, 3)
        assert path.stat().st_size == pytest.approx(1e7, rel=0.01)
        brightness = file["images"][:].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(brightness - 30 * file["ans"][:], 63.5, atol=2)
    streamed, in_memory = measure(path, "cpu", None), measure(path, "cpu", 500)
    assert streamed["rate"] >= streamed["whole"] > 0
    assert in_memory["peak"] > 0
    assert 0 < streamed["loss"] < 2
