"""Names of what can run a model. This module imports no runtime, so that the command line can name them."""

from typing import Literal, get_args

Provider = Literal["auto", "cuda", "tensorrt", "openvino", "cpu"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
