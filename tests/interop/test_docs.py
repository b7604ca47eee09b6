# SPDX-License-Identifier: BSD-3-Clause
"""The documentation tells the truth, where a machine can tell."""
import ast
import collections
import os
import re

import lab


def read(*path):
    with open(os.path.join(lab.ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_drop_reasons_are_those_of_the_sources():
    made = lab.run(os.path.join(lab.ROOT, "scripts/lib/drops-doc")).stdout
    assert made == read("docs", "drops.md")


def pages():
    return ["README.md", "CONTRIBUTING.md"] + [f"docs/{name}" for name in
                                               os.listdir(os.path.join(lab.ROOT, "docs")) if name.endswith(".md")]


def headings(page):
    """As links name them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", read(page), re.M)}


def test_links_lead_somewhere():
    followed = 0
    for page in pages():
        for target, heading in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", read(page)):
            path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
            assert os.path.exists(os.path.join(lab.ROOT, path)), f"{page} links to {target}"
            assert not heading or heading in headings(path), f"{page} links to {target}#{heading}"
            followed += 1
    assert followed > 30


def test_stages_are_those_of_the_sources():
    """docs/architecture.md has the packet's two ways, as a list each."""
    stages = re.findall(r"X\(DP_STAGE_\w+, \"(\w+)\", \"(\w+)\"\)", read("lib", "datapath", "stages.h"))
    text = read("docs", "architecture.md")
    for way in "inbound", "outbound":
        part = re.search(rf"^## .*`lib/datapath/{way}\.c`\n(.*?)^## ", text, re.M | re.S)[1]
        made = [name for direction, name in stages if direction == way]
        assert re.findall(r"^\d+\. (\w+):", part, re.M) == made and len(made) > 5


def test_options_are_documented():
    help_text = lab.run(os.path.join(lab.build_dir(), "app/dpdk-wg"), "--help").stdout
    operations = read("docs", "operations.md")
    for option in set(re.findall(r"--[a-z-]+", help_text)):
        assert option in operations or option in read("README.md"), option


def named_in(text):
    """The tests that a text names as `file.function`."""
    return set(re.findall(r"`(\w+\.\w+)`", text)) - {"file.function"}


def files_of_tests():
    """(stem, kind, text) of each file of tests: two may have the same stem, in different places."""
    for directory, _, names in os.walk(os.path.join(lab.ROOT, "tests")):
        for name in names:
            if found := re.fullmatch(r"test_(\w+)\.(c|py)", name):
                yield found[1], found[2], read(directory, name)


def test_tests_of_the_protocol_exist():
    """docs/protocol.md names tests as file.function, and means one."""
    functions = collections.Counter(
        f"{stem}.{function}" for stem, _, code in files_of_tests()
        for function in set(re.findall(r"^(?:def|static void) (\w+)\(", code, re.M)))
    named = named_in(read("docs", "protocol.md"))
    wrong = {name: functions[name] for name in named if functions[name] != 1}
    assert len(named) > 100 and not wrong, wrong


def full_only(stem, code):
    """The tests of a file of Python that are marked, one by one or all at once."""
    body = ast.parse(code).body
    whole = any(isinstance(node, ast.Assign) and ast.unparse(node) == "pytestmark = full_only"
                for node in body)
    return {f"{stem}.{node.name}" for node in body if isinstance(node, ast.FunctionDef)
            and (whole or "full_only" in map(ast.unparse, node.decorator_list))}


def test_what_only_the_full_run_has_is_told():
    """docs/protocol.md says which tests of its rows do not run every day; those are the marked ones."""
    page = read("docs", "protocol.md")
    marked = set().union(*(full_only(stem, code) for stem, kind, code in files_of_tests() if kind == "py"))
    rows = named_in("\n".join(line for line in page.splitlines() if line.startswith("|")))
    told = named_in(re.search(r"^With `scripts/test --full` alone run (.*?);", page, re.M | re.S)[1])
    assert told and told == marked & rows, told ^ (marked & rows)


def test_named_tests_are_there():
    """Each "meson test -C build NAME" of the documentation."""
    listed = {line.split(" / ")[-1] for line in
              lab.run("meson", "test", "-C", lab.build_dir(), "--list", "--no-rebuild").stdout.splitlines()}
    named = set()
    for page in pages():
        named |= set(re.findall(r"meson test -C \S+ (\w+)", read(page)))
    assert named and named <= listed, named - listed
