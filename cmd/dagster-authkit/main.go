// Command dagster-authkit takes the place of dagster-webserver: it starts the real one where nobody else can reach it, signs
// people in, and lets through what their role allows.
package main

import (
	"os"

	"dagster-authkit/internal/cli"
	"dagster-authkit/internal/supervisor"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

func main() {
	supervisor.GuardMain() // ends here when this is a guard, which AuthKit starts beside its child
	os.Exit(cli.Main(os.Args, version))
}
