from vostool.media.codecs import can_decode, can_encode


def test_codecs_of_the_product_are_there_and_others_are_not() -> None:
    assert can_decode("h264")
    assert can_encode("libx264")
    assert not can_decode("libx264")
    assert not can_encode("no-such-codec")
