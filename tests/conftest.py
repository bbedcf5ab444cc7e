"""What every test of the project shares."""

import os

# Before numpy and torch are imported: one thread a process, as in the workflow.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter):
    """The labels that faults on the cluster left, by the tests that counted them."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    noted = [value for r in reports for key, value in r.user_properties if key == "counts"]
    if noted:
        terminalreporter.section("labels computed / lost / repeated")
        for what, *counts in sorted(noted):
            terminalreporter.write_line(f"{' / '.join(map(str, counts)):>12}   {what}")
