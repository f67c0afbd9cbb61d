"""Batch files: what they mean, and that every mistake names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtfleet.actions.batch import KINDS, action_of, read
from virtfleet.errors import ConfigError
from virtfleet.model.action import CreateVm, DeleteVm, FileRef, ResizeVm, TagVm, VmRef

BASE = Path("/base")
REF = VmRef("hv1", "0000-1", "web-01")


def test_a_list_of_actions_with_a_loop_and_a_need() -> None:
    batch = read(
        """
- action: vm.create
  id: web
  name: web-%02d
  count: 3
  first: 9
  memory: 2GiB
  vcpus: 2
  networks: [default, "bridge:br%d"]
  image: debian12
- action: vm.tag
  vm: web-*
  add: prod
  needs: web
""",
        "b.yaml",
        BASE,
    )
    assert [item.id for item in batch.items] == ["web", "web", "web", "2"]
    made = [action_of(item, None) for item in batch.items[:3]]
    assert [each.name for each in made if isinstance(each, CreateVm)] == ["web-09", "web-10", "web-11"]
    first = made[0]
    assert isinstance(first, CreateVm)
    assert (first.memory, first.vcpus, first.networks) == (2 << 30, 2, ("default", "bridge:br9"))
    assert batch.items[3].needs == ("web",)
    assert action_of(batch.items[3], REF) == TagVm(vm=REF, add=("prod",))


def test_files_are_relative_to_the_batch_and_not_read() -> None:
    batch = read("- {action: vm.create, name: a, xml: vm.xml, seed: {user_data: u.yaml}}", "b", BASE)
    made = action_of(batch.items[0], None)
    assert isinstance(made, CreateVm)
    assert made.xml == FileRef("/base/vm.xml")
    assert made.seed is not None
    assert made.seed.user_data == FileRef("/base/u.yaml")


def test_volumes_to_delete_are_a_word_or_a_list() -> None:
    batch = read(
        "- {action: vm.delete, vm: a, volumes: own}\n- {action: vm.delete, vm: a, volumes: [vda, vdb]}",
        "b",
        BASE,
    )
    assert action_of(batch.items[0], REF) == DeleteVm(vm=REF, volumes="own")
    assert action_of(batch.items[1], REF) == DeleteVm(vm=REF, volumes=("vda", "vdb"))


def test_a_loop_over_vms_that_are_there() -> None:
    batch = read("- {action: vm.resize, vm: 'db-%d@hv1', count: 2, vcpus: 4}", "b", BASE)
    assert [item.vm for item in batch.items] == ["db-1@hv1", "db-2@hv1"]
    assert action_of(batch.items[1], REF) == ResizeVm(vm=REF, vcpus=4)


def test_vms_that_shall_be() -> None:
    batch = read(
        "vms:\n  db-%02d: {count: 2, vcpus: 2, memory: 1GiB, host: hv1, image: i, state: shutoff}\n"
        "prune: tag:db",
        "b",
        BASE,
    )
    assert [each.create.name for each in batch.wanted] == ["db-01", "db-02"]
    first = batch.wanted[0]
    assert first.create.start is False
    assert first.given == {"vcpus", "memory", "host", "image"}
    assert (first.state, batch.prune) == ("shutoff", "tag:db")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "nothing in it"),
        ("x", 1, 'found the text "x"'),
        ("action: []", 1, 'unknown key "action"; did you mean "actions"?'),
        ("- vm.start", 1, "a mapping with the key action"),
        ("- {vm: a}", 1, '"action" is missing'),
        ("- {action: vm.strat, vm: a}", 1, "vm.start"),
        ("-\n  action: vm.start", 2, '"vm" is missing'),
        ("- {action: vm.create, name: a, vm: b}", 1, "it takes none"),
        ("- {action: vm.create}", 1, '"name" is missing'),
        ("- action: vm.start\n  vm: a\n  forse: true", 3, 'unknown key "forse"'),
        ("- action: vm.resize\n  vm: a\n  memory: lots", 3, "a size like 512MiB"),
        ("- action: vm.resize\n  vm: a\n  vcpus: 0", 3, "a whole number from 1"),
        ("- {action: vm.create, name: a, ready: soon}", 1, "address, running, ssh"),
        ("- action: vm.create\n  name: web\n  count: 2", 3, "no place for a number"),
        ("- action: vm.create\n  name: web-%d\n  count: 9999", 3, "from 1 to 1000"),
        ("- action: vm.start\n  vm: a\n  first: 2", 3, "only beside count"),
        ("- {action: vm.start, vm: a, needs: zero}", 1, "no id in this file"),
        (
            "- {action: vm.start, vm: a, id: x, needs: y}\n- {action: vm.start, vm: b, id: y}",
            1,
            "comes later",
        ),
        ("vms:\n  a: {state: on}", 2, "running, shutoff"),
        ("vms:\n  a: {start: true}", 2, 'unknown key "start"'),
        ("vms:\n  a-%d: {count: 2}\n  a-2: {}", 3, "wanted twice"),
        ("prune: [x]", 1, "a filter, as text"),
    ],
)
def test_a_mistake_names_its_line(text: str, line: int | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "b.yaml", BASE)
    assert says in str(caught.value)
    assert str(caught.value).startswith("b.yaml:" if line is None else f"b.yaml:{line}:")


def test_every_action_can_be_written() -> None:
    assert len(KINDS) == 47
    for tag, kind in KINDS.items():
        assert kind.__struct_config__.tag == tag
