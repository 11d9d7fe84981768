"""What the tests do things to: assets, a check, jobs, a schedule, a sensor and a dynamic partition."""

import pathlib
import time

import dagster as dg

here = pathlib.Path(__file__).parent

# A test that looks at what happens while Dagster starts holds it there for as long as it looks.
while (here / "hold").exists():
    time.sleep(0.05)

dyn = dg.DynamicPartitionsDefinition(name="dyn")


@dg.asset(partitions_def=dyn)
def dyn_asset():
    return 1


@dg.asset
def my_asset(context):
    context.log.info("materialized by the tests")
    return 1


@dg.asset_check(asset=my_asset)
def my_check():
    return dg.AssetCheckResult(passed=True)


@dg.op(config_schema={"seconds": dg.Field(float, default_value=0.0)})
def wait(context):
    deadline = time.monotonic() + context.op_config["seconds"]
    # It ends with its test, too, whose folder is removed.
    while time.monotonic() < deadline and here.exists() and not (here / "enough").exists():
        time.sleep(0.1)
    context.log.info("the op is done")


# In one process, so that a run is one process less to watch.
@dg.job(executor_def=dg.in_process_executor)
def my_job():
    wait()


@dg.schedule(job=my_job, cron_schedule="0 0 * * *")
def my_schedule(_context):
    return dg.RunRequest()


@dg.sensor(job=my_job)
def my_sensor(_context):
    return dg.SkipReason("nothing to do")


defs = dg.Definitions(
    assets=[dyn_asset, my_asset],
    asset_checks=[my_check],
    jobs=[my_job],
    schedules=[my_schedule],
    sensors=[my_sensor],
)
