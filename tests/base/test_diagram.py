# SPDX-License-Identifier: BSD-3-Clause
"""The diagrams that notebooks show."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from skastro import MinMaxSpectra, SpectrumClassifier


@pytest.fixture
def pipeline():
    return make_pipeline(
        MinMaxSpectra(),
        SpectrumClassifier("resnet10", module__width=5, max_epochs=1, verbose=0),
    )


def test_diagram_shows_layers_once_there_are_any(pipeline):
    assert "conv1" not in pipeline._repr_html_()
    X = np.random.default_rng(0).normal(size=(20, 30))
    pipeline.fit(X, np.arange(20) % 2)
    page = pipeline._repr_html_()
    for name, layer in pipeline[-1].module_.named_children():
        n_weights = sum(weight.numel() for weight in layer.parameters())
        title = f"{name}: {type(layer).__name__}"
        assert title + f", {n_weights} weights" * bool(n_weights) in page


def test_diagram_of_a_single_layer():
    clf = SpectrumClassifier(torch.nn.Linear(7, 2), max_epochs=1, verbose=0)
    clf.fit(np.random.default_rng(0).normal(size=(20, 7)), np.arange(20) % 2)
    assert "module: Linear, 16 weights" in clf._repr_html_()
