"""Two of everything, left and right, so that what two servers do with their own half can be compared.

User code leaves a line in $DAGSTER_HOME/ran: whether it ran can be told from there.
"""

import os

import dagster as dg


def note(what):
    with open(os.path.join(os.environ["DAGSTER_HOME"], "ran"), "a") as ran:
        ran.write(what + "\n")


def half(side):
    dyn = dg.DynamicPartitionsDefinition(name=f"dyn_{side}")
    letters = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(name=f"dyn_asset_{side}", partitions_def=dyn)
    def dyn_asset():
        return 1

    @dg.asset(name=f"letters_{side}", partitions_def=letters)
    def letters_asset():
        return 1

    @dg.asset(name=f"asset_{side}")
    def asset():
        return 1

    @dg.asset_check(name=f"check_{side}", asset=asset)
    def passes():
        return dg.AssetCheckResult(passed=True)

    @dg.op(name=f"op_{side}", config_schema={"word": dg.Field(str, default_value="none")})
    def op():
        pass

    @dg.config_mapping(config_schema={"word": dg.Field(str, default_value="mapped")})
    def mapping(config):
        note("config mapping")
        return {"ops": {f"op_{side}": {"config": {"word": config["word"]}}}}

    @dg.job(name=f"job_{side}")
    def job():
        op()

    @dg.job(name=f"mapped_{side}", config=mapping)
    def mapped():
        op()

    @dg.static_partitioned_config(["a", "b"], tags_for_partition_key_fn=lambda _key: note("tags of a partition") or {"letter": "a"})
    def lettered(key):
        note("config of a partition")
        return {"ops": {f"op_{side}": {"config": {"word": key}}}}

    @dg.job(name=f"lettered_{side}", config=lettered)
    def lettered_job():
        op()

    @dg.schedule(name=f"schedule_{side}", job=job, cron_schedule="0 0 * * *")
    def schedule(_context):
        note("schedule")
        return dg.RunRequest()

    @dg.sensor(name=f"sensor_{side}", job=job)
    def sensor(_context):
        note("sensor")
        return dg.SkipReason("nothing to do")

    return dg.Definitions(
        assets=[dyn_asset, letters_asset, asset],
        asset_checks=[passes],
        jobs=[job, mapped, lettered_job],
        schedules=[schedule],
        sensors=[sensor],
    )


defs = dg.Definitions.merge(half("left"), half("right"))
