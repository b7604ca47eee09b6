# SPDX-License-Identifier: BSD-3-Clause
"""What takes minutes runs with DPDK_WG_FULL=yes only, which is `scripts/test --full`."""
import os

import pytest

FULL = os.environ.get("DPDK_WG_FULL") == "yes"
full_only = pytest.mark.skipif(not FULL, reason="takes long: DPDK_WG_FULL=yes")
