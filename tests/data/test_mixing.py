from ignite.data._mixing import mix


def test_the_first_values_are_those_of_splitmix64():
    # The reference generator started at 0 gives the finalised multiples of the golden gamma.
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4
    assert mix(2 * 0x9E3779B97F4A7C15) == 0x06C45D188009454F


def test_neighbours_have_seeds_of_their_own():
    seeds = {mix(seed, epoch, number) for seed in range(20) for epoch in range(20) for number in range(100)}
    assert len(seeds) == 20 * 20 * 100
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_order_of_the_numbers_matters_and_so_does_how_many_there_are():
    assert len({mix(1, 2, 3), mix(1, 3, 2), mix(3, 2, 1), mix(1, 2), mix(1, 2, 0)}) == 5


def test_each_bit_of_the_result_depends_on_the_number():
    ones = [sum(mix(7, number) >> bit & 1 for number in range(1000)) for bit in range(64)]
    assert all(400 < count < 600 for count in ones)


def test_large_and_negative_seeds_count_with_their_lowest_64_bits():
    assert mix(-1) == mix(2**64 - 1)
    assert mix(1, 2**64 + 5) == mix(1, 5)
