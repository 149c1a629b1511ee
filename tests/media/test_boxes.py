import numpy as np

from vostool.media.boxes import boxes_around


def test_boxes_hold_all_objects_with_a_margin_and_do_not_overlap() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:15, 5:10] = labels[12:20, 40:45] = labels[50, 79] = 1
    labels[12:20, 50] = 2  # so near that margins meet
    boxes = [
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in boxes_around(labels, 3)
    ]
    assert boxes == [(7, 23, 2, 13), (7, 23, 37, 54), (47, 54, 76, 83)]
    assert list(boxes_around(np.zeros((5, 5), np.uint8), 3)) == []
