"""Trees of files: which paths are safe, how changes are merged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.ids import sha256_hex
from broker.core.workspace import EMPTY_TREE, Entry, Tree, is_safe_path, merge, tree_document


def entry(text: str) -> Entry:
    return Entry(sha256=sha256_hex(text.encode()), size_bytes=len(text))


A, B = entry("a"), entry("b")


class TestPaths:
    @pytest.mark.parametrize("path", ["a", "a/b.txt", "ä/ö", "a b", "...", ".env", "a/" * 31 + "b"])
    def test_takes_plain_relative_paths(self, path: str) -> None:
        """A relative path in its one spelling is safe."""
        assert is_safe_path(path)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "a\nb",
            "a\x00",
            "a\x7f",
            "x" * 256,
            "a/" * 32 + "b",
            "/".join(["y" * 200] * 6),
        ],
    )
    def test_refuses_every_other_spelling(self, path: str) -> None:
        """A path that leaves the root, has a second spelling or is too long is not safe."""
        assert not is_safe_path(path)


class TestTree:
    def test_reads_what_it_wrote(self) -> None:
        """A tree's document holds every path with digest and size."""
        document = tree_document({"x": A, "y/z": B}, salt=bytes(16))
        tree = Tree.read(document)
        assert (tree.files, tree.sha256, tree.size_bytes) == (
            {"x": A, "y/z": B},
            document.sha256,
            2,
        )

    def test_a_new_session_has_an_empty_tree(self) -> None:
        """The empty tree holds no file."""
        assert EMPTY_TREE.files == {}


class TestMerge:
    def test_writes_and_deletes_where_the_path_is_as_the_call_saw_it(self) -> None:
        """Changes apply when nobody else touched the path."""
        merged = merge({"x": A}, {"x": A}, {"x": None, "y": B})
        assert (merged.files, merged.changed, merged.conflicts) == ({"y": B}, ("x", "y"), ())

    def test_leaves_a_path_alone_that_another_call_changed(self) -> None:
        """A path that is no longer as the call saw it stays as it is."""
        merged = merge({"x": B}, {"x": A}, {"x": None, "y": A})
        assert (merged.files, merged.conflicts) == ({"x": B, "y": A}, ("x",))

    def test_refuses_a_file_that_appeared_meanwhile(self) -> None:
        """Two calls that create one path: the second is a conflict."""
        assert merge({"x": B}, {}, {"x": A}).conflicts == ("x",)

    def test_refuses_a_file_in_the_place_of_a_folder(self) -> None:
        """A file may not take the name of a folder, nor lie below a file."""
        merged = merge({"a/b": A, "c": A}, {"a/b": A, "c": A}, {"a": B, "c/d": B})
        assert merged.conflicts == ("a", "c/d")

    def test_a_file_may_give_way_to_a_folder_in_one_run(self) -> None:
        """Deletions come first, so that a run can turn a file into a folder."""
        merged = merge({"a": A}, {"a": A}, {"a": None, "a/b": B})
        assert (merged.files, merged.conflicts) == ({"a/b": B}, ())

    def test_keeps_within_its_quota(self) -> None:
        """A tree fits when neither the count nor the bytes are over."""
        merged = merge({}, {}, {"x": A, "y": B})
        fits = [
            merged.fits(most_files=files, most_bytes=size)
            for files, size in [(2, 2), (1, 2), (2, 1)]
        ]
        assert fits == [True, False, False]

    @given(
        st.dictionaries(st.sampled_from("abc"), st.sampled_from([A, B])),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from([A, B])),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from([A, B, None])),
    )
    def test_every_change_is_either_applied_or_named(self, current, seen, changes) -> None:
        """No change is lost silently, no path changes that no change names."""
        merged = merge(current, seen, changes)
        assert sorted([*merged.changed, *merged.conflicts]) == sorted(changes)
        untouched = set(current) - set(merged.changed)
        assert {path: merged.files[path] for path in untouched} == {
            path: current[path] for path in untouched
        }
