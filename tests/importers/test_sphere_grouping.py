"""Readers' places of one nodule: against volumes counted point by point, and the distances that points allow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noduleclip.importers.annotations import Sphere
from noduleclip.importers.grouping import LEAST_OVERLAP
from noduleclip.importers.sphere_grouping import POINT_MM, group_spheres, number_spheres, shared_volume


def sphere(x: float, diameter_mm: float | None, reader: str, z: float = 0.0) -> Sphere:
    return Sphere("1.2", (x, 0.0, z), diameter_mm, reader=reader)


@pytest.mark.parametrize(
    ("apart_mm", "radius_mm", "other_mm"), [(3.0, 4.0, 4.0), (5.0, 6.0, 2.0), (0.0, 3.0, 5.0), (9.0, 4.0, 4.0)]
)
def test_a_shared_volume_is_that_of_points_counted_one_by_one(
    apart_mm: float, radius_mm: float, other_mm: float
) -> None:
    side = np.linspace(-6, 6, 121)
    x, y, z = np.meshgrid(side, side, side, indexing="ij")
    inside = x**2 + y**2 + z**2 <= radius_mm**2
    inside &= (x - apart_mm) ** 2 + y**2 + z**2 <= other_mm**2
    (found,) = shared_volume(np.array([apart_mm]), np.array([other_mm]), radius_mm)
    assert found == pytest.approx(inside.sum() * 0.1**3, rel=0.02, abs=0.05)


def group_slowly(spheres: list[Sphere]) -> set[frozenset[int]]:
    """The rule, pair by pair."""
    size = [(one.diameter_mm or POINT_MM) / 2 for one in spheres]
    alike: dict[frozenset[int], float] = {}
    for one in range(len(spheres)):
        for two in range(one + 1, len(spheres)):
            apart = np.array([math.dist(spheres[one].center_mm, spheres[two].center_mm)])
            (shared,) = shared_volume(apart, np.array([size[two]]), size[one])
            volumes = [4 / 3 * math.pi * size[at] ** 3 for at in (one, two)]
            if spheres[one].reader != spheres[two].reader and shared >= LEAST_OVERLAP * min(volumes):
                alike[frozenset((one, two))] = shared / (sum(volumes) - shared)
    groups = [{at} for at in range(len(spheres))]
    for pair in sorted(alike, key=lambda pair: (-alike[pair], *sorted(pair))):
        first, second = (next(group for group in groups if at in group) for at in sorted(pair))
        if first is not second and all(frozenset((a, b)) in alike for a in first for b in second):
            groups.remove(second)
            first |= second
    return {frozenset(group) for group in groups}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30), st.integers(0, 12), st.sampled_from((None, 3.0, 6.0, 15.0)), st.sampled_from("123")
        ),
        max_size=12,
    )
)
def test_groups_are_those_of_the_rule(places: list[tuple[int, int, float | None, str]]) -> None:
    spheres = [sphere(x * 1.01, size, reader, z * 1.03) for x, z, size, reader in places]
    assert {frozenset(group) for group in group_spheres(spheres)} == group_slowly(spheres)


def test_points_of_two_readers_up_to_five_millimetres_apart_are_one_nodule() -> None:
    for z in (0.0, 1.0):  # whatever the direction
        near = [sphere(0, None, "1"), sphere(4.8 * (1 - z), None, "2", 4.8 * z)]
        far = [sphere(0, None, "1"), sphere(5 * (1 - z), None, "2", 5 * z)]
        assert (group_spheres(near), group_spheres(far)) == ([[0, 1]], [[0], [1]])


def test_a_point_in_a_large_sphere_is_the_same_nodule() -> None:
    assert group_spheres([sphere(0, 30.0, "1"), sphere(12, None, "2"), sphere(40, None, "2")]) == [[0, 1], [2]]


def test_places_without_a_reader_are_of_one() -> None:
    assert group_spheres([sphere(0, 5.0, ""), sphere(0.1, 5.0, "")]) == [[0], [1]]
    assert group_spheres([sphere(0, 5.0, ""), sphere(0.1, 5.0, "2")]) == [[0, 1]]


def test_nodules_are_numbered_upwards_and_keep_the_names_of_the_source() -> None:
    named = Sphere("1.2", (0.0, 0.0, 0.0), None, nodule_id="1")
    assert number_spheres([sphere(0, None, "1", 9.0), sphere(0, None, "1", 2.0), named]) == ["3", "2", "1"]


def test_many_points_of_one_reader_are_grouped_at_once() -> None:
    many = [sphere(float(at), None, "") for at in range(50_000)]
    assert group_spheres(many)[-1] == [49_999]
