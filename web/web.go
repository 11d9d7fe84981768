// Package web carries the pages and static files that AuthKit serves itself, so that the program is one file.
package web

import "embed"

// Templates holds the html/template sources of AuthKit's own pages, under templates/.
//
//go:embed templates
var Templates embed.FS

// Static holds the files that those pages and the user menu load, under static/; they hold nothing secret.
//
//go:embed static
var Static embed.FS
