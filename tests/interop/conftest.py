# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a gateway with one stock client, in the lab's standard topology."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402


def pytest_configure():
    """Ended by a signal, as by a timeout, a run takes its labs down as it does at the keyboard."""
    def interrupt(_number, _frame):
        for number in ended_by:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    ended_by = (signal.SIGTERM, signal.SIGHUP)
    for number in ended_by:
        signal.signal(number, interrupt)


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
