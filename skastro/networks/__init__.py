# SPDX-License-Identifier: BSD-3-Clause
"""Networks: PyTorch modules that are told their sizes, and a registry of names."""

# Importing the file of a network registers its names. A new network takes one line
# here, ``from skastro.networks.mine import Mine as Mine``; public ones are listed in
# ``__all__`` as well.
from skastro.networks.convnet import ConvNet
from skastro.networks.densenet import SEDenseNet
from skastro.networks.mlp import MLP
from skastro.networks.polar import PolarNet
from skastro.networks.redshift import RedshiftNet
from skastro.networks.registry import available_modules, get_module, register
from skastro.networks.resnet import ResNet
from skastro.networks.vae import ConvVAE

__all__ = [
    "MLP",
    "ConvNet",
    "ConvVAE",
    "PolarNet",
    "RedshiftNet",
    "ResNet",
    "SEDenseNet",
    "available_modules",
    "get_module",
    "register",
]
