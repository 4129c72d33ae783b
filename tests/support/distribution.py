"""Which tests run in the same process, when `make test` runs them in several."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

MODULES = {
    "tests/contracts/test_limits_contract.py",
    "tests/observability/test_database_away.py",
    "tests/chatsite/test_configuration.py",
}


class BySharedServers(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What shares servers stays together, so that they start once; any other test runs where there is room.

    pytest-xdist has `--dist loadgroup` for this, which groups nothing with pytest 9.2 (its issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if module.startswith("tests/browser/") or module in MODULES:
            return module
        if module.startswith("tests/faults/"):  # each test has its place's name, such as `uvicorn-sqlite-2`
            return "-".join(test.rpartition("[")[2].rstrip("]").split("-")[:3])
        return nodeid
