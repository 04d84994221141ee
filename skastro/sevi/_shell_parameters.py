# SPDX-License-Identifier: BSD-3-Clause
"""The parameters of an image of electron shells, as one vector."""

import torch

from skastro.sevi._basis import ShellBasis, detector_matrix
from skastro.sevi._cell_basis import CellBasis
from skastro.sevi._electrons import N_BETAS
from skastro.sevi._prior import ShellPrior

# Scatter of the logarithm of the number of electrons of a shell about their mean.
_LOG_NUMBER_SD = 2.0
# Distance of the initial radii from their limits, as a fraction of the range.
_EDGE = 0.003
# Lower limit of computed widths, as a fraction of the narrowest.
_LEAST_WIDTH = 0.4
_FIRST_BACKGROUND = 0.01

# Scatter of tilt in degrees, ellipticity and displacement in pixels.
_DISTORTION_SD = (3.0, 0.02, 2.0, 2.0)
# Steps of derivatives: displacement in pixels, tilt and ellipticity.
_SHIFT = 0.02
_STEP = 1e-3


class ShellParameters:
    """The parts of the vector, their limits and their prior.

    For each shell the vector holds the logarithm of the number of electrons, the
    coefficients, the mean of the radii and their standard deviation. If `distorted`,
    tilt in degrees, ellipticity and the displacement of the center along both axes in
    pixels follow. The last entry is the background as a fraction of all electrons.
    `directions` (n_limits, n_parameters) are the linear combinations with limits, `low`
    and `high` the limits; `of_shells` is all but the background.
    """

    of_shells = slice(0, -1)

    def __init__(
        self,
        n_shells: int,
        prior: ShellPrior,
        device: str | torch.device,
        distorted: bool = False,
    ) -> None:
        self.n_shells = n_shells
        self.prior = prior
        self.n_betas = len(prior.lower)
        self.n_each = self.n_betas + 3
        self._of_all_shells = slice(0, n_shells * self.n_each)
        distortion = torch.tensor(_DISTORTION_SD if distorted else ()).double() ** -2
        self.distorted = distorted
        n_parameters = n_shells * self.n_each + len(distortion) + 1
        each = torch.eye(self.n_each, dtype=torch.float64)[1:]
        directions = torch.zeros(n_shells * len(each) + n_shells, n_parameters).double()
        directions[: n_shells * len(each), self._of_all_shells] = torch.block_diag(
            *[each] * n_shells
        )
        for shell in range(1, n_shells):
            # Radii ascend.
            row = directions[n_shells * len(each) + shell - 1, self._of_all_shells]
            row.view(n_shells, -1)[shell, -2] = 1
            row.view(n_shells, -1)[shell - 1, -2] = -1
        directions[-1, -1] = 1
        ranges = torch.tensor([prior.radius, prior.radius_width]).double()
        size = prior.radius[1] - prior.radius[0]
        others = torch.tensor([[0.0, size]] * (n_shells - 1) + [[0.0, 1e3]]).double()
        limits = torch.stack([prior.lower, prior.upper], dim=1).double()
        limits = torch.cat([torch.cat([limits, ranges])] * n_shells + [others])
        self.directions = directions.to(device)
        self.low, self.high = limits.to(device).unbind(1)
        weight = torch.zeros(n_shells, self.n_each).double()
        weight[:, 0] = _LOG_NUMBER_SD**-2
        weight[:, 1:-2] = prior.sigma**-2
        center = torch.zeros_like(weight)
        center[:, 1:-2] = prior.mean
        none = weight.new_zeros(1)
        self._weight = torch.cat([weight.flatten(), distortion, none]).to(device)
        zero = torch.zeros_like(distortion)
        self._center = torch.cat([center.flatten(), zero, none]).to(device)
        self._typical = prior.moments()[0].to(device)

    def _of_shells(self, theta: torch.Tensor) -> torch.Tensor:
        shells = theta[:, self._of_all_shells]
        return shells.unflatten(1, (self.n_shells, self.n_each))

    def log_number(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the numbers of electrons (n, n_shells)."""
        return self._of_shells(theta)[..., 0]

    def beta(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the coefficients (n, n_shells, n_betas)."""
        return self._of_shells(theta)[..., 1:-2]

    def beta_block(self, covariance: torch.Tensor) -> torch.Tensor:
        """Return covariances (n, n_shells, n_betas, n_betas) of the coefficients."""
        first = self.n_each * torch.arange(self.n_shells, device=covariance.device)
        own = first[:, None] + 1 + torch.arange(self.n_betas, device=covariance.device)
        return covariance[:, own[:, :, None], own[:, None, :]]

    def radius(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the mean radii (n, n_shells)."""
        return self._of_shells(theta)[..., -2]

    def radius_width(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the standard deviations of the radii (n, n_shells)."""
        return self._of_shells(theta)[..., -1]

    def limited_beta(self, limited: torch.Tensor) -> torch.Tensor:
        """Return the coefficients among all limited combinations."""
        n_limited = self.n_shells * (self.n_betas + 2)
        each = limited[:, :n_limited].unflatten(1, (self.n_shells, -1))
        return each[..., : self.n_betas]

    def start(self, total: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        """Return typical parameters for these numbers of electrons and radii."""
        theta = radius.new_zeros((len(total), len(self._weight)))
        theta[:, -1] = _FIRST_BACKGROUND
        low, high = self.prior.radius
        edge = _EDGE * (high - low)
        shells = self._of_shells(theta)
        shells[..., 0] = torch.log(total / self.n_shells)[:, None]
        shells[..., 1:-2] = self._typical
        shells[..., -2] = radius.clamp(low + edge, high - edge)
        shells[..., -1] = sum(self.prior.radius_width) / 2
        return theta

    def exchange(self, theta: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        """Exchange two neighboring shells (n,), except their radii."""
        shells = self._of_shells(theta)
        order = torch.arange(self.n_shells, device=theta.device).repeat(len(theta), 1)
        order = order.scatter(1, inner[:, None], inner[:, None] + 1)
        order = order.scatter(1, inner[:, None] + 1, inner[:, None])
        changed = shells.gather(1, order[..., None].expand_as(shells))
        changed[..., -2] = shells[..., -2]
        return torch.cat([changed.flatten(1), theta[:, changed[0].numel() :]], dim=1)

    def separate(
        self, theta: torch.Tensor, inner: torch.Tensor, gap: torch.Tensor
    ) -> torch.Tensor:
        """Move two neighboring shells (n,) to a distance about their common mean."""
        pair = torch.stack([inner, inner + 1], dim=1)
        number = self.log_number(theta).gather(1, pair).softmax(1)
        radius = self.radius(theta)
        middle = (number * radius.gather(1, pair)).sum(1, keepdim=True)
        both = middle + gap * torch.stack([-number[:, 1], number[:, 0]], dim=1)
        moved = theta.clone()
        self.radius(moved).scatter_(1, pair, both)
        return moved

    def gap_limit(self, inner: torch.Tensor) -> torch.Tensor:
        """Return the index of the limit on the distance of neighboring shells (n,)."""
        return self.n_shells * (self.n_betas + 2) + inner

    def distortion(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return tilt, ellipticity (n,) and displacement (n, 2) as keywords."""
        if not self.distorted:
            return {}
        tilt, ellipticity, *center = theta[:, self._of_all_shells.stop : -1].unbind(1)
        return {
            "tilt": tilt,
            "ellipticity": ellipticity,
            "center": torch.stack(center, dim=1),
        }

    def distort(self, theta: torch.Tensor) -> torch.Tensor:
        """Insert zeros for the distortion into a vector without it."""
        shells, background = theta[:, self._of_all_shells], theta[:, -1:]
        none = theta.new_zeros(len(theta), len(_DISTORTION_SD))
        return torch.cat([shells, none, background], dim=1)

    def normal_prior(self, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prior's precision, a matrix, and this times its mean."""
        center = self._center.repeat(len(total), 1)
        self.log_number(center)[:] = torch.log(total / self.n_shells)[:, None]
        return torch.diag(self._weight), center * self._weight

    def log_prior(self, theta: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the prior's density, within the limits."""
        center = self._center.repeat(len(total), 1)
        self.log_number(center)[:] = torch.log(total / self.n_shells)[:, None]
        return -(self._weight * (theta - center) ** 2).sum(1) / 2

    def expected(
        self,
        theta: torch.Tensor,
        total: torch.Tensor,
        basis: ShellBasis | CellBasis,
        background: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute expected counts (n, n_cells), and derivatives.

        The latter have the shape (n, n_parameters, n_cells). `background` (n_cells,) is
        the share of each cell in a uniform background. The cells are the pixels, if the
        image is distorted.
        """
        width = self.radius_width(theta)
        width = width.clamp(min=_LEAST_WIDTH * self.prior.radius_width[0])
        if isinstance(basis, ShellBasis):
            slopes = self._pixel_slopes(theta, width, basis)
        else:
            slopes = basis.slopes(
                self.log_number(theta).exp(),
                self.beta(theta),
                self.radius(theta),
                width,
            )
        expected = slopes[:, self._of_all_shells][:, :: self.n_each].sum(1)
        torch.mul(background, total[:, None].to(slopes), out=slopes[:, -1])
        expected = expected.clamp_(min=0)
        expected += theta[:, -1:].to(slopes) * slopes[:, -1]
        return expected, slopes

    def _pixel_slopes(
        self, theta: torch.Tensor, width: torch.Tensor, basis: ShellBasis
    ) -> torch.Tensor:
        """Compute derivatives in the pixels of distorted images; the last is zero."""
        number, beta = self.log_number(theta).exp(), self.beta(theta)
        slopes = []
        for shell in range(self.n_shells):
            images = basis.linearized(
                beta[:, shell],
                self.radius(theta)[:, shell],
                width[:, shell],
                **self.distortion(theta),
            ).flatten(2)
            weight = beta[:, shell, :, None].to(images)
            own = images[:, 0] / 2 + (images[:, 1:-2] * weight).sum(1)
            images = torch.cat([own[:, None], images[:, 1:]], dim=1)
            slopes.append(images * number[:, shell, None, None].to(images))
        moved = self._distortion_slopes(theta, width, basis)
        return torch.cat([*slopes, moved, torch.zeros_like(own)[:, None]], dim=1)

    def _distortion_slopes(
        self, theta: torch.Tensor, width: torch.Tensor, basis: ShellBasis
    ) -> torch.Tensor:
        """Compute derivatives (n, 4, n_pixels) of expected counts by the distortion."""
        number, beta = self.log_number(theta).exp(), self.beta(theta)
        # The expected image has all 12 coefficients.
        beta = torch.nn.functional.pad(beta, (0, N_BETAS - self.n_betas))
        tilt, ellipticity, center = self.distortion(theta).values()
        steps = _SHIFT * torch.eye(2).to(center)
        moved = torch.stack(
            [
                basis.expected(
                    beta,
                    self.radius(theta),
                    width,
                    number,
                    tilt=tilt,
                    ellipticity=ellipticity,
                    center=center + shift,
                ).flatten(1)
                for shift in torch.cat([steps, -steps])
            ],
            dim=1,
        )
        by_center = (moved[:, :2] - moved[:, 2:]) / (2 * _SHIFT)
        # Tilt and ellipticity move each pixel by a known distance.
        places = basis.pixel_places() - center[:, None]
        here = detector_matrix(tilt, ellipticity)
        turned = detector_matrix(tilt + _STEP, ellipticity)
        stretched = detector_matrix(tilt, ellipticity + _STEP)
        slopes = []
        for there in (turned, stretched):
            change = (there - here) / _STEP @ torch.linalg.inv(here)
            move = (places @ change.mT).mT.to(by_center)
            slopes.append((by_center * move).sum(1))
        return torch.cat([torch.stack(slopes, dim=1), by_center], dim=1)
