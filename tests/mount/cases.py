"""unittest's test cases in scripts that run.py runs.

Each test says `ok NAME`, `FAIL NAME` or `skip NAME`, as tests on harness.py do,
and may be marked with harness.waits as they are.
"""
import contextlib
import sys
import time
import traceback
import unittest


class Result(unittest.TestResult):
    """One line for each test, behind the trace of its failure."""

    def startTest(self, test):
        super().startTest(test)
        self.begun, self.word = time.monotonic(), "ok"

    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self.begun
        print(f"{self.word} {name_of(test)} ({took:.1f} s)", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.word = "skip"
        print(f"  {reason}")

    def failed(self, err):
        self.word = "FAIL"
        traceback.print_exception(*err, file=sys.stdout)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed(err)

    def addError(self, test, err):
        super().addError(test, err)
        self.failed(err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            print(f"  {subtest}")
            self.failed(err)


def name_of(test):
    return f"{type(test).__name__}.{test.id().rsplit('.', 1)[1]}"


def flat(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from flat(part)
        else:
            yield part


def main(all_wait=False, inside=contextlib.nullcontext):
    """Run the cases of the script that calls; see harness.main."""
    wanted = sys.argv[1:]
    tests = list(flat(unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules["__main__"])))
    if wanted == ["--list"]:
        for t in tests:
            wait = hasattr(getattr(t, t.id().rsplit(".", 1)[1]), "waits")
            print("waits" if all_wait or wait else "alone", name_of(t))
        return 0
    if wanted:
        tests = [t for t in tests if name_of(t) in wanted]
    if not tests:
        sys.exit("no such test: " + " ".join(wanted))
    result = Result()
    with inside():
        unittest.TestSuite(tests).run(result)
    if not result.wasSuccessful():
        return 1
    return 77 if len(result.skipped) == len(tests) else 0
