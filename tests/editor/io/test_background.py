import threading

import pytest

from editor.io.background import run_in_background


def test_value_is_computed_in_another_thread() -> None:
    assert run_in_background(threading.get_ident).result() != threading.get_ident()


def test_result_raises_the_error_of_the_computation() -> None:
    with pytest.raises(ZeroDivisionError):
        run_in_background(lambda: 1 // 0).result()
