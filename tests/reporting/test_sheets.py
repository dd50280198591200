"""Contact sheets: where the pictures land, what is drawn beside them, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from metastyle_jax.reporting.sheets import GUTTER, contact_sheet

RED = np.array([255, 0, 0], np.uint8)


def plain(height: int, width: int, color=(1.0, 0.0, 0.0)) -> np.ndarray:
    return np.broadcast_to(np.float32(color), (height, width, 3))


def test_one_square_fills_its_cell():
    sheet = contact_sheet([[plain(16, 16)]], cell=16)
    assert sheet.dtype == np.uint8 and sheet.shape == (16 + 2 * GUTTER, 16 + 2 * GUTTER, 3)
    assert (sheet[GUTTER:-GUTTER, GUTTER:-GUTTER] == RED).all()
    for edge in (sheet[:GUTTER], sheet[-GUTTER:], sheet[:, :GUTTER], sheet[:, -GUTTER:]):
        assert (edge == 255).all()


@pytest.mark.parametrize(("height", "width"), [(10, 40), (5, 20), (100, 400)])
def test_proportions_are_kept_and_the_rest_is_white(height, width):
    sheet = contact_sheet([[plain(height, width)]], cell=40)
    red = (sheet == RED).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1]) == (GUTTER + 15, GUTTER + 24)
    assert (columns[0], columns[-1]) == (GUTTER, GUTTER + 39)
    assert (sheet[~red] == 255).all()


def test_a_line_of_pixels_is_still_there():
    assert (contact_sheet([[plain(1, 500)]], cell=20) == RED).all(axis=2).sum() == 20


def test_none_and_short_rows_are_empty_cells():
    sheet = contact_sheet([[None, plain(8, 8)], [plain(8, 8)], []], cell=8)
    assert sheet.shape == (3 * 8 + 4 * GUTTER, 2 * 8 + 3 * GUTTER, 3)
    red = (sheet == RED).all(axis=2)
    step = 8 + GUTTER
    filled = [[red[GUTTER + step * r, GUTTER + step * c] for c in range(2)] for r in range(3)]
    assert filled == [[False, True], [True, False], [False, False]]
    assert red.sum() == 2 * 64


def test_values_out_of_range_and_nan_do_not_break_it():
    picture = np.full((8, 8, 3), np.nan, np.float32)
    picture[:4] = 7.0
    sheet = contact_sheet([[picture]], cell=8)
    assert (sheet[GUTTER : GUTTER + 4] == 255).all()
    assert (sheet[GUTTER + 4 : -GUTTER, GUTTER:-GUTTER] == 0).all()


def test_titles_add_margins_with_dark_text_and_move_the_pictures_only():
    rows = [[plain(64, 64)] * 2] * 2
    bare = contact_sheet(rows, cell=64)
    titled = contact_sheet(rows, column_titles=("one", "two"), row_titles=("a", "b"), cell=64)
    top, left = titled.shape[0] - bare.shape[0], titled.shape[1] - bare.shape[1]
    assert top > 0 and left > 0
    np.testing.assert_array_equal(titled[top:, left:], bare)
    assert titled[:top].min() < 100 and titled[:, :left].min() < 100
    # text above each column and beside each row
    first = slice(left, left + 64 + GUTTER)
    assert titled[:top, first].min() < 100 and titled[:top, first.stop :].min() < 100
    assert titled[top : top + 64, :left].min() < 100 and titled[top + 68 :, :left].min() < 100


def test_long_titles_stay_in_their_cells_and_any_text_is_drawn():
    row = [plain(64, 64), plain(64, 64)]
    sheet = contact_sheet([row], column_titles=["W" * 500], row_titles=["W" * 500], cell=64)
    assert sheet.shape[1] < 64 * 3 + 8 * GUTTER
    top = sheet.shape[0] - 64 - 2 * GUTTER
    assert (sheet[:top, -64 - GUTTER :] == 255).all()  # nothing above the second column
    contact_sheet([row], column_titles=["é ☃ \n second line", ""], cell=64)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([], {}),
        ([[]], {}),
        ([[plain(8, 8)]], {"cell": 4}),
        ([[plain(8, 8)]], {"column_titles": ("a", "b")}),
        ([[plain(8, 8)]], {"row_titles": ("a", "b")}),
        ([[np.zeros((8, 8), np.float32)]], {}),
        ([[np.zeros((0, 8, 3), np.float32)]], {}),
    ],
)
def test_what_is_refused(rows, options):
    with pytest.raises(ValueError, match=r"cells|titles|shape"):
        contact_sheet(rows, **options)
