"""The command line: parse, call, print; knowledge lives in the package.

Owns: names and help of tasks. Reads: options and environment. Never: decides, or builds a command of its own.
"""

from __future__ import annotations

from invoke.collection import Collection


def namespace() -> Collection:
    """Every task under the name that people type."""
    from stepdown.cli import bench, build, client, deploy, host, plan, quality, scan, secrets

    top = Collection()
    for task in (deploy.deploy, deploy.down, host.status, host.journal, host.why, host.doctor):
        top.add_task(task)
    for task in (host.switch, host.fallback, host.recover, host.rollback, host.emergency, host.converge):
        top.add_task(task)
    for task in (build.build, build.bundle, build.lock, bench.bench, quality.lint):
        top.add_task(task)
    top.add_collection(Collection("plan", plan.show, plan.diff, plan.fit, plan.measure))
    top.add_collection(Collection("client", client.config))
    top.add_collection(Collection("secrets", secrets.check))
    top.add_collection(quality.tests())
    top.add_collection(scan.namespace())
    return top
