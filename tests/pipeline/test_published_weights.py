"""Published checkpoints: laid into our networks by their official names, never ranked, and refused where they do not fit.

No published file is at hand: checkpoints are written in the official layout from our own networks.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cli import run_command
from bench.data.cases import load_dataset
from bench.pipeline.published import fill_networks
from bench.plugins.config import resolve
from bench.plugins.published_weights import Published
from bench.plugins.registry import get_dataset, get_method, method_module
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.runs.predictions import read_volume
from bench.system.files import digest_of, sha256_of

SET = ("data.phantoms=[8,2,7]",)
