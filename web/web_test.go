package web

import (
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// stylesheetLimit keeps the first page light: it is all that a sign-in loads besides a script of one kilobyte.
const stylesheetLimit = 8 << 10

func stylesheet(t *testing.T) string {
	t.Helper()
	css, err := Files.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	return string(css)
}

func TestStylesheetIsSmall(t *testing.T) {
	if got := len(stylesheet(t)); got >= stylesheetLimit {
		t.Errorf("style.css has %d bytes, want less than %d", got, stylesheetLimit)
	}
}

// The least ratios of WCAG 2.2, level AA: 4.5 for text (1.4.3), 3 for what shows a control or its state (1.4.11).
func TestContrastIsAA(t *testing.T) {
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"text", "page", 4.5},
		{"text", "card", 4.5},
		{"text", "code", 4.5},
		{"text", "quiet-hover", 4.5},
		{"text-light", "page", 4.5},
		{"text-light", "card", 4.5},
		{"link", "card", 4.5},
		{"link-hover", "card", 4.5},
		{"button-text", "button", 4.5},
		{"button-text", "button-hover", 4.5},
		{"error-text", "error", 4.5},
		{"note-text", "note", 4.5},
		{"field-line", "card", 3},
		{"field-line-hover", "card", 3},
		{"error-line", "card", 3},
		{"focus", "card", 3},
		{"button", "card", 3},
		{"brand", "page", 3},
		{"brand-hole", "brand", 3},
	}
	light, dark, found := strings.Cut(stylesheet(t), "prefers-color-scheme: dark")
	if !found {
		t.Fatal("style.css has no dark colours")
	}
	for theme, css := range map[string]string{"light": light, "dark": dark} {
		colours := colours(css)
		for _, p := range pairs {
			front, ok := colours[p.front]
			back, ok2 := colours[p.back]
			if !ok || !ok2 {
				t.Errorf("%s: --%s or --%s is not there as #rrggbb", theme, p.front, p.back)
				continue
			}
			if got := contrast(front, back); got < p.least {
				t.Errorf("%s: --%s on --%s has contrast %.2f, want at least %.1f", theme, p.front, p.back, got, p.least)
			}
		}
	}
}

// TestContrastFormula holds the measure itself against known values: black on white is 21 by definition, and #767676 is
// the lightest grey that passes on white (WebAIM).
func TestContrastFormula(t *testing.T) {
	white := luminance("ffffff")
	if got := contrast(luminance("000000"), white); math.Abs(got-21) > 0.001 {
		t.Errorf("black on white: got %.3f, want 21", got)
	}
	if got := contrast(luminance("767676"), white); math.Abs(got-4.54) > 0.01 {
		t.Errorf("#767676 on white: got %.3f, want 4.54", got)
	}
}

// TestNothingFromElsewhere says what the strict policy of the pages needs: no inline style, script or handler, and no
// address of another site.
func TestNothingFromElsewhere(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)\sstyle=|<style|\son[a-z]+=|javascript:|https?://|<script>|url\(|@import`)
	names, err := fs.Glob(Files, "templates/*.html")
	if err != nil || len(names) == 0 {
		t.Fatalf("listing templates: %v, got %d", err, len(names))
	}
	for _, name := range names {
		text, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(text); found != nil {
			t.Errorf("%s holds %q", name, found)
		}
	}
	if found := forbidden.FindString(stylesheet(t)); found != "" {
		t.Errorf("style.css holds %q", found)
	}
	if !forbidden.MatchString(`<p style="x">`) || !forbidden.MatchString(`<a onclick="x">`) {
		t.Error("the pattern finds nothing, so this test proves nothing")
	}
}

// colours are the luminances of the custom properties of css by name, the first of each.
func colours(css string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
		if _, seen := all[m[1]]; !seen {
			all[m[1]] = luminance(m[2])
		}
	}
	return all
}

// luminance is the relative luminance of a colour rrggbb, as WCAG 2.2 defines it.
func luminance(hex string) float64 {
	weights := [3]float64{0.2126, 0.7152, 0.0722}
	sum := 0.0
	for i, weight := range weights {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			return math.NaN()
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(a, b float64) float64 {
	return (math.Max(a, b) + 0.05) / (math.Min(a, b) + 0.05)
}
