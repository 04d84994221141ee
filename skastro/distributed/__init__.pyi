# SPDX-License-Identifier: BSD-3-Clause
from ._fit import fit as fit
from ._predict import predict as predict
