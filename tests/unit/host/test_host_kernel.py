"""What the kernel gives, read from trees that stand for /proc, /sys and /lib/modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stepdown.host import kernel

MIB = 2**20
MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:   2048000 kB\n"
V1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t8\t1\nmemory\t4\t90\t{}\npids\t8\t30\t1\n"
ALL = "kernel/fs/overlayfs/overlay.ko.xz: \nkernel/net/bridge/bridge.ko: x.ko\nkernel/drivers/net/veth.ko:\n"


def _tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_this_machine_lacks_nothing_and_has_memory() -> None:
    """It runs the project's own containers; the figure is in MiB and less than a machine has."""
    assert ([], []) == (kernel.features_lacking(), kernel.controllers_lacking())
    assert 0 < kernel.memory_available_mib() < 2**24


def test_a_host_that_shows_nothing_lacks_nothing(tmp_path: Path) -> None:
    """A container without modules and without cgroups: in doubt the kernel has it."""
    assert ([], []) == (kernel.features_lacking(tmp_path, "6.1"), kernel.controllers_lacking(tmp_path))


def test_modules_that_can_be_loaded_are_enough(tmp_path: Path) -> None:
    """An engine loads them itself; dashes and underscores in their names are the same."""
    files = {
        "lib/modules/6.1/modules.dep": ALL,
        "lib/modules/6.1/modules.builtin": "kernel/net/netfilter/nf-tables.ko\n",
    }
    assert [] == kernel.features_lacking(_tree(tmp_path, files), "6.1")


def test_a_kernel_without_overlay_and_packet_filter_is_seen(tmp_path: Path) -> None:
    """Neither at work nor among its modules."""
    files = {
        "lib/modules/6.1/modules.dep": "kernel/net/bridge/bridge.ko:\n",
        "lib/modules/6.1/modules.builtin": "kernel/drivers/net/veth.ko\n",
        "proc/filesystems": "nodev\tsysfs\n\text4\n",
    }
    expected = ["the overlay filesystem", "a packet filter (iptables or nf_tables)"]
    assert expected == kernel.features_lacking(_tree(tmp_path, files), "6.1")


def test_what_is_at_work_needs_no_module(tmp_path: Path) -> None:
    """A filesystem that is registered, a module that is loaded."""
    files = {
        "lib/modules/6.1/modules.dep": "kernel/net/bridge/bridge.ko:\nkernel/drivers/net/veth.ko:\n",
        "lib/modules/6.1/modules.builtin": "",
        "proc/filesystems": "nodev\toverlay\n",
        "sys/module/ip_tables/refcnt": "1\n",
    }
    assert [] == kernel.features_lacking(_tree(tmp_path, files), "6.1")


def test_modules_of_another_kernel_prove_nothing(tmp_path: Path) -> None:
    """An image may hold those of the distribution's kernel, which is not the one that runs."""
    files = {"lib/modules/5.10/modules.dep": "", "lib/modules/5.10/modules.builtin": ""}
    assert [] == kernel.features_lacking(_tree(tmp_path, files), "6.1")


def test_a_controller_that_is_off_is_seen_on_v1(tmp_path: Path) -> None:
    """Some distributions boot with the memory controller disabled."""
    assert ["memory"] == kernel.controllers_lacking(_tree(tmp_path, {"proc/cgroups": V1.format(0)}))
    assert [] == kernel.controllers_lacking(_tree(tmp_path, {"proc/cgroups": V1.format(1)}))


def test_a_controller_that_is_not_delegated_is_seen_on_v2(tmp_path: Path) -> None:
    """Whatever /proc/cgroups says of v1."""
    files = {"proc/cgroups": V1.format(0), "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory\n"}
    assert ["pids"] == kernel.controllers_lacking(_tree(tmp_path, files))


def test_a_machine_has_what_the_kernel_calls_available(tmp_path: Path) -> None:
    """Its root cgroup has no limit: on v1 the largest number, on v2 no file."""
    unlimited = {
        "proc/meminfo": MEMINFO,
        "proc/1/cgroup": "4:memory:/\n0::/init.scope\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
    }
    assert 2000 == kernel.memory_available_mib(_tree(tmp_path, unlimited))


