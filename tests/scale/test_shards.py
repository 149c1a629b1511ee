import pytest

from vostool.errors import UsageError
from vostool.scale.shards import WHOLE, Shard


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_shards_deal_every_task_to_one_of_them(count: int) -> None:
    tasks = range(10)
    dealt = [task for number in range(count) for task in Shard(number + 1, count).own(tasks)]
    assert sorted(dealt) == list(tasks)


def test_the_whole_is_one_shard_without_others() -> None:
    assert list(WHOLE.own([3, 1, 2])) == [3, 1, 2]
    assert list(WHOLE.others()) == []


def test_the_others_of_a_shard_begin_with_the_next_one() -> None:
    assert [str(other) for other in Shard(3, 4).others()] == ["4/4", "1/4", "2/4"]


def test_a_shard_is_written_as_its_number_and_how_many_there_are() -> None:
    assert Shard.parse("3/16") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4", "1/2/3", "", "١/٢"])
def test_what_is_no_shard_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected NUMBER/COUNT"):
        Shard.parse(text)
