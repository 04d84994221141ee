# SPDX-License-Identifier: BSD-3-Clause
"""Electron images measured by networks that come with the package."""

from typing import Any, ClassVar, Self

from skastro.estimators._pretrained import Pretrained, find_pretrained
from skastro.estimators._shell_prior import ShellPrior
from skastro.utils import check_count

_DEFAULT_SIZE = 256
_SCALED = ("target_mean", "target_scale", "residual_std")
_PRIOR = ("lower", "upper", "mean", "sigma")


class SEVIPretrained:
    """Mixin that makes fitted estimators from files of the package."""

    _pretrained: ClassVar = ("sevi-1shell", "sevi-2shell")

    @classmethod
    def from_pretrained(
        cls, name: str, *, size: int | None = None, **parameters: Any
    ) -> Self:
        """Make an estimator that is fitted already.

        Parameters
        ----------
        name : {"sevi-1shell", "sevi-2shell"}
            The weights, for images of one shell or of two.
        size : int, default=None
            Height and width of the images to be measured, in pixels, at least 255.
            None: those of `image_shape`, or 256.
        **parameters : dict
            Parameters of the constructor, such as `convention`, `polarization_axis`,
            `extent`, `radius`, `refine`, `distortion`, `image_shape` and `device`. Of
            the network, `n_betas`, `normalization` and `scale_target` the weights allow
            no other than the default.

        Returns
        -------
        estimator : object
            A fitted estimator. Its clones are not fitted.

        Raises
        ------
        ValueError
            If there are no such weights or their file is damaged, if `parameters`
            contradict them, or if the images are too small; with ``refine=False`` also
            if `radius` or `radius_width` is out of the range of the training.
        TypeError
            If there is no such parameter, or `size` is no integer.

        Notes
        -----
        The networks were trained on images of a
        :class:`~skastro.simulation.sevi.SEVISimulator`. Beside each file of weights, in
        ``skastro/pretrained``, lies a card: how they were made, for which images they
        are, and how good they are. With `refine` the answers depend on the weights only
        where the fit fails. ``partial_fit`` trains them on.

        The shells sought are those of :class:`~skastro.simulation.sevi.SEVIPrior`, from
        which the training images were drawn, unless `radius` and `radius_width` say
        otherwise.

        Examples
        --------
        >>> from skastro import SEVIRegressor
        >>> from skastro.datasets import make_sevi
        >>> sevi = make_sevi(2, size=256, n_electrons=1e5, random_state=0)
        >>> reg = SEVIRegressor.from_pretrained("sevi-1shell", verbose=0)
        >>> beta, std = reg.predict(sevi.images, return_std=True)
        >>> bool((abs(beta - sevi.beta) < 5 * std).all())
        True
        """
        pretrained = find_pretrained(name, cls._pretrained, cls.__name__)
        return cls._from_pretrained(pretrained, size, parameters)

    @classmethod
    def _from_pretrained(
        cls, pretrained: Pretrained, size: int | None, parameters: dict[str, Any]
    ) -> Self:
        shape = _sample_shape(
            size, parameters.get("image_shape"), pretrained.settings["least_size"]
        )
        reg = pretrained.build(cls, parameters, shape)
        ranges = reg._ranges()
        if not reg.refine:
            named = dict(zip(("radius", "radius_width"), ranges, strict=True))
            _check_trained(named, reg.extent, pretrained.settings["ranges"])
        learned = pretrained.learned
        for part in _SCALED:
            setattr(reg, f"{part}_", learned[part].numpy() * reg._factor)
        if reg.prior == "published":
            reg.prior_ = ShellPrior.published(reg.n_betas, *ranges)
        else:
            parts = (learned[f"prior.{part}"] for part in _PRIOR)
            reg.prior_ = ShellPrior(*parts, *ranges)
        return reg


def _sample_shape(
    size: int | None, image_shape: Any, least_size: int
) -> tuple[int, ...]:
    """Give the shape that a sample in X will have."""
    if size is not None:
        size = check_count(size, "size", 1)
    if image_shape is not None:
        shape = tuple(image_shape) if isinstance(image_shape, tuple | list) else ()
        if len(shape) != 2 or shape[0] != shape[1] or size not in (None, shape[0]):
            size = shape[0] if size is None and shape else size or _DEFAULT_SIZE
            raise ValueError(
                "Pretrained weights are for square images: image_shape must be "
                f"({size}, {size}), but is {image_shape!r}."
            )
        size = check_count(shape[0], "image_shape", 1)
    size = _DEFAULT_SIZE if size is None else size
    if size < least_size:
        raise ValueError(
            f"The pretrained weights are for images of at least {least_size} x "
            f"{least_size} pixels, but size is {size}. For smaller ones fit anew, by "
            f"SEVIRegressor().fit_simulator(SEVISimulator(size={size})) or by fit; few "
            "images will do, as with refine=True the answers do not depend on weights."
        )
    return (size, size) if image_shape is None else (size * size,)


def _check_trained(
    ranges: dict[str, tuple[float, float]],
    extent: float,
    trained: dict[str, tuple[float, float]],
) -> None:
    """Refuse shells that the network has not seen, where it is to answer alone."""
    for name, (low, high) in ranges.items():
        low, high = low / extent, high / extent
        least, most = trained[name]
        if low < 0.999 * least or high > 1.001 * most:
            raise ValueError(
                f"In images from -{extent:g} to {extent:g} the network knows {name} "
                f"from {least * extent:g} to {most * extent:g}, but {name} is "
                f"({low * extent:g}, {high * extent:g}). Give a range within, or let "
                "the fit answer (refine=True)."
            )
