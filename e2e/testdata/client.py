"""Launches my_job as a program would, with Dagster's own client. Arguments: port, path prefix, header's name, header's value."""

import sys

from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

port, prefix, name, value = sys.argv[1:]
client = DagsterGraphQLClient("127.0.0.1", port_number=int(port), path_prefix=prefix, headers={name: value})
try:
    run = client.submit_job_execution("my_job", tags={"from": "the client"})
    print("launched", run, client.get_run_status(run).value)
except DagsterGraphQLClientError as error:
    print("refused", error)
    sys.exit(1)
