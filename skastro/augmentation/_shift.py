# SPDX-License-Identifier: BSD-3-Clause
"""Small shifts of spectra along the wavelength."""

import torch


class ShiftSpectra:
    """Shift each spectrum by a random number of pixels.

    A whole pixel at a time, so that the noise stays as it is; the outermost pixel is
    repeated where nothing else is known.

    Parameters
    ----------
    max_shift : float, default=0.0067
        The largest shift to either side, as a part of the spectrum's length; 0.0067
        of 3000 pixels are 20. Shifts of less than a pixel do nothing.

    Raises
    ------
    ValueError
        If `max_shift` is not between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import ShiftSpectra
    >>> shift = ShiftSpectra(0.25)
    >>> generator = torch.Generator().manual_seed(1)
    >>> shift(torch.arange(8.0).expand(3, 8), generator=generator)
    tensor([[2., 3., 4., 5., 6., 7., 7., 7.],
            [0., 0., 0., 1., 2., 3., 4., 5.],
            [0., 0., 0., 1., 2., 3., 4., 5.]])
    """

    def __init__(self, max_shift: float = 0.0067) -> None:
        if not 0 <= max_shift <= 1:
            raise ValueError(f"max_shift must be from 0 to 1, but got {max_shift!r}.")
        self.max_shift = max_shift

    def __call__(
        self, batch: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Shift the spectra of a batch.

        Parameters
        ----------
        batch : Tensor of shape (n_samples, length) or (n_samples, n_channels, length)
            Flux; the channels of a sample shift together.
        generator : torch.Generator, default=None
            Where to draw from; None is torch's global generator.

        Returns
        -------
        shifted : Tensor of the same shape
            New flux; the batch is left as it is.
        """
        length = batch.shape[-1]
        pixels = int(self.max_shift * length)
        if pixels == 0:
            return batch
        shift = torch.randint(
            -pixels,
            pixels + 1,
            (len(batch), *[1] * (batch.ndim - 1)),
            generator=generator,
            device=batch.device,
        )
        source = torch.arange(length, device=batch.device) - shift
        return batch.gather(-1, source.clamp(0, length - 1).expand(batch.shape))

    def __repr__(self) -> str:
        """Show the parameter."""
        return f"ShiftSpectra({self.max_shift})"
