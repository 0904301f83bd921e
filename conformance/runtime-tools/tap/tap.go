// Package tap stands in for github.com/mndrix/tap-go, the one library of the validation suite
// that Debian does not have: the calls that the suite's tests make, no more.
// Output is TAP 13 (https://testanything.org/tap-version-13-specification.html).
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T is one stream of results.
type T struct {
	Writer io.Writer // nil: stdout

	count *int // shared with the Todo view of the same stream
	todo  bool
}

func New() *T { return &T{count: new(int)} }

func (t *T) line(format string, args ...interface{}) {
	out := t.Writer
	if out == nil {
		out = os.Stdout
	}
	fmt.Fprintf(out, format+"\n", args...)
}

// Header begins the stream; the plan follows at the end (AutoPlan) where n is 0.
func (t *T) Header(n int) {
	t.line("TAP version 13")
	if n > 0 {
		t.line("1..%d", n)
	}
}

func (t *T) AutoPlan() { t.line("1..%d", *t.count) }

func (t *T) Count() int { return *t.count }

func (t *T) Ok(passed bool, description string) {
	*t.count++
	verdict, mark := "ok", "-"
	if !passed {
		verdict = "not ok"
	}
	if t.todo {
		mark = "# TODO"
	}
	t.line("%s %d %s %s", verdict, *t.count, mark, description)
}

func (t *T) Pass(description string) { t.Ok(true, description) }

func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip counts n assertions as skipped.
func (t *T) Skip(n int, reason string) {
	for i := 0; i < n; i++ {
		*t.count++
		t.line("ok %d # SKIP %s", *t.count, reason)
	}
}

// Todo is a view of the stream whose failures are expected.
func (t *T) Todo() *T { return &T{Writer: t.Writer, count: t.count, todo: true} }

func (t *T) Diagnostic(text string) {
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		t.line("# %s", line)
	}
}

func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}

// YAML explains the assertion before it; JSON is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		t.line("  ---\n  %s\n  ...", text)
	}
	return err
}
