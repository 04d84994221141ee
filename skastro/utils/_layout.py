# SPDX-License-Identifier: BSD-3-Clause
"""Refusal of spectra and images whose axes look swapped."""

# More channels than any camera, and fewer pixels than any spectrum or image.
_MOST_CHANNELS = 12
_FEWEST_PIXELS = 4
# Below this number of pixels a square is no evidence for an image.
_SMALLEST_SQUARE = 8
# Longer rows of numbers are spectra rather than images of one row.
_LONGEST_ROW = 32


def check_spectra_layout(shape: tuple[int, ...], meant: str) -> None:
    """Refuse samples ``(n_channels, n_pixels)`` that hold no spectra by their shape.

    `meant` is what the user writes if the layout is right.

    >>> check_spectra_layout((3000, 1), "channel_axis=1")
    Traceback (most recent call last):
        ...
    ValueError: X has samples of shape (3000, 1), which would be spectra of 1 pixel in
    3000 channels. Spectra have the shape (n_samples, n_channels, n_pixels): give
    X.transpose(0, 2, 1), or X[:, :, 0] for one channel. If the shape is meant, give
    channel_axis=1.
    """
    if len(shape) != 2:
        return
    n_channels, n_pixels = shape
    is_square = n_channels == n_pixels >= _SMALLEST_SQUARE
    few_pixels = n_pixels <= _FEWEST_PIXELS and n_channels > _MOST_CHANNELS
    if is_square:
        problem = "which look like square images"
        advice = "take an estimator of images, such as GalaxyClassifier"
    elif few_pixels or n_pixels == 1 < n_channels:
        problem = (
            f"which would be spectra of {n_pixels} pixel{'s' * (n_pixels > 1)} in "
            f"{n_channels} channels"
        )
        advice = "give X.transpose(0, 2, 1)" + (
            ", or X[:, :, 0] for one channel" if n_pixels == 1 else ""
        )
    else:
        return
    raise ValueError(
        f"X has samples of shape {shape}, {problem}. Spectra have the shape "
        f"(n_samples, n_channels, n_pixels): {advice}. If the shape is meant, give "
        f"{meant}."
    )


def check_images_layout(shape: tuple[int, ...]) -> None:
    """Refuse samples ``(height, width[, n_channels])`` that hold no images so.

    >>> check_images_layout((3, 64, 64))
    Traceback (most recent call last):
        ...
    ValueError: X has samples of shape (3, 64, 64), which would be images of 3 x 64
    pixels in 64 channels. If the channels stand first, give channel_axis=1; if they
    stand last, channel_axis=-1.
    """
    if len(shape) == 3:
        height, width, n_channels = shape
        channels_first = height <= _FEWEST_PIXELS and height < min(width, n_channels)
        is_square = _SMALLEST_SQUARE <= width == n_channels != height
        if channels_first or is_square or n_channels > _MOST_CHANNELS:
            raise ValueError(
                f"X has samples of shape {shape}, which would be images of {height} x "
                f"{width} pixels in {n_channels} channels. If the channels stand "
                "first, give channel_axis=1; if they stand last, channel_axis=-1."
            )
    elif len(shape) == 2 and min(shape) <= _FEWEST_PIXELS and max(shape) > _LONGEST_ROW:
        raise ValueError(
            f"X has samples of shape {shape}, which are no images of one channel, "
            "unless very narrow ones. Give a single image as X[None], and spectra to "
            "an estimator of spectra. If the shape is meant, give channel_axis=-1."
        )


def check_rows_are_images(n_numbers: int) -> None:
    """Refuse long rows of numbers where images are expected."""
    if n_numbers > _LONGEST_ROW:
        raise ValueError(
            f"X has rows of {n_numbers} numbers, which look like spectra. Give images "
            "as (n_images, height, width) or with channels, or say by image_shape="
            f"(height, width) that rows are images: image_shape=(1, {n_numbers}) for "
            "images of one row. SpectrumClassifier takes spectra."
        )
