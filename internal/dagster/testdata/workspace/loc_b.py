"""One of two code locations that know of each other: what is recorded in ../answers was asked about them."""

import dagster as dg

dyn = dg.DynamicPartitionsDefinition(name="dyn_b")
letters = dg.StaticPartitionsDefinition(["x", "y"])


@dg.asset
def only_b():
    return 1


@dg.asset(key=dg.AssetKey(["raw", "orders_b"]), partitions_def=letters)
def orders():
    return 1


@dg.asset(partitions_def=dyn)
def dyn_b():
    return 1


# Defined in both locations: Dagster takes one of them for its checks, and warns.
@dg.asset(partitions_def=letters)
def shared():
    return 1


# The other location's asset, only read here: no definition of it.
elsewhere = dg.AssetSpec(dg.AssetKey("only_a"))


@dg.op
def nothing():
    pass


@dg.job(partitions_def=letters, executor_def=dg.in_process_executor)
def job_b():
    nothing()


# The same names in both locations.
@dg.schedule(job=job_b, cron_schedule="0 0 1 1 *")
def nightly(_context):
    return dg.SkipReason("never")


@dg.schedule(job=job_b, cron_schedule="0 0 1 1 *", default_status=dg.DefaultScheduleStatus.RUNNING)
def declared(_context):
    return dg.SkipReason("never")


@dg.sensor(job=job_b)
def watch(_context):
    return dg.SkipReason("never")


defs = dg.Definitions(
    assets=[only_b, orders, dyn_b, shared, elsewhere],
    jobs=[job_b],
    schedules=[nightly, declared],
    sensors=[watch],
)
