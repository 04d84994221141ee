# SPDX-License-Identifier: BSD-3-Clause
from ._fit import fit as fit
