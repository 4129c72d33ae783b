"""The programs that the tests need: `.ci/needs` brings them, and says what it could not bring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT

# What the script itself runs.
TOOLS = ("bash", "dirname", "tr", "env", "cat", "chmod")

# Stand-ins for what it asks for. apt brings what `shelf` names, and says that it did.
APT = """\
#!/bin/bash
[ "$1" = update ] && exit 0
echo "$@" >> {directory}/apt.log
for package in "${{@:2}}"; do
    case " {shelf} " in *" $package "*) ;; *) continue;; esac
    name=$package
    case $package in
        prometheus) name=promtool;;
        redis) name=redis-server;;
        postgresql) name=postgres;;
    esac
    printf '#!/bin/bash\\n' > {directory}/$name
    chmod +x {directory}/$name
done
"""
ID = "#!/bin/bash\necho {uid}\n"
FAILS = "#!/bin/bash\nexit 1\n"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with nothing but the script's own tools, on which nobody may install anything."""
    for tool in TOOLS:
        [found] = [path for path in (Path("/bin") / tool, Path("/usr/bin") / tool) if path.exists()][:1]
        (tmp_path / tool).symlink_to(found)
    stand_in(tmp_path, "id", ID.format(uid=1000))
    stand_in(tmp_path, "make", FAILS)  # Playwright brings nothing
    return tmp_path


def stand_in(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)


def needs(bare: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": str(bare), "HOME": str(bare), "PLAYWRIGHT_BROWSERS_PATH": str(bare), **environment}
    script = ROOT / ".ci" / "needs"
    return subprocess.run([script], env=given, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_missing_and_cannot_be_brought_is_one_sentence(bare: Path) -> None:
    ended = needs(bare)
    assert ended.returncode == 0
    [sentence, consequence] = ended.stderr.splitlines()
    assert sentence.startswith("Missing for the tests: chromium, ")
    assert "apt-get install chromium " in sentence
    assert "redis" in sentence
    assert consequence == "The tests that need it are left out, and listed at the end."


def test_in_ci_a_missing_program_is_a_failure(bare: Path) -> None:
    ended = needs(bare, CI="true")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Missing for the tests: ")


@pytest.mark.parametrize("may", ["root", "sudo"])
def test_missing_programs_are_installed_by_root_or_sudo(bare: Path, may: str) -> None:
    everything = "chromium nginx openssl postgresql prometheus redis"
    stand_in(bare, "apt-get", APT.format(directory=bare, shelf=everything))
    if may == "root":
        stand_in(bare, "id", ID.format(uid=0))
    else:
        stand_in(bare, "sudo", '#!/bin/bash\n[ "$1" = -n ] && shift\n"$@"\n')
    (bare / "true").symlink_to("/bin/true")
    ended = needs(bare, CI="true")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert " chromium" in (bare / "apt.log").read_text()
    again = needs(bare, CI="true")
    assert (again.returncode, again.stdout) == (0, "")


def test_sudo_that_wants_a_password_is_not_used(bare: Path) -> None:
    stand_in(bare, "apt-get", APT.format(directory=bare, shelf="chromium"))
    stand_in(bare, "sudo", FAILS)
    assert needs(bare).returncode == 0
    assert not (bare / "apt.log").exists()


def test_an_unavailable_package_does_not_stop_the_others(bare: Path) -> None:
    stand_in(bare, "apt-get", APT.format(directory=bare, shelf="nginx openssl postgresql prometheus redis"))
    stand_in(bare, "id", ID.format(uid=0))
    ended = needs(bare)
    assert ended.stderr.startswith("Missing for the tests: chromium; ")


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_tests_without_their_program_are_skipped_and_fail_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    test = "tests/browser/test_reading_direction.py::test_a_command_in_an_arabic_sentence_reads_from_left_to_right"
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "--maxfail=1", "-ra", test]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHROMIUM", "CI", "PYTEST"))}
    given = {**kept, "PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "CI": ci}
    ended = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert outcome in ended.stdout, ended.stdout
    assert "chromium is not installed: .ci/needs installs it where it may" in ended.stdout
    assert (ended.returncode == 0) == (not ci)
