package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Every line of docs/OPERATIONS.md does what it says, in its order: a backup, its
// restore into a folder of another machine's, doctor beside a daemon and without
// one, and a closer look. Only the folder of the backup is another.
func TestLinesOfOperations(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"curl", "bash"} {
		need(t, program)
	}
	s := newSystem(t, "--contacts", "60", "--deals", "5")
	var up *process
	var sh *shell
	start := func() {
		up = run(t, s.dir, s.bin, "up")
		up.says(t, "ready: http=")
		s.http, s.mqtt = "http://"+up.field(t, "http"), up.field(t, "mqtt")
		sh = s.shell(t)
	}
	start()
	if code, body := s.curl(http.MethodPost, "/v1/streams/all/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	down := func() {
		if up.running() {
			up.kill(syscall.SIGTERM)
		}
	}
	ran := []string{}
	headings, lines := blocks(t, "docs/OPERATIONS.md", "```")
	for _, h := range headings {
		for _, line := range lines[h] {
			switch verb := strings.TrimSpace(strings.SplitN(line, "#", 2)[0]); {
			case verb == "hubpipe up":
				start()
				ran = append(ran, verb)
				continue
			case why(line) != "":
				continue
			case strings.HasPrefix(verb, "hubpipe restore"):
				down()
				if err := os.Rename(filepath.Join(s.dir, "data"), filepath.Join(s.dir, "lost")); err != nil {
					t.Fatal(err)
				}
				ran = append(ran, "hubpipe restore")
			case strings.Contains(verb, "--repair"):
				down()
				ran = append(ran, verb)
			case !up.running():
				start()
				ran = append(ran, verb)
			default:
				ran = append(ran, verb)
			}
			if out, err := sh.run("", strings.ReplaceAll(line, "/backups/", s.dir+"/"), 0); err != nil {
				t.Fatalf("%s\n%s\n%v", line, out, err)
			}
		}
	}
	if len(ran) != 7 || !slices.Contains(ran, "hubpipe restore") || !slices.Contains(ran, "hubpipe doctor --repair") {
		t.Errorf("these were run: %q", ran)
	}
	s.http = "" // the API is asked by its socket: its token is another one now
	s.becomesEqual("contacts", "deals")
	if info, err := os.Stat(filepath.Join(s.dir, "heap.pprof")); err != nil || info.Size() < 500 {
		t.Errorf("the profile: %v %v", info, err)
	}
}

// elsewhere are the beginnings of lines that are tried by other tests than that
// of their page, or by none, and why.
func elsewhere() map[string]string {
	return map[string]string{
		"go run . demo":                   "TestDemoOnce and TestDemoOfEverything run it, and .ci/run",
		"hubpipe demo --once --postgres ": "TestWarehouseDemo runs it",
		"hubpipe init":                    "TestInitAtATerminal runs it",
		"hubpipe up":                      "TestLinesOfOperations runs it",
		"hubpipe simulator":               "newSystem does, of every test",
		"export HUBSPOT_TOKEN":            "a token of one's own",
		"export WAREHOUSE_URL":            "an address of one's own",
		"go test ./...":                   "it is what runs this",
		"make ":                           "a target of the Makefile: .ci/run makes build, lint and race, the long ones are for people",
		"go tool pprof":                   "Go's own, which waits for what is typed; of the profile it is looked at that there is one",
		"npx openapi-typescript":          "make openapi-check runs it: it needs node",
		"curl -sS -H \"$auth\" $api/openapi.json -o openapi.json": "make openapi-check has the same document",
	}
}

// why says why a line is not run with the others of its page, "" where it is.
func why(line string) string {
	for beginning, reason := range elsewhere() {
		if strings.HasPrefix(line, beginning) {
			return reason
		}
	}
	return ""
}

// No line that a page shows for a shell is left untried without a reason.
func TestEveryShellLineIsTried(t *testing.T) {
	t.Parallel()
	// The fence of the blocks that a test runs from end to end.
	whole := map[string]string{"README.md": "```", "docs/MQTT.md": "```", "docs/CLI.md": "```", "docs/OPERATIONS.md": "```",
		"docs/HTTP.md": "```sh", "docs/SECURITY.md": "```sh"}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "../../README.md", "../../CONTRIBUTING.md")
	sentence := regexp.MustCompile(`(?m)^func (Test\w+|newSystem)\(`)
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	inCLI, err := filepath.Glob("../cli/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, file := range append(tests, inCLI...) {
		for _, m := range sentence.FindAllSubmatch(read(t, file), -1) {
			known[string(m[1])] = true
		}
	}
	for beginning, reason := range elsewhere() {
		for _, name := range regexp.MustCompile(`Test\w+|newSystem`).FindAllString(reason, -1) {
			if !known[name] {
				t.Errorf("%q: there is no %s", beginning, name)
			}
		}
	}
	seen := 0
	for _, path := range pages {
		page := strings.TrimPrefix(path, "../../")
		for _, fence := range []string{"```", "```sh"} {
			headings, lines := blocks(t, page, fence)
			for _, h := range slices.Compact(headings) {
				for _, line := range lines[h] {
					seen++
					if whole[page] != fence && why(line) == "" && !isConfiguration(line) {
						t.Errorf("%s: %s: nobody tries %q", page, h, line)
					}
				}
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d lines were found", seen)
	}
}

// isConfiguration tells a line of HCL, of a comment or of a listing from one for a
// shell.
func isConfiguration(line string) bool {
	return strings.Contains(line, " {") || strings.Contains(line, " = ") || strings.TrimSpace(line) == "}" || strings.HasPrefix(line, " ")
}
