"""Work by several threads: in order, a little ahead, and with the errors of each item."""

import threading
import time

import pytest

from monai_sam2unet.benchmark.ahead import in_order


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order(threads):
    def work(number):
        time.sleep(0.02 if number % 3 == 0 else 0)  # later ones are done first
        return number * number

    assert list(in_order(work, range(20), threads)) == [n * n for n in range(20)]
    assert list(in_order(work, [], threads)) == []


def test_threads_work_at_once_and_only_a_little_ahead():
    together, taken = threading.Barrier(2, timeout=20), []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: together.wait() >= 0 and number, items(), 2)
    assert next(results) == 0  # one thread alone would wait for the other
    assert len(taken) == 4  # two for each thread
    assert [next(results) for _ in range(3)] == [1, 2, 3] and len(taken) == 7
    together.abort()
    results.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_the_first_error_ends_it(threads):
    done = []

    def work(number):
        if number == 2:
            raise ValueError("no picture")
        done.append(number)
        return number

    results = in_order(work, range(1000), threads)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="no picture"):
        next(results)
    assert len(done) < 10