def test_a_limit_of_the_whole_host_counts_on_v1(tmp_path: Path) -> None:
    """It has what the limit leaves, and the file cache, which the kernel gives back."""
    folder = "sys/fs/cgroup/memory/docker/abc"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/1/cgroup": "4:memory:/docker/abc/init.scope\n1:cpu:/docker/abc\n",
        f"{folder}/memory.limit_in_bytes": f"{600 * MIB}\n",
        f"{folder}/memory.usage_in_bytes": f"{500 * MIB}\n",
        f"{folder}/memory.stat": (
            f"cache {90 * MIB}\ninactive_file 1\ntotal_cache {90 * MIB}\n"
            f"total_inactive_file {40 * MIB}\ntotal_active_file {30 * MIB}\n"
        ),
    }
    assert 170 == kernel.memory_available_mib(_tree(tmp_path, files))


def test_a_limit_of_the_whole_host_counts_on_v2(tmp_path: Path) -> None:
    """In a cgroup namespace of its own the host's cgroup is the root of the mount; `max` is no limit."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/1/cgroup": "0::/init.scope\n",
        "sys/fs/cgroup/memory.max": f"{300 * MIB}\n",
        "sys/fs/cgroup/memory.current": f"{100 * MIB}\n",
        "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {10 * MIB}\nactive_file 0\n",
        "sys/fs/cgroup/init.scope/memory.max": "max\n",
        "sys/fs/cgroup/init.scope/memory.current": f"{5 * MIB}\n",
    }
    assert 210 == kernel.memory_available_mib(_tree(tmp_path, files))


def test_the_limit_of_a_users_session_does_not_count(tmp_path: Path) -> None:
    """The engine and its containers are not in it."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/1/cgroup": "0::/init.scope\n",
        "proc/self/cgroup": "0::/user.slice\n",
        "sys/fs/cgroup/user.slice/memory.max": "1\n",
        "sys/fs/cgroup/user.slice/memory.current": "1\n",
    }
    assert 2000 == kernel.memory_available_mib(_tree(tmp_path, files))


def test_the_working_set_is_usage_less_idle_file_cache_on_v1(tmp_path: Path) -> None:
    """Of the cgroup and all below it; file cache in use counts."""
    folder = "sys/fs/cgroup/memory/docker/abc"
    stat = "cache 9\ninactive_file 1\ntotal_cache 9\ntotal_inactive_file 4096\ntotal_active_file 8192\n"
    files = {
        "proc/7/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n",
        f"{folder}/memory.usage_in_bytes": f"{10 * MIB}\n",
        f"{folder}/memory.stat": stat,
    }
    assert 10 * MIB - 4096 == kernel.working_set_bytes("abc", 7, _tree(tmp_path, files))


def test_the_working_set_is_usage_less_idle_file_cache_on_v2(tmp_path: Path) -> None:
    """There memory.stat is of the whole hierarchy as it stands."""
    folder = "sys/fs/cgroup/system.slice/docker-abc.scope"
    files = {
        "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
        f"{folder}/memory.current": f"{10 * MIB}\n",
        f"{folder}/memory.stat": "anon 1\ninactive_file 4096\nactive_file 8192\n",
    }
    assert 10 * MIB - 4096 == kernel.working_set_bytes("abc", 7, _tree(tmp_path, files))


def test_a_container_that_is_no_more_has_no_working_set(tmp_path: Path) -> None:
    """Nor has one whose cgroup is not mounted here: never a zero, which would be a figure."""
    assert None is kernel.working_set_bytes("abc", 7, tmp_path)
    files = {"proc/7/cgroup": "4:memory:/docker/abc\n"}
    assert None is kernel.working_set_bytes("abc", 7, _tree(tmp_path, files))


def test_the_memory_of_others_is_not_taken_for_a_containers(tmp_path: Path) -> None:
    """A process that is still in its parent's cgroup, or whose number another container's has by now."""
    files = {
        "proc/7/cgroup": "4:memory:/\n",
        "proc/8/cgroup": "4:memory:/docker/def\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{5000 * MIB}\n",
        "sys/fs/cgroup/memory/docker/def/memory.usage_in_bytes": f"{5 * MIB}\n",
    }
    root = _tree(tmp_path, files)
    assert [None, None, 5 * MIB] == [
        kernel.working_set_bytes(id_, pid, root) for id_, pid in (("abc", 7), ("abc", 8), ("def", 8))
    ]


def test_a_cgroup_inside_a_container_is_not_the_whole_of_it(tmp_path: Path) -> None:
    """An init that makes cgroups of its own moves into one of them."""
    files = {
        "proc/7/cgroup": "0::/docker-abc.scope/init\n",
        "sys/fs/cgroup/docker-abc.scope/memory.current": f"{10 * MIB}\n",
        "sys/fs/cgroup/docker-abc.scope/init/memory.current": f"{MIB}\n",
    }
    assert 10 * MIB == kernel.working_set_bytes("abc", 7, _tree(tmp_path, files))
