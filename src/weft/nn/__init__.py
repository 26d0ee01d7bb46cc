"""Neural network layers, with PyTorch's names."""

from weft.nn import functional, init
from weft.nn.activation import GELU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh
from weft.nn.attention import MultiheadAttention, TransformerEncoderLayer
from weft.nn.container import ModuleList, Sequential
from weft.nn.dropout import Dropout
from weft.nn.embedding import Embedding
from weft.nn.linear import Flatten, Identity, Linear
from weft.nn.loss import CrossEntropyLoss, MSELoss
from weft.nn.module import Module
from weft.nn.normalization import LayerNorm, RMSNorm
from weft.nn.parameter import Parameter

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TransformerEncoderLayer",
    "functional",
    "init",
]
