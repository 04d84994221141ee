# SPDX-License-Identifier: BSD-3-Clause
"""How the image of an electron shell lies on a detector that distorts it."""

import torch


def detector_matrix(tilt: torch.Tensor, ellipticity: torch.Tensor) -> torch.Tensor:
    """Give the matrices that bring an upright, round image to the detector.

    The polarisation axis is turned by `tilt`, then the image is stretched along the
    detector's second axis and compressed along its first. Areas stay the same.

    Parameters
    ----------
    tilt : Tensor of shape (n,)
        Angle from the second axis towards the first, in degrees.
    ellipticity : Tensor of shape (n,)
        Stretch along the second axis over that along the first, minus one.

    Returns
    -------
    matrix : Tensor of shape (n, 2, 2)
        To be multiplied with (x, z): across the polarisation axis and along it.

    Examples
    --------
    >>> import torch
    >>> from skastro.simulation._sevi_frame import detector_matrix
    >>> matrix = detector_matrix(torch.tensor([90.0]), torch.tensor([0.0]))
    >>> (matrix[0] @ torch.tensor([0.0, 1.0])).round().tolist()
    [1.0, -0.0]
    """
    angle = torch.deg2rad(tilt)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    stretch = torch.sqrt(1 + ellipticity)
    first = torch.stack([cosine / stretch, sine / stretch], dim=-1)
    second = torch.stack([-sine * stretch, cosine * stretch], dim=-1)
    return torch.stack([first, second], dim=-2)
