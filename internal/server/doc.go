// Package server is every HTTP thing that is AuthKit's own: the chain that a request walks through, the pages for signing
// in and out, health and metrics. It gets what it needs as small interfaces and knows neither SQL nor the child process.
//
// A request walks down, its answer walks up:
//
//	trace        request ID, client address (forwarded headers only from trusted peers), request logger, metrics
//	recover      a panic is one logged 500
//	route        the path is read as Dagster reads it, or refused
//	crossOrigin  foreign pages can't act for a signed-in person
//	   ours      {prefix}/auth/... ends here: login, logout, me, beat, health, metrics, static
//	session      cookie -> Identity; nobody: login page, or 401 for programs
//	rateLimit    per identity; per address for nobody, within session
//	ready        Dagster is not up: a waiting page, or 503 for programs
//	body         takes in what the client sends, and asks session anew: the sender is judged as they are now
//	authorize    reads the GraphQL request once and decides; never refuses what it could read
//	audit        stores the decision before anything is forwarded and, after, what came of it
//	enforce      refused: Dagster's own answer for it; allowed: the request as it was judged goes to the proxy
//
// Each layer adds to the request's context once, by a typed setter of context.go; nothing writes back.
package server
