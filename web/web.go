// Package web carries the pages and static files that AuthKit serves itself, so that the program is one file.
package web

import "embed"

// Files holds the html/template sources of AuthKit's own pages under templates/, and what those pages and the user menu
// load under static/. Everything in static/ is served to anybody, so nothing there is secret.
//
//go:embed templates static
var Files embed.FS
