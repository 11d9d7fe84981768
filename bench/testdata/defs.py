"""A pipeline of 1,000 assets in 20 groups, with jobs, schedules and sensors, as a team's grows to be."""

import dagster as dg

GROUPS, PER_GROUP = 20, 50


def make_asset(group: int, number: int):
    deps = []
    if number:
        deps.append(dg.AssetKey([f"group_{group}", f"asset_{number // 2}"]))
    if group and number % 5 == 0:
        deps.append(dg.AssetKey([f"group_{group - 1}", f"asset_{number}"]))

    @dg.asset(
        name=f"asset_{number}",
        key_prefix=f"group_{group}",
        group_name=f"group_{group}",
        deps=deps,
        description=f"Asset {number} of group {group}: one of the many tables that the pipeline keeps up to date.",
        owners=["team:data", "somebody@example.com"],
        tags={"domain": f"domain_{group % 4}", "tier": str(number % 3)},
        kinds={"python", "postgres"},
    )
    def made():
        return 1

    return made


def make_group(group: int):
    asset_job = dg.define_asset_job(f"refresh_group_{group}", selection=dg.AssetSelection.groups(f"group_{group}"))

    @dg.sensor(name=f"sensor_{group}", job=asset_job)
    def sensor(_context):
        return dg.SkipReason("nothing to do")

    return asset_job, dg.ScheduleDefinition(job=asset_job, cron_schedule="0 3 * * *"), sensor


groups = [make_group(group) for group in range(GROUPS)]

defs = dg.Definitions(
    assets=[make_asset(group, number) for group in range(GROUPS) for number in range(PER_GROUP)],
    jobs=[job for job, _, _ in groups],
    schedules=[schedule for _, schedule, _ in groups],
    sensors=[sensor for _, _, sensor in groups],
)
