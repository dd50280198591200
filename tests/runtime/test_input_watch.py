"""The part of the time in which devices wait for pictures."""

import pytest

from metastyle_jax.runtime.input_watch import InputWatch
from metastyle_jax.training import training_advice


def test_only_batches_that_come_after_their_step_count():
    now = [0.0]
    watch = InputWatch(lambda: now[0])

    def take(seconds: float):
        now[0] += seconds
        return "batch"

    assert watch.get(lambda: take(3.0), lambda: False) == "batch"  # the step ran longer
    watch.get(lambda: take(1.0), lambda: True)
    take(4.0)
    assert watch.share() == pytest.approx(1 / 8)
    take(2.0)
    assert watch.share() == 0  # counted anew


@pytest.mark.parametrize(
    ("share", "line"),
    [
        (0.02, "the devices are the bottleneck: they waited for pictures 2% of the time"),
        (0.6, "the input is the bottleneck, not the devices: they waited for pictures 60% of"),
    ],
)
def test_one_line_says_what_limits_the_rate(share, line, caplog):
    caplog.set_level("INFO")
    measured = training_advice.bottleneck(lambda: share)
    assert [measured(True) for _ in range(2)] == 2 * [{"input_wait": share}]
    assert not caplog.records  # the time of the compiler says nothing
    assert [measured(False) for _ in range(4)] == 4 * [{"input_wait": share}]
    (record,) = caplog.records
    assert record.getMessage().startswith(line)
