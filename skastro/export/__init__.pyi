# SPDX-License-Identifier: BSD-3-Clause
from ._quantize import quantize as quantize
from ._to_onnx import to_onnx as to_onnx
from .runtime import OnnxModel as OnnxModel
from .runtime import load_onnx as load_onnx
