"""A small pipeline to try AuthKit on: a few assets with a check, a job, a schedule and a sensor."""

import dagster as dg


@dg.asset(group_name="shop")
def orders(context):
    """Orders, as they came in."""
    context.log.info("read 3 orders")
    return [{"id": 1, "total": 20}, {"id": 2, "total": 35}, {"id": 3, "total": 5}]


@dg.asset(group_name="shop")
def revenue(orders):
    """What the orders sum up to."""
    return sum(order["total"] for order in orders)


@dg.asset_check(asset=revenue)
def revenue_is_positive(revenue):
    return dg.AssetCheckResult(passed=revenue > 0)


nightly = dg.define_asset_job("nightly", selection="*")
every_night = dg.ScheduleDefinition(job=nightly, cron_schedule="0 3 * * *")


@dg.sensor(job=nightly)
def new_orders():
    return dg.SkipReason("no new orders")


defs = dg.Definitions(
    assets=[orders, revenue],
    asset_checks=[revenue_is_positive],
    jobs=[nightly],
    schedules=[every_night],
    sensors=[new_orders],
)
