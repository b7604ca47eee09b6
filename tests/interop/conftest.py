# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a gateway with one stock client, in the lab's standard topology."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402


@pytest.fixture
def topology():
    with lab.Topology() as made:
        yield made


@pytest.fixture
def site(topology):
    return lab.Site(topology)


@pytest.fixture
def make_site(topology):
    return lambda **options: lab.Site(topology, **options)
