"""One of two code locations that know of each other: what is recorded in ../answers was asked about them."""

import dagster as dg

dyn = dg.DynamicPartitionsDefinition(name="dyn_a")
letters = dg.StaticPartitionsDefinition(["x", "y"])


@dg.asset
def only_a():
    return 1


@dg.asset(key=dg.AssetKey(["raw", "orders_a"]), partitions_def=letters)
def orders():
    return 1


@dg.asset(partitions_def=dyn)
def dyn_a():
    return 1


# Defined in both locations: Dagster takes one of them for its checks, and warns.
@dg.asset(partitions_def=letters)
def shared():
    return 1


# The other location's asset, only read here: no definition of it.
elsewhere = dg.AssetSpec(dg.AssetKey("only_b"))


@dg.op
def nothing():
    pass


@dg.job(partitions_def=letters, executor_def=dg.in_process_executor)
def job_a():
    nothing()


# The same names in both locations.
@dg.schedule(job=job_a, cron_schedule="0 0 1 1 *")
def nightly(_context):
    return dg.SkipReason("never")


@dg.schedule(job=job_a, cron_schedule="0 0 1 1 *", default_status=dg.DefaultScheduleStatus.RUNNING)
def declared(_context):
    return dg.SkipReason("never")


@dg.sensor(job=job_a)
def watch(_context):
    return dg.SkipReason("never")


defs = dg.Definitions(
    assets=[only_a, orders, dyn_a, shared, elsewhere],
    jobs=[job_a],
    schedules=[nightly, declared],
    sensors=[watch],
)
