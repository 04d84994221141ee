# SPDX-License-Identifier: BSD-3-Clause
"""How images stand in X."""

import math
from numbers import Integral
from typing import ClassVar

import numpy as np

from skastro._compat import Interval, Options


class ImageLayout:
    """Base of estimators that have the parameters `channel_axis` and `image_shape`.

    Images are ``(n, height, width)``, or 4-D with the channels on `channel_axis`, or
    rows of pixels whose order is that of `image_shape`.

    Examples
    --------
    >>> from skastro.utils import ImageLayout
    >>> class Estimator(ImageLayout):
    ...     channel_axis, image_shape = 1, (3, 8, 8)
    >>> Estimator()._image_shape_of((192,)), Estimator()._axis_in_sample()
    ((3, 8, 8), 0)
    """

    _layout_constraints: ClassVar[dict] = {
        "channel_axis": [Options(Integral, {-3, -2, -1, 1, 2, 3})],
        "image_shape": [None, tuple, list, Interval(Integral, 1, None, closed="left")],
    }

    def _image_shape_of(
        self, sample_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Give the shape of one image as it stands in X or in ``image_shape``."""
        if len(sample_shape) > 1:
            return tuple(sample_shape)
        if self.image_shape is None:
            return (1, *sample_shape)
        shape = tuple(np.atleast_1d(self.image_shape).tolist())
        fits = (
            len(shape) in (2, 3)
            and all(isinstance(n, Integral) and n > 0 for n in shape)
            and math.prod(shape) == sample_shape[0]
        )
        if not fits:
            raise ValueError(
                f"image_shape={shape} does not fit X: its rows have {sample_shape[0]} "
                "numbers. Give (height, width), or (height, width, channels) with the "
                "channels where channel_axis says, whose product that is."
            )
        return shape

    def _axis_in_sample(self) -> int:
        """Give the axis of the channels in an image by itself."""
        axis = self.channel_axis
        return axis - 1 if axis > 0 else axis + 3
