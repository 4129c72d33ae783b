"""Which tests run in the same process, when `make test` runs them in several."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

BROWSER = "tests/browser/"

# Their fixtures of a module take 5 to 20 s.
MODULES = {
    "tests/accounting/test_usage_totals.py",
    "tests/contracts/test_limits_contract.py",
    "tests/observability/test_database_away.py",
    "tests/chatsite/test_configuration.py",
}


class BySharedServers(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What shares servers stays together, so that they start once; any other test runs where there is room.

    pytest-xdist has `--dist loadgroup` for this, which groups nothing with pytest 9.2 (its issue 1386).

    The first of several workers has the tests with a browser and no others: most of their time is waiting, which the
    other workers use, and after one of them no test can have an event loop in that process.
    """

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if module.startswith(BROWSER) or module in MODULES:
            return module
        if module.startswith("tests/faults/"):  # each test has its place's name, such as `uvicorn-sqlite-2`
            return "-".join(test.rpartition("[")[2].rstrip("]").split("-")[:3])
        return nodeid

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker the first of what waits for it; whoever has nothing else helps with the browser's tests."""
        is_browsers = len(self.nodes) > 1 and node is self.nodes[0]
        own = (scope for scope in self.workqueue if scope.startswith(BROWSER) == is_browsers)
        if (scope := next(own, None)) is not None:
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        """Give a worker more to do, or end it where only tests without a browser are left for one that had some."""
        had_browser = any(scope.startswith(BROWSER) for scope in self.assigned_work[node])
        if not had_browser or any(scope.startswith(BROWSER) for scope in self.workqueue):
            super()._reschedule(node)
        elif not node.shutting_down:
            node.shutdown()
