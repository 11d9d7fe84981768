package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	linkRate      = 20_000_000 // bits per second
	linkRoundTrip = 40 * time.Millisecond
	// pagePath lists the code locations: the page has something of Dagster's to show, and little.
	pagePath     = "/locations"
	pagePatience = 90 * time.Second
	// quietFor is how long nothing more is loaded when a page is complete: longer than Dagster needs for 1,000 assets.
	quietFor      = 2 * time.Second
	quietPatience = 15 * time.Second
)

// watchScript notes, in the page itself and by its own clock, when Dagster's navigation is drawn and when the row of the
// code location is. The clock begins with the navigation.
const watchScript = `(() => {
  const seen = { drawn: 0, filled: 0 };
  Object.defineProperty(window, '__bench', { value: seen });
  const shown = (e) => e && e.getClientRects().length > 0;
  const look = () => {
    if (!seen.drawn && shown(document.querySelector('[class*="MainNavigation_nav"], [class*="MainNavigation_group"]')))
      requestAnimationFrame(() => { seen.drawn = seen.drawn || performance.now() });
    if (!seen.filled && [...document.querySelectorAll('[class*="VirtualizedTable_cellBox"]')].some((e) => e.textContent.includes('defs.py')))
      requestAnimationFrame(() => { seen.filled = seen.filled || performance.now() });
    if (!seen.drawn || !seen.filled) requestAnimationFrame(look);
  };
  look();
})()`

// pageLoad is a first page load with an empty cache.
type pageLoad struct {
	DrawnMS  float64 `json:"drawn_ms"`  // Dagster's navigation is on the screen
	FilledMS float64 `json:"filled_ms"` // and so is the code location's row
	Bytes    float64 `json:"bytes"`     // over the wire, both directions, until nothing more is loaded
}

// loadPage opens Dagster through a slow line, in a Chromium with a fresh profile.
func loadPage(ctx context.Context, f *front) (pageLoad, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return pageLoad{}, errors.New("there is no chromium: install Debian's package of that name")
	}
	ctx, cancel := context.WithTimeout(ctx, pagePatience)
	defer cancel()
	line, err := openLink(ctx, strings.TrimPrefix(f.address, "http://"), linkRate, linkRoundTrip)
	if err != nil {
		return pageLoad{}, err
	}
	defer line.close()
	defer cancel() // before the line is closed, so that what is on it ends
	flags := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.WindowSize(1280, 800), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("lang", "en-US"))
	allocator, closeBrowser := chromedp.NewExecAllocator(ctx, flags...)
	defer closeBrowser()
	tab, closeTab := chromedp.NewContext(allocator)
	defer closeTab()
	if err := chromedp.Do(tab, chromedp.Navigate("about:blank")); err != nil {
		return pageLoad{}, fmt.Errorf("starting the browser: %w", err)
	}
	if err := prepareTab(tab, line.address(), f.cookies); err != nil {
		return pageLoad{}, err
	}
	return watchPage(tab, line)
}

// prepareTab signs the browser in and makes its pages be watched.
func prepareTab(tab context.Context, address string, cookies []string) error {
	if len(cookies) > 0 {
		name, value, _ := strings.Cut(cookies[0], "=")
		if _, err := chromedp.Call(tab, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: address}); err != nil {
			return fmt.Errorf("setting the session cookie: %w", err)
		}
	}
	_, err := chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchScript})
	return err
}

func watchPage(tab context.Context, line *link) (pageLoad, error) {
	if err := chromedp.Do(tab, chromedp.Navigate(line.address()+pagePath)); err != nil {
		return pageLoad{}, fmt.Errorf("opening Dagster's page: %w", err)
	}
	type seen struct{ Drawn, Filled float64 }
	for {
		now, err := chromedp.Run(tab, chromedp.Evaluate[seen]("window.__bench"))
		if err != nil {
			return pageLoad{}, fmt.Errorf("the page was not drawn: %w", err)
		}
		if now.Drawn > 0 && now.Filled > 0 {
			return pageLoad{DrawnMS: now.Drawn, FilledMS: now.Filled, Bytes: waitQuiet(tab, line)}, nil
		}
		if err := pause(tab, 50*time.Millisecond); err != nil {
			return pageLoad{}, fmt.Errorf("the page was not drawn in %s: %+v", pagePatience, now)
		}
	}
}

// waitQuiet is how many bytes there were when no more came.
func waitQuiet(ctx context.Context, line *link) float64 {
	total, since := line.total(), time.Now()
	for deadline := time.Now().Add(quietPatience); time.Now().Before(deadline) && pause(ctx, 20*time.Millisecond) == nil; {
		if now := line.total(); now != total {
			total, since = now, time.Now()
		} else if time.Since(since) > quietFor {
			break
		}
	}
	return float64(total)
}
