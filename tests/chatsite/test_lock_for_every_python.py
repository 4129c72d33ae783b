"""The lock holds what every supported Python needs, on Linux: pip takes nothing that is not in it.

redis wants async-timeout below Python 3.11.3; a lock made by a newer Python lacked it, and Debian's 3.11.2 could not
install. `make check-lock` asks the registry the same; here the packages' own metadata say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.server import ROOT

# The oldest, those on both sides of what packages are known to ask for, Debian 12's, and the newest.
PYTHONS = (
    "3.11.0",
    "3.11.2",
    "3.11.3",
    "3.11.4",
    "3.11.15",
    "3.12.0",
    "3.12.12",
    "3.13.0",
    "3.13.9",
    "3.14.0",
    "3.14.9",
)
LOCKS = ("requirements", "requirements-dev")


def make_marker_environment(python: str) -> dict[str, str]:
    """Return the values that dependency markers are compared with by that Python on Linux."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "implementation_version": python,
    }


def read_lock(name: str) -> list[tuple[Requirement, int]]:
    """Return what a lock pins, each with the number of its hashes."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / f"{name}.txt").read_text())
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return [(Requirement(line.partition(" --hash")[0]), line.count("--hash=sha256:")) for line in lines]


def find_pins(name: str, python: str) -> dict[str, str]:
    """Return the versions by package that this Python installs."""
    there = make_marker_environment(python)
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin, _ in read_lock(name)
        if pin.marker is None or pin.marker.evaluate(there)
    }


def list_requirements(name: str) -> list[Requirement]:
    """Return what the `.in` file names; the dev file includes the other's lock."""
    files = ("requirements", name) if name != "requirements" else (name,)
    lines = [line for file in files for line in (ROOT / f"{file}.in").read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def needs_of(requirement: Requirement, python: str) -> Iterator[Requirement]:
    """Return what a package needs there, with its extras. One that is not installed here needs nothing that we know."""
    there = make_marker_environment(python)
    try:
        found = requires(requirement.name) or []
    except PackageNotFoundError:
        return
    for need in map(Requirement, found):
        extras = {"", *requirement.extras}
        if need.marker is None or any(need.marker.evaluate({**there, "extra": extra}) for extra in extras):
            yield need


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_all_that_is_needed_is_pinned(name: str, python: str) -> None:
    pinned = find_pins(name, python)
    todo = list_requirements(name)
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        package = canonicalize_name(requirement.name)
        if (key := (package, frozenset(requirement.extras))) in seen:
            continue
        seen.add(key)
        assert package in pinned, f"Python {python} lacks {requirement}"
        assert requirement.specifier.contains(pinned[package], prereleases=True), (requirement, pinned[package])
        todo += needs_of(requirement, python)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_one_version_for_each_python(name: str) -> None:
    lock = read_lock(name)
    for pin, hashes in lock:
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), pin
        assert hashes, f"{pin} has no hash"
    for python in PYTHONS:
        there = make_marker_environment(python)
        names = [canonicalize_name(pin.name) for pin, _ in lock if pin.marker is None or pin.marker.evaluate(there)]
        assert len(names) == len(set(names)), python


@pytest.mark.parametrize("name", LOCKS)
def test_pinned_packages_run_on_every_python(name: str) -> None:
    for python in PYTHONS:
        for package, version in find_pins(name, python).items():
            try:
                found = metadata(package)
            except PackageNotFoundError:
                continue
            if "Requires-Python" in found and found["Version"] == version:
                needed = found["Requires-Python"]
                assert SpecifierSet(needed).contains(python), f"{package} {version} needs Python {needed}"


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_is_named(name: str) -> None:
    text = (ROOT / f"{name}.txt").read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_the_tests_install_the_versions_that_the_site_runs_with() -> None:
    for python in PYTHONS:
        site, tests = (find_pins(name, python) for name in LOCKS)
        assert site.items() <= tests.items()
