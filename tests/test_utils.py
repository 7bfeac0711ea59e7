import ignite._utils
import ignite.utils


def test_the_front_door_leads_to_the_rooms_behind():
    assert ignite._utils.convert_tensor is ignite.utils.convert_tensor
    for name in ignite.utils.__all__:
        assert hasattr(ignite.utils, name)
