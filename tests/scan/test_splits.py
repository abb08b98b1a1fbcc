import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.scan.splits import (
    SPLIT_NAMES,
    check_disjoint,
    check_new_people,
    read_split,
    split_beside,
    split_by_subject,
    split_from_path_lists,
    write_split,
)


def people(count, seed=0, unknown_age=0.1):
    """Rows of ``count`` people; about a fifth have a second visit, some no age."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(count):
        age = None if rng.random() < unknown_age else float(rng.integers(20, 90))
        for visit in range(1 + (rng.random() < 0.2)):
            row = {"subject_id": f"p{person:04d}", "scan_id": f"p{person:04d}_v{visit}"}
            rows.append(row if age is None else row | {"age_years": age + 5 * visit})
    return rows


def subjects(rows):
    return {row["subject_id"] for row in rows}


populations = st.builds(people, st.integers(7, 120), st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@settings(deadline=None)
@given(rows=populations, seed=st.integers(0, 1000), strata=st.integers(1, 8))
def test_every_scan_is_in_one_split_and_every_person_too(rows, seed, strata):
    split = split_by_subject(rows, seed=seed, strata=strata)
    assert tuple(split) == SPLIT_NAMES
    members = [subjects(split[name]) for name in SPLIT_NAMES]
    assert sum(map(len, members)) == len(set.union(*members)) == len(subjects(rows))
    joined = [row for name in SPLIT_NAMES for row in split[name]]
    assert sorted(joined, key=lambda row: row["scan_id"]) == sorted(rows, key=lambda row: row["scan_id"])


@settings(deadline=None)
@given(rows=populations, seed=st.integers(0, 1000))
def test_split_sizes_are_the_fractions_rounded(rows, seed):
    split = split_by_subject(rows, seed=seed)
    count = len(subjects(rows))
    for name, fraction in zip(SPLIT_NAMES, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(subjects(split[name])) - fraction * count) < 1


@pytest.mark.parametrize(
    ("count", "sizes"), [(7, (5, 1, 1)), (10, (8, 1, 1)), (19, (15, 2, 2)), (25, (20, 3, 2)), (300, (240, 30, 30))]
)
def test_split_sizes_by_hand(count, sizes):
    split = split_by_subject(people(count))
    assert tuple(len(subjects(split[name])) for name in SPLIT_NAMES) == sizes


@settings(deadline=None)
@given(data=st.data(), rows=populations, seed=st.integers(0, 1000))
def test_order_of_the_rows_does_not_matter(data, rows, seed):
    shuffled = data.draw(st.permutations(rows))
    assert split_by_subject(shuffled, seed=seed) == split_by_subject(rows, seed=seed)


def test_seed_decides():
    rows = people(100)
    assert split_by_subject(rows, seed=1) == split_by_subject(rows, seed=1)
    assert subjects(split_by_subject(rows, seed=1)["test"]) != subjects(split_by_subject(rows, seed=2)["test"])


def test_over_seeds_everyone_is_tested_about_as_often():
    rows = people(20, unknown_age=0.0)
    runs = 400
    tested = dict.fromkeys(subjects(rows), 0)
    for seed in range(runs):
        for person in subjects(split_by_subject(rows, seed=seed)["test"]):
            tested[person] += 1
    share = np.array(list(tested.values())) / runs
    assert share.mean() == pytest.approx(0.1)
    # a place in the line is a person at random within the stratum of five, so no one is always or never tested
    assert share.max() < 0.3


@settings(deadline=None)
@given(count=st.integers(40, 200), seed=st.integers(0, 1000), strata=st.integers(1, 6))
def test_every_age_stratum_is_shared_out_by_the_fractions(count, seed, strata):
    rows = [{"subject_id": str(age), "scan_id": str(age), "age_years": float(age)} for age in range(count)]
    split = split_by_subject(rows, seed=seed, strata=strata)
    for stratum in range(strata):
        inside = {str(age) for age in range(count) if age * strata // count == stratum}
        for name, fraction in zip(SPLIT_NAMES, (0.8, 0.1, 0.1), strict=True):
            assert abs(len(subjects(split[name]) & inside) - fraction * len(inside)) < 2


def test_strata_follow_the_age_at_the_first_visit():
    # whoever came back did so at 90: by the last visit all would be in one stratum with the old
    rows = []
    for person in range(80):
        rows.append({"subject_id": str(person), "scan_id": f"{person}a", "age_years": 20.0 + person / 2})
        rows.append({"subject_id": str(person), "scan_id": f"{person}b", "age_years": 90.0})
    only_first = [row for row in rows if row["scan_id"].endswith("a")]
    for name, scans in split_by_subject(rows, seed=3).items():
        assert subjects(scans) == subjects(split_by_subject(only_first, seed=3)[name])


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (0.8, 0.3, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_fractions_must_be_three_shares_of_one(fractions):
    with pytest.raises(InputError, match=r"^fractions: expected 3 positive numbers with sum 1"):
        split_by_subject(people(50), fractions)


@pytest.mark.parametrize(("count", "fractions", "needed"), [(0, (0.8, 0.1, 0.1), 7), (6, (0.8, 0.1, 0.1), 7)])
def test_too_few_people_are_told_how_many_it_takes(count, fractions, needed):
    with pytest.raises(InputError, match=rf"expected at least {needed} subjects, .* got {count}"):
        split_by_subject(people(count), fractions)
    split_by_subject(people(needed), fractions)


def test_strata_must_be_positive():
    with pytest.raises(InputError, match="strata: expected at least 1, got 0"):
        split_by_subject(people(50), strata=0)


def test_rows_are_copied():
    rows = people(10)
    split_by_subject(rows)["train"][0]["scan_id"] = "changed"
    assert rows == people(10)


def test_split_round_trip(tmp_path):
    rows = people(60)
    split = split_by_subject(rows, seed=5)
    path = write_split(split, tmp_path / "run")
    assert path == tmp_path / "run" / "split.csv"
    assert read_split(path, rows) == split
    assert read_split(tmp_path / "run", rows[::-1]) == split
    names_only = read_split(path)
    assert names_only["test"] == [{"subject_id": row["subject_id"], "scan_id": row["scan_id"]} for row in split["test"]]


HEADER = "split,subject_id,scan_id\n"
WHOLE = HEADER + "train,p1,a\nvalidation,p2,b\ntest,p3,c\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (WHOLE + "test,p1,d\n", ": expected every subject in one split, got subject 'p1' in train and test."),
        (WHOLE + "test,p1,a\n", ": expected every subject in one split, got subject 'p1' in train and test."),
        (WHOLE + "test,p3,c\n", ", line 5: expected every scan once, got 'c' again."),
        (WHOLE + "holdout,p4,d\n", ", line 5: expected a split of train, validation, test, got 'holdout'."),
        (WHOLE + "test,p4,x\n", ", line 5: expected a scan_id of the manifest, got 'x'."),
        (WHOLE + "test,p5,d\n", ", line 5: expected subject 'p1' for scan 'd' as in the manifest, got 'p5'."),
        (HEADER + "train,p1,a\n", ": expected scans in train, validation and test, got none in validation."),
        ("split,scan_id\ntrain,a\n", ": expected a column subject_id, got split, scan_id."),
    ],
)
def test_a_broken_split_file_is_refused(tmp_path, text, sentence):
    path = tmp_path / "split.csv"
    path.write_text(text)
    owners = {"a": "p1", "b": "p2", "c": "p3", "d": "p1"}
    rows = [{"subject_id": person, "scan_id": scan} for scan, person in owners.items()]
    with pytest.raises(InputError) as refused:
        read_split(path, rows)
    assert str(refused.value) == f"{path}{sentence}"


def test_a_split_that_is_not_disjoint_is_not_written(tmp_path):
    row = {"subject_id": "p1", "scan_id": "a"}
    with pytest.raises(InputError, match="subject 'p1' in train and test"):
        write_split({"train": [row], "validation": [], "test": [row]}, tmp_path)
    assert not list(tmp_path.iterdir())
    other = {"subject_id": "p2", "scan_id": "a"}
    with pytest.raises(InputError, match=r"my split: .* scan 'a' in train and test"):
        check_disjoint({"train": [row], "test": [other]}, "my split")


def test_published_path_lists(tmp_path):
    lists = {}
    for name, scans in {"train": ["p1_v1", "p1_v2"], "validation": ["p2_v1"], "test": ["p3_v1"]}.items():
        for scan in scans:
            (tmp_path / f"{scan}.npy").touch()
        lists[name] = tmp_path / f"{name}.csv"
        lists[name].write_text("".join(f"{tmp_path / scan}.npy\n" for scan in scans))
    split = split_from_path_lists(**lists, subject_pattern=r"(p\d)_v\d\.npy$")
    assert {name: sorted(subjects(rows)) for name, rows in split.items()} == {
        "train": ["p1"],
        "validation": ["p2"],
        "test": ["p3"],
    }
    lists["test"].write_text(f"{tmp_path}/p3_v1.npy\n{tmp_path}/p1_v2.npy\n")
    with pytest.raises(InputError, match=r"test.csv: expected every subject in one split, got subject 'p1' in train"):
        split_from_path_lists(**lists, subject_pattern=r"(p\d)_v\d\.npy$")


def test_the_split_lies_beside_the_first_checkpoint():
    assert split_beside({"a": "runs/a/best.pt", "b": "runs/b/best.pt"}) == "runs/a"
    assert split_beside({"a": ["runs/a-0/best.pt", "runs/a-1/best.pt"]}) == "runs/a-0"
    with pytest.raises(InputError, match="at least one arm"):
        split_beside({})


def test_people_seen_in_pretraining_are_refused(tmp_path, capsys):
    split = {
        name: [{"subject_id": person, "scan_id": f"{person}-1"}]
        for name, person in zip(SPLIT_NAMES, "abc", strict=True)
    }
    weights = tmp_path / "run" / "best.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    write_split(split, weights.parent)
    others = [{"subject_id": person, "scan_id": f"{person}-2"} for person in "xyz"]
    check_new_people(others, weights)
    with pytest.raises(InputError, match=r"subject 'b' in both \(1 in all\)"):
        check_new_people([*others, {"subject_id": "b", "scan_id": "b-9"}], weights)
    check_new_people(others, "random")
    assert capsys.readouterr().out == ""
    (weights.parent / "split.csv").unlink()
    check_new_people(others, weights)
    assert "nobody can tell" in capsys.readouterr().out
