"""What several test files share."""

import pytest


@pytest.fixture
def drawn_and_closed():
    """Draw each figure of a test after it, since what only fails when drawn fails then, and close them all."""
    import matplotlib.pyplot as plt  # here: most test files draw nothing

    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")
