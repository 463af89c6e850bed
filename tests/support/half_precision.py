"""What tests of products of 16-bit numbers need."""

import os

import pytest

needs_16_bits = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ, reason="TensorFlow hands oneDNN products that it may not compute"
)
EPSILON = {"bfloat16": 2**-7, "float16": 2**-10}  # the distance from 1 to the next number
