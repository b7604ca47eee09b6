# SPDX-License-Identifier: BSD-3-Clause
"""The documentation tells the truth, where a machine can tell."""
import os
import re

import lab


def read(*path):
    with open(os.path.join(lab.ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_drop_reasons_are_those_of_the_sources():
    made = lab.run(os.path.join(lab.ROOT, "scripts/lib/drops-doc")).stdout
    assert made == read("docs", "drops.md")


def test_links_lead_somewhere():
    for name in ["README.md"] + [f"docs/{n}" for n in os.listdir(os.path.join(lab.ROOT, "docs"))]:
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", read(name)):
            path = os.path.join(lab.ROOT, os.path.dirname(name), target)
            assert os.path.exists(path), f"{name} links to {target}"


def test_options_are_documented():
    help_text = lab.run(os.path.join(lab.build_dir(), "app/dpdk-wg"), "--help").stdout
    operations = read("docs", "operations.md")
    for option in set(re.findall(r"--[a-z-]+", help_text)):
        assert option in operations or option in read("README.md"), option


def test_tests_of_the_protocol_exist():
    """docs/protocol.md names tests as file.function."""
    functions = set()
    for directory, _, names in os.walk(os.path.join(lab.ROOT, "tests")):
        for name in names:
            found = re.fullmatch(r"test_(\w+)\.(c|py)", name)
            if found:
                code = read(directory, name)
                functions |= {f"{found[1]}.{function}" for function
                              in re.findall(r"^(?:def|static void) (\w+)\(", code, re.M)}
    named = set(re.findall(r"`(\w+\.\w+)`", read("docs", "protocol.md"))) - {"file.function"}
    assert len(named) > 100 and named <= functions, sorted(named - functions)


def test_named_tests_are_there():
    """Each "meson test -C build NAME" of the documentation."""
    listed = {line.split(" / ")[-1] for line in
              lab.run("meson", "test", "-C", lab.build_dir(), "--list", "--no-rebuild").stdout.splitlines()}
    named = set()
    for name in ["README.md"] + [f"docs/{n}" for n in os.listdir(os.path.join(lab.ROOT, "docs"))]:
        if name.endswith(".md"):
            named |= set(re.findall(r"meson test -C \S+ (\w+)", read(name)))
    assert named and named <= listed, named - listed
