import os
import signal

import pytest

from dxa_monai.runs.interruption import Interruption


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    with Interruption() as interruption:
        assert interruption.received is None
        interruption.stop()  # nothing to stop for
        os.kill(os.getpid(), number)
        assert interruption.received == number
        with pytest.raises(raised):
            interruption.stop()
        with pytest.raises(raised):
            os.kill(os.getpid(), number)


def test_outside_signals_mean_what_they_did() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruption.received is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_exits_with_the_status_of_a_shell() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            interruption.stop()
    assert caught.value.code == 143
