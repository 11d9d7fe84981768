"""One of several code locations: served as loc_a.py and as loc_b.py, each with assets of its own. Code that runs leaves a mark."""

import os
import pathlib

import dagster as dg

NAME = pathlib.Path(__file__).stem
MARKS = pathlib.Path(os.environ["DAGSTER_HOME"], "marks")


def mark(what):
    with MARKS.open("a") as marks:
        marks.write(f"{NAME} {what}\n")


mark("loaded")

dyn = dg.DynamicPartitionsDefinition(name=f"{NAME}_dyn")
parts = dg.StaticPartitionsDefinition(["one", "two"])


@dg.asset(name=f"{NAME}_asset")
def plain():
    return 1


@dg.asset_check(asset=plain, name="check")
def passes():
    return dg.AssetCheckResult(passed=True)


@dg.asset(name=f"{NAME}_parts", partitions_def=parts)
def partitioned():
    return 1


@dg.asset(name=f"{NAME}_dyn_asset", partitions_def=dyn)
def dynamic():
    return 1


@dg.op
def nothing():
    pass


# In one process, so that a run is one process less to watch.
@dg.job(executor_def=dg.in_process_executor)
def job():
    nothing()


def configure(_key):
    mark("configured")
    return {}


@dg.job(config=dg.PartitionedConfig(partitions_def=parts, run_config_for_partition_key_fn=configure), executor_def=dg.in_process_executor)
def parts_job():
    nothing()


@dg.schedule(job=job, cron_schedule="0 0 * * *")
def schedule(_context):
    mark("schedule")
    return dg.SkipReason("nothing to do")


@dg.sensor(job=job)
def sensor(_context):
    mark("sensor")
    return dg.SkipReason("nothing to do")


defs = dg.Definitions(
    assets=[plain, partitioned, dynamic],
    asset_checks=[passes],
    jobs=[job, parts_job],
    schedules=[schedule],
    sensors=[sensor],
)
